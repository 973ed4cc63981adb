"""The windows' function on Modal: the same sources by the same names, with the data secret and nothing else."""

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from cloud_world import PROJECT, SECRET_KEY, SOURCE
from data_hosts import GOOD_TOKEN, ArchiveStandIn, Fault, HubStandIn
from data_samples import fineweb_edu, stack
from fakemodal import FakeModal

from quickstart.bank import Bank
from quickstart.data.filter_names import DEFAULT_FILTERS
from quickstart.modal_app import names

WALLET = {
    "SOMA_SECRET_KEY": SECRET_KEY,
    "S3_BUCKET": "windows",
    "S3_ACCESS_KEY_ID": "id",
    "S3_SECRET_ACCESS_KEY": "secret",
}


@pytest.fixture(scope="module")
def hub() -> Iterator[HubStandIn]:
    code, blobs = stack(("Python",), files=2, rows=10)
    sets = {"bigcode/the-stack-v2-dedup": code, "HuggingFaceFW/fineweb-edu": fineweb_edu()}
    with HubStandIn(sets) as hub, ArchiveStandIn(blobs) as archive:
        hub.archive_url = archive.url  # type: ignore[attr-defined]
        yield hub


@pytest.fixture(scope="module")
def standin(hub: HubStandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeModal]:
    data = {"HF_TOKEN": GOOD_TOKEN, "HF_ENDPOINT": hub.url, "QUICKSTART_SWH_ENDPOINT": hub.archive_url}  # type: ignore[attr-defined]
    secrets = {names.SECRETS: WALLET, names.DATA_SECRET: data}
    folder = tmp_path_factory.mktemp("windows")
    with FakeModal(folder, project=PROJECT, secrets=secrets, idle_seconds=30.0) as running:
        argv = (sys.executable, "-m", "modal", "deploy", "src/quickstart/submitter.py")
        running.command(*argv, environment={"PYTHONPATH": str(SOURCE)})
        yield running
        running.stop()
        assert [c["leaked_modules"] for c in running.report()["containers"] if c["leaked_modules"]] == []


def cut(standin: FakeModal, source: str | None, wanted: int) -> dict[str, Any]:
    message = {"wanted": wanted, "shard_windows": 8, "seed": 3, "source": source, "filters": DEFAULT_FILTERS}
    code = f"""
import json, modal
answer = modal.Function.from_name({names.APP!r}, {names.WINDOWS!r}).remote({message!r})
print(json.dumps(answer))
"""
    answer: dict[str, Any] = json.loads(standin.run_python(code))
    return answer


def sources(standin: FakeModal) -> dict[str, int]:
    folder = next(v.folder for v in standin.workspace.volumes.values() if v.name == names.BANK_VOLUME)
    places = list(Bank(folder).provenance())
    assert len(set(places)) == len(places)
    return {name: sum(place.source.startswith(name) for place in places) for name in ("stack-v2", "fineweb", "dir")}


def test_windows_of_the_named_source_come_once(standin: FakeModal, hub: HubStandIn) -> None:
    assert cut(standin, "mixture:stack-v2:Python;fineweb-edu", 20) == {"windows": 20}
    assert cut(standin, "mixture:stack-v2:Python;fineweb-edu", 12) == {"windows": 12}
    assert sources(standin) == {"stack-v2": 16, "fineweb": 16, "dir": 0}

    hub.host.faults = [Fault("resolve", float("inf"), status=429, retry_after="100000")]
    answer = cut(standin, "fineweb-edu:sample", 5)
    hub.host.faults = []
    assert "what was fetched is kept" in answer["failed"]

    assert cut(standin, None, 5) == {"windows": 5}
    assert sources(standin) == {"stack-v2": 16, "fineweb": 16, "dir": 5}
