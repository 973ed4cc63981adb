"""A network, a bucket and a Modal workspace on loopback, and a wallet that the deployed app works for."""

import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import boto3
from fakemodal import FakeModal
from moto.server import ThreadedMotoServer

import quickstart
from quickstart.chain.ids import Id32
from quickstart.chain.keys import Wallet
from quickstart.chain.objects import TargetStatus
from quickstart.devnet.config import DevnetConfig
from quickstart.devnet.server import DevnetServer
from quickstart.modal_app import names
from quickstart.settings import S3Settings

T = TypeVar("T")
PROJECT = Path(__file__).parents[2]
SOURCE = Path(quickstart.__file__).parents[1]
SECRET_KEY = "2f" * 32
SOMA = 1_000_000_000
PATIENCE_SECONDS = 180.0

SCORER = f"{names.SCORER}.*"
WINDOWS, SHARDS, MODELS = 32, 8, 2
BONDS = 30
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
"""The scorers' image allows two: those of two containers would mostly wait for one another here."""

CAP = {"QUICKSTART_BOND_CAP": "0.002"}
"""Room for thirty bonds at a time."""

DEVNET = {
    "rpc_port": 0,
    "faucet_port": 0,
    "scoring_port": 0,
    "admin_port": 0,
    "audit": False,
    "seed": 7,
    "latency_seconds": 0.0,
    "checkpoint_seconds": 0.01,
    "index_lag_seconds": 0.05,
    "models": 2,
    "targets": 30,
}


class Chain:
    """A devnet on an event loop in a thread of its own."""

    def __init__(self, **changes: Any) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.server = DevnetServer(DevnetConfig(**{**DEVNET, **changes}))
        self.run(self.server.start())
        self.wallet = Wallet(bytes.fromhex(SECRET_KEY))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def call(self, function: Callable[[], T]) -> T:
        async def work() -> T:
            return function()

        return self.run(work())

    def close(self) -> None:
        self.run(self.server.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)
        self.loop.close()

    def take_away(self) -> None:
        """From now on nobody answers at the node's port."""
        self.run(self.server._fronts[0].stop())

    def bring_back(self) -> None:
        port = int(self.server.urls.rpc.rpartition(":")[2])
        self.run(self.server._fronts[0].start(port, "the port it had"))

    def fund(self, shannons: int) -> None:
        self.call(lambda: self.server.node.give(self.wallet.address, shannons, 1))

    def next_epoch(self) -> int:
        return self.run(self.server.node.advance_epoch())

    def filled(self) -> set[Id32]:
        """Targets that our wallet filled and has not claimed."""

        def ours() -> set[Id32]:
            targets = self.server.node.state.targets()
            return {
                target_id
                for target_id, target in targets
                if target.submitter == self.wallet.address and target.status is TargetStatus.FILLED
            }

        return self.call(ours)

    def failures(self) -> set[str]:
        """Kinds of failure among all transactions on the chain."""

        def kinds() -> set[str]:
            effects = self.server.node.state.effects.values()
            return {str(one.failure).partition(" ")[0] for one in effects if one.failure is not None}

        return self.call(kinds)

    def executed(self) -> int:
        return self.call(lambda: len(self.server.node.state.effects))


