"""What several functions keep for one wallet on the ledger volume: none loses what another wrote, all find the keys."""

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import boto3
import numpy as np
import pytest
from cloud_world import SECRET_KEY, SOMA, Chain
from moto.server import ThreadedMotoServer
from test_apps_trouble import Place, Told

from quickstart.ledger.ledger import Ledger
from quickstart.modal_app import names
from quickstart.modal_app.cycle import run_claim
from quickstart.modal_app.own_office import Owner, own_office
from quickstart.modal_app.upkeep import run_upkeep
from quickstart.modal_app.workplace import Shared
from quickstart.settings import Settings, load_settings
from quickstart.submission.storage import object_key
from quickstart.trainer.office import Committed, publish
from quickstart.trainer.products import Product
from quickstart.trainer.vault import backup_name

BUCKET = "volume-books"
WEIGHTS = Path(str(files("quickstart.devnet") / "weights" / "c64.safetensors"))


@contextmanager
def wallet_at_home(patch: pytest.MonkeyPatch) -> Iterator[tuple[Chain, Settings, object]]:
    """A network, and a bucket, that the settings name."""
    chain = Chain(models=1)
    chain.fund(50 * SOMA)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id="id", aws_secret_access_key="s", region_name="us-east-1"
    )
    client.create_bucket(Bucket=BUCKET)
    for name, value in {
        "SOMA_SECRET_KEY": SECRET_KEY,
        "S3_BUCKET": BUCKET,
        "S3_ACCESS_KEY_ID": "id",
        "S3_SECRET_ACCESS_KEY": "secret",
        "S3_ENDPOINT_URL": endpoint,
        "QUICKSTART_RPC_URL": chain.server.urls.rpc,
    }.items():
        patch.setenv(name, value)
    try:
        yield chain, load_settings(env_file=None), client
    finally:
        client.close()
        server.stop()
        chain.close()


async def published(owner: Owner, volume: Shared) -> Committed:
    async with own_office(owner, volume, "publish on Modal") as office:
        return await publish(
            office,
            Product(WEIGHTS, np.linspace(-1, 2, 64, dtype=np.float32)),
            stake=5 * SOMA,
            commission_bps=1_000,
            update=False,
            keep=0,
            confirm=lambda quote: None,
        )


def rows(volume: Path) -> int:
    (path,) = volume.rglob("ledger.sqlite")
    with closing(Ledger(path)) as ledger:
        return len(ledger.weights_names())


def test_a_key_on_the_volume_is_enough_and_upkeep_loses_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    place = Place(tmp_path / "bank", Told())
    (tmp_path / "bank").mkdir()
    ledgers = Shared(volume, lambda: None, lambda: None)
    workplace = replace(place.workplace, ledgers=ledgers)
    with wallet_at_home(monkeypatch) as (chain, settings, client):
        committed = asyncio.run(published(Owner.of(settings), ledgers))
        backup = object_key(backup_name(chain.wallet.secret, committed.release.key_commitment))
        client.head_object(Bucket=BUCKET, Key=backup)  # type: ignore[attr-defined]
        client.delete_object(Bucket=BUCKET, Key=backup)  # type: ignore[attr-defined]
        chain.next_epoch()
        run_claim(workplace)  # with the session of a cycle
        model = chain.call(lambda: chain.server.node.state.models[committed.model_id])
        assert model.is_active, "the session did not look for its key on the volume"

        reloads = list[int]()

        def reload() -> None:
            """Between the first look and the second a reveal, say, has its turn."""
            reloads.append(len(reloads))
            if len(reloads) == 2:
                (path,) = volume.rglob("ledger.sqlite")
                with closing(Ledger(path)) as ledger:
                    ledger.name_weights(b"a" * 32, b"b" * 32)

        before = rows(volume)
        told = run_upkeep(
            replace(workplace, ledgers=Shared(volume, reload, lambda: None)), settings, names.CLEANUP, dry_run=False
        )
        assert told["removed"] == [] and rows(volume) == before + 1
