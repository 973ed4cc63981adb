"""`cleanup --all` against a stand-in for Modal, a bucket and a devnet: a list, a yes, and what bonds rest on stays."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import boto3
import pytest
from cloud_world import SECRET_KEY, SOMA, Chain
from command_runs import Finished, environment, refused, run
from fakemodal import FakeModal
from moto.server import ThreadedMotoServer

from quickstart.chain.ids import blake2b_256
from quickstart.chain.objects import TargetStatus
from quickstart.chain.transactions import Manifest, SubmitData, TransactionData
from quickstart.devnet.inputs import SignedTransaction
from quickstart.devnet.state import Commitment, Model, ModelStatus
from quickstart.modal_app import names
from quickstart.submission.storage import object_key

FIXTURE = Path(__file__).parents[1] / "support" / "fakemodal_commands"
BUCKET = "cleanup"
"""Moto's buckets are those of the whole process: one of that name is nobody else's."""

NEEDED, DONE = b"n" * 1024, b"d" * 1024


@dataclass
class Everything:
    standin: FakeModal
    extra: dict[str, str]
    client: object
    chain: Chain

    def objects(self) -> set[str]:
        found = self.client.list_objects_v2(Bucket=BUCKET).get("Contents", [])  # type: ignore[attr-defined]
        return {entry["Key"] for entry in found}

    def on_modal(self) -> tuple[set[str], set[str], set[str]]:
        workspace = self.standin.workspace
        volumes = {volume.name for volume in workspace.volumes.values()}
        tables = {table.name for table in workspace.tables.values()}
        return set(workspace.deployed), volumes, tables


def fill(chain: Chain) -> None:
    """A fill of ours whose bond rests on `NEEDED`."""

    def apply() -> None:
        node = chain.server.node
        given = node.give(chain.wallet.address, SOMA, 1)
        coin = node.state.objects[given.object_ids[0]].ref
        target_id, target = next((i, t) for i, t in node.state.targets() if t.status is TargetStatus.OPEN)
        manifest = Manifest("http://127.0.0.1:9/w", blake2b_256(NEEDED), 1024)
        kind = SubmitData(target_id, manifest, target.model_ids[0], target.embedding, 0.5, (1.0,), coin)
        transaction = TransactionData(kind, chain.wallet.address, (coin,))
        assert node._apply(SignedTransaction(0, transaction, bytes(64), bytes(32))).effects.failure is None

    chain.call(apply)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    chain = Chain(models=1)
    fill(chain)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id="id", aws_secret_access_key="s", region_name="us-east-1"
    )
    client.create_bucket(Bucket=BUCKET)
    for key in (object_key(blake2b_256(NEEDED)), object_key(blake2b_256(DONE)), "of-somebody-else"):
        client.put_object(Bucket=BUCKET, Key=key, Body=b"x")
    folder = tmp_path_factory.mktemp("cleanup")
    extra = {
        "SOMA_SECRET_KEY": SECRET_KEY,
        "S3_BUCKET": BUCKET,
        "S3_ACCESS_KEY_ID": "id",
        "S3_SECRET_ACCESS_KEY": "secret",
        "S3_ENDPOINT_URL": endpoint,
        "QUICKSTART_RPC_URL": chain.server.urls.rpc,
        "QUICKSTART_STATE": str(folder / "state"),
    }
    with FakeModal(folder, project=FIXTURE, secrets={names.SECRETS: extra}, idle_seconds=20) as standin:
        standin.command(sys.executable, "-m", "modal", "deploy", "-m", "commands_app", environment=environment(standin))
        made = f"modal.Volume.from_name({names.BANK_VOLUME!r}, create_if_missing=True).hydrate()"
        standin.run_python(f"import modal; {made}; modal.Volume.from_name('other', create_if_missing=True).hydrate()")
        yield Everything(standin, extra, client, chain)
        assert standin.report()["rpcs_without_an_answer"] == {}
    client.close()
    server.stop()
    chain.close()


def own_model(chain: Chain) -> Model:
    """A model of ours that is committed in this epoch."""
    committed = Commitment(Manifest("http://127.0.0.1:9/m", b"m" * 32, 9), b"w" * 32, b"e" * 32, b"k" * 32, 0)
    committed = replace(committed, epoch=chain.server.node.state.epoch)
    model = Model(b"a" * 32, chain.wallet.address, b"p" * 32, 5 * SOMA, 1_000, 1_000, committed.epoch)
    return replace(model, status=ModelStatus.PENDING, commitment=committed)


def test_what_reveals_stays_until_it_has(everything: Everything, tmp_path: Path) -> None:
    chain = everything.chain
    models, model = chain.server.node.state.models, own_model(chain)
    before = (everything.on_modal(), everything.objects())
    chain.call(lambda: models.update({model.model_id: model}))
    done = run(everything.standin, "cleanup", "--all", "--yes", folder=tmp_path, extra=everything.extra)
    chain.call(lambda: models.pop(model.model_id))
    refused(done, "uv run reveal", f"in epoch {model.commitment.epoch + 1}")  # type: ignore[union-attr]
    assert (everything.on_modal(), everything.objects()) == before


def test_a_list_then_a_yes(everything: Everything, tmp_path: Path) -> None:
    before = (everything.on_modal(), everything.objects())

    def cleanup(*options: str) -> Finished:
        return run(everything.standin, "cleanup", *options, folder=tmp_path, extra=everything.extra)

    asked = cleanup("--all")
    assert asked.code == 2 and "nobody can be asked" in asked.err and "--yes" in asked.err
    assert "soma-bank" in asked.out and "1 objects that bonds or models of ours rest on" in asked.out
    would = json.loads(cleanup("--all", "--dry-run", "--json").out)
    assert would["removed"] is False and (would["objects"], would["kept_objects"]) == (1, 1)
    kinds = {(one["kind"], one["name"]) for one in would["modal"]}
    assert {("app", names.APP), ("volume", names.BANK_VOLUME), ("secret", names.SECRETS)} <= kinds
    assert (everything.on_modal(), everything.objects()) == before
    refused(cleanup("--yes"), "--all")
    refused(cleanup("--all", "--network", "devnet"), "--network")

    done = cleanup("--all", "--yes", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["removed"] is True
    apps, volumes, tables = everything.on_modal()
    assert names.APP not in apps and names.BANK_VOLUME not in volumes and names.DICT not in tables
    assert "other" in volumes
    kept = {object_key(blake2b_256(NEEDED)), "of-somebody-else"}
    assert kept <= everything.objects() and object_key(blake2b_256(DONE)) not in everything.objects()
    again = json.loads(cleanup("--all", "--yes", "--json").out)
    assert (again["modal"], again["objects"]) == ([], 0)


def test_a_bucket_that_another_wallet_uses_too_is_left_alone(everything: Everything, tmp_path: Path) -> None:
    everything.client.put_object(Bucket=BUCKET, Key="leases/chain/wallet", Body=b"x")  # type: ignore[attr-defined]
    before = (everything.on_modal(), everything.objects())
    refused(
        run(everything.standin, "cleanup", "--all", "--yes", folder=tmp_path, extra=everything.extra),
        "leases/chain/wallet",
    )
    assert (everything.on_modal(), everything.objects()) == before