@dataclass
class World:
    chain: Chain
    standin: FakeModal
    bucket: S3Settings
    app: str

    def deploy(self) -> None:
        argv = (sys.executable, "-m", "modal", "deploy", self.app)
        self.standin.command(*argv, environment={"PYTHONPATH": str(SOURCE), "QUICKSTART_MAX_CONTAINERS": "2"})

    def client(self, code: str) -> Any:
        """Runs code in a client process of its own; it leaves its answer in ``answer``."""
        prelude = f"import json, modal\nstate = modal.Dict.from_name({names.DICT!r})\n"
        return json.loads(self.standin.run_python(f"{prelude}\n{code}\nprint(json.dumps(answer))"))

    def run_interactively(self) -> tuple[str, dict[str, Any]]:
        """`modal run`: what it printed while it ran, and the result it ended with."""
        argv = (sys.executable, "-m", "modal", "run", "src/quickstart/submitter.py")
        done = self.standin.command(*argv, environment={"PYTHONPATH": str(SOURCE)}, timeout=PATIENCE_SECONDS)
        shown, _, result = done.stdout.partition("\n{\n")
        return shown, json.JSONDecoder().raw_decode("{\n" + result)[0]

    def change_secret(self, **values: str) -> None:
        self.client(f"modal.Secret.from_name({names.SECRETS!r}).update({values!r}); answer = None")

    def stop_cycle(self) -> None:
        self.client(f"state.put({names.DISARMED!r}, 'by the test'); answer = None")

    def until(self, condition: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"{what}: {self.standin.log_of(names.SUBMITTER)[-3000:]}")
            time.sleep(0.05)

    def calls(self, function: str) -> dict[str, Any]:
        found: dict[str, Any] = self.standin.report()["calls"].get(function, {"ok": 0, "inputs": 0})
        return found

    def containers(self, function: str) -> list[dict[str, Any]]:
        return [c for c in self.standin.report()["containers"] if c["function"] == function]

    def files(self, volume: str) -> list[str]:
        """What is committed on a volume."""
        (found,) = (v for v in self.standin.report()["volumes"] if v["name"] == volume)
        return [name for name in found["files"] if not name.endswith("format.json")]

    def folder(self, volume: str) -> Path:
        """Where the stand-in keeps what is committed on a volume."""
        return next(found.folder for found in self.standin.workspace.volumes.values() if found.name == volume)

    def scored_segments(self) -> int:
        files = self.files(names.BANK_VOLUME)
        return sum(name.startswith("scores/") and name.endswith("/complete.json") for name in files)


@contextmanager
def world(
    folder: Path,
    settings: dict[str, str] | None = None,
    *,
    app: str = "src/quickstart/submitter.py",
    threads: Mapping[str, str] = ONE_THREAD,
    **devnet: Any,
) -> Iterator[World]:
    """All of it with the app deployed. Afterwards: no bug of the stand-in, nothing imported from the checkout."""
    with ExitStack() as stack:
        chain = Chain(**devnet)
        stack.callback(chain.close)
        chain.fund(50 * SOMA)
        bucket = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        bucket.start()
        stack.callback(bucket.stop)
        host, port = bucket.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        client = boto3.client(
            "s3", endpoint_url=endpoint, aws_access_key_id="id", aws_secret_access_key="s", region_name="us-east-1"
        )
        client.create_bucket(Bucket="windows")
        client.close()
        secrets = {
            "SOMA_SECRET_KEY": SECRET_KEY,
            "S3_BUCKET": "windows",
            "S3_ACCESS_KEY_ID": "id",
            "S3_SECRET_ACCESS_KEY": "secret",
            "S3_ENDPOINT_URL": endpoint,
            "QUICKSTART_RPC_URL": chain.server.urls.rpc,
            "QUICKSTART_WINDOWS_PER_RUN": "32",
            "QUICKSTART_MAX_CONTAINERS": "2",
            **(settings or {}),
        }
        both = {names.SECRETS: secrets, names.DATA_SECRET: {"HF_TOKEN": "token"}}
        standin = stack.enter_context(
            FakeModal(folder, project=PROJECT, secrets=both, idle_seconds=30.0, container_environment=threads)
        )
        it = World(chain, standin, S3Settings("windows", "id", "secret", endpoint, f"{endpoint}/windows"), app)
        it.deploy()
        yield it
        standin.stop()
        report = standin.report()
        assert report["server_errors"] == []
        assert report["rpcs_without_an_answer"] == {}
        assert [c["leaked_modules"] for c in report["containers"] if c["leaked_modules"]] == []


@dataclass(frozen=True)
class Day:
    world: World
    result: dict[str, Any]
    call_id: str


def work_the_day(it: World) -> None:
    it.until(lambda: len(it.chain.filled()) == BONDS, "the cap was not reached")
    it.until(lambda: it.calls(SCORER)["ok"] == SHARDS * MODELS, "not everything was scored")
    first = it.chain.filled()
    it.chain.next_epoch()
    it.chain.next_epoch()
    it.until(lambda: not first & it.chain.filled(), "not everything was claimed")
    it.stop_cycle()
