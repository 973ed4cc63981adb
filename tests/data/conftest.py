"""The stand-ins of hub and archive for every test of sources, and settings that name them."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from data_hosts import GOOD_TOKEN, ArchiveStandIn, HubStandIn, OpenSource, Repository
from data_samples import fineweb_edu, stack, starcoder, swe_bench

from quickstart.data.sources import open_source
from quickstart.data.window import Source
from quickstart.settings import Settings


@pytest.fixture(scope="session")
def public_sets() -> tuple[dict[str, Repository], dict[str, bytes]]:
    code, blobs = stack(("Python", "Rust"))
    sets = {
        "bigcode/the-stack-v2-dedup": code,
        "bigcode/starcoderdata": starcoder(),
        "HuggingFaceFW/fineweb-edu": fineweb_edu(),
        "princeton-nlp/SWE-bench": swe_bench(),
    }
    return sets, blobs


@pytest.fixture
def hub(public_sets: tuple[dict[str, Repository], dict[str, bytes]]) -> Iterator[HubStandIn]:
    with HubStandIn(dict(public_sets[0])) as running:
        yield running


@pytest.fixture
def archive(public_sets: tuple[dict[str, Repository], dict[str, bytes]]) -> Iterator[ArchiveStandIn]:
    with ArchiveStandIn(public_sets[1]) as running:
        yield running


@pytest.fixture
def opened(hub: HubStandIn, archive: ArchiveStandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> OpenSource:
    """Opens a source by name, at the stand-ins; `token` is what HF_TOKEN says."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))

    def open_named(name: str, token: str | None = GOOD_TOKEN) -> Source:
        settings = Settings(_env_file=None, HF_TOKEN=token, HF_ENDPOINT=hub.url, QUICKSTART_SWH_ENDPOINT=archive.url)
        return open_source(name, settings)

    return open_named
