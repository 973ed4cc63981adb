"""Promise 4: one signer per wallet. Real processes, a served devnet, a bucket that speaks S3."""

import hashlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

from quickstart.chain.keys import Wallet
from quickstart.chain.shared_lease import PATIENCE, RENEW_SECONDS, TTL_SECONDS
from quickstart.ledger.ledger import Ledger
from quickstart.settings import S3Settings
from quickstart.submission.actions import Policy
from tests.campaign.killed_run import BucketLease, RunOrder, carry_out
from tests.campaign.registry import Findings, Promise
from tests.campaign.served_network import served
from tests.campaign.simulation import SOMA, made_up_bank, scratch_folder

POLICY = Policy(lanes=2, max_hits_per_epoch=None, publishers=2, patient=True)
TOLD_WITHIN_SECONDS = 10.0
LIMIT_SECONDS = 90.0
FROZEN_SECONDS = 120.0
"""Of the long form."""


@dataclass(frozen=True, slots=True)
class Times:
    """How long a lease holds, and how long its holder is frozen."""

    ttl: float
    renew: float
    frozen: float


SHORT = Times(ttl=6.0, renew=0.5, frozen=7.5)
LONG = Times(ttl=TTL_SECONDS, renew=RENEW_SECONDS, frozen=FROZEN_SECONDS)


def one_signer(scale: int, seed: int) -> Findings:
    """Each case `scale` times: once with times cut short; from twice on with the product's own and a holder that is
    frozen for two minutes.
    """
    lost: list[str] = []
    told: list[float] = []
    with _bucket() as settings:
        for number in range(scale):
            times = LONG if number else SHORT
            folder = scratch_folder()
            order = _order(folder, b"%d %d" % (seed, number))
            for case in (_same_folder, _laptop_beside_deployment, _frozen_holder):
                with served(targets=8, models=2, audit=False, latency_seconds=0.2, checkpoint_seconds=0.02) as network:
                    network.give(Wallet(order.secret).address, SOMA)
                    here = replace(order, folder=folder / case.__name__, endpoints=network.endpoints)
                    seconds, wrong = case(here, settings, times)
                told += seconds
                lost += [f"{case.__name__.strip('_')}: {what}" for what in wrong]
    figures = {"slowest to be told, in s": max(told), **({"first": lost[0]} if lost else {})}
    done = (
        "two processes of one folder; a laptop beside a deployment, sharing the bucket only; a frozen holder that wakes"
    )
    return {"done": done, "times": 3 * scale, "lost": len(lost), "figures": figures}


def _order(folder: Path, name: bytes) -> RunOrder:
    from quickstart.chain.client import Endpoints

    made_up = made_up_bank()
    secret = hashlib.blake2b(b"signer " + name, digest_size=32).digest()
    return RunOrder(folder, secret, Endpoints(""), made_up.bank.root, made_up.names, POLICY, epochs=None)


Seconds = list[float]


def _same_folder(order: RunOrder, _: S3Settings, __: Times) -> tuple[Seconds, list[str]]:
    """The second process of a machine is refused by the file."""
    with _running(order) as holder:
        _until(lambda: _intents(order.folder) >= 2, order)
        return _refused(order, holder.pid, "`submit`", "Ctrl-C there")


def _laptop_beside_deployment(order: RunOrder, settings: S3Settings, times: Times) -> tuple[Seconds, list[str]]:
    """Machines that share the bucket and nothing else."""
    deployment = _with_bucket(order, settings, "cycle on Modal", times, "deployment")
    with _running(deployment) as holder:
        _until(lambda: _intents(deployment.folder) >= 2, deployment)
        laptop = _with_bucket(order, settings, "submit", times, "laptop")
        return _refused(laptop, holder.pid, "`cycle on Modal`", "`uv run stop`")


def _refused(order: RunOrder, holder: int | None, name: str, remedy: str) -> tuple[Seconds, list[str]]:
    """Starts the second signer: it must end in time, name the holder and the way out, and leave no trace."""
    before = _intents(order.folder)
    started = time.monotonic()
    with _running(order) as second:
        second.join(LIMIT_SECONDS)
        seconds = time.monotonic() - started
    said = (order.folder / "said").read_text() if (order.folder / "said").exists() else ""
    wrong = [] if seconds <= TOLD_WITHIN_SECONDS else [f"told after {seconds:.1f} s only"]
    if second.exitcode != 2:
        wrong.append(f"ended with {second.exitcode}: {said}")
    parts = (name, f"process {holder} on", "to take over", remedy)
    wrong += [f"{part!r} is not said in {said!r}" for part in parts if part not in said]
    if before == 0 and _intents(order.folder):
        wrong.append("it signed something")
    return [seconds], wrong


def _frozen_holder(order: RunOrder, settings: S3Settings, times: Times) -> tuple[Seconds, list[str]]:
    """SIGSTOP for longer than the lease holds: the other takes over, and the first wakes and may not sign."""
    first = _with_bucket(order, settings, "submit", times, "first")
    second = _with_bucket(order, settings, "claim", times, "second")
    wrong: list[str] = []
    seconds: Seconds = []
    with _running(first) as holder:
        _until(lambda: _intents(first.folder) >= 4, first)
        assert holder.pid is not None
        os.kill(holder.pid, signal.SIGSTOP)
        stopped = time.monotonic()
        with _running(second):
            if times.ttl > TOLD_WITHIN_SECONDS:
                _until(lambda: "is silent" in _text(second.folder / "log"), second)
                seconds.append(time.monotonic() - stopped)
                if f"process {holder.pid} on" not in _text(second.folder / "log"):
                    wrong.append("the silent holder is not named")
            early = _intents(second.folder)
            _until(lambda: _intents(second.folder) >= 4, second)
            took_over = time.monotonic() - stopped
            if early or took_over < times.ttl - times.renew:
                wrong.append(f"took over after {took_over:.1f} s, the lease may have been held")
            time.sleep(max(0.0, times.frozen - took_over))
            woken_ms = time.time_ns() // 1_000_000
            os.kill(holder.pid, signal.SIGCONT)
            holder.join(LIMIT_SECONDS)
            if holder.exitcode != 2 or "lease was lost" not in _text(first.folder / "said"):
                wrong.append(f"the first ended with {holder.exitcode}: {_text(first.folder / 'said')}")
            after = _intents(second.folder)
            _until(lambda: _intents(second.folder) > after, second)
    if late := _intents(first.folder, since_ms=woken_ms):
        wrong.append(f"the first signed {late} times after it woke")
    if both := _named_by_both(first.folder, second.folder):
        wrong.append(f"{both} coin versions were named by both")
    return seconds, wrong


def _with_bucket(order: RunOrder, settings: S3Settings, command: str, times: Times, machine: str) -> RunOrder:
    bucket = replace(settings, bucket=order.folder.name.strip("_").replace("_", "-"))
    return replace(
        order, folder=order.folder / machine, bucket=BucketLease(bucket, _key(order), command, times.ttl, times.renew)
    )


def _key(order: RunOrder) -> str:
    return f"leases/chain/{Wallet(order.secret).address.hex()}"


@contextmanager
def _running(order: RunOrder) -> Iterator[Any]:
    """A process that works on its order until the end of the block."""
    order.folder.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.campaign.killed_run"])
    process = context.Process(target=carry_out, args=(order,))
    process.start()
    try:
        yield process
    finally:
        if process.is_alive():
            process.kill()
        process.join()


@contextmanager
def _bucket() -> Iterator[S3Settings]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=url, aws_access_key_id="id", aws_secret_access_key="s", region_name="us-east-1"
    )
    for case in (_laptop_beside_deployment, _frozen_holder):
        client.create_bucket(Bucket=case.__name__.strip("_").replace("_", "-"))
    client.close()
    try:
        yield S3Settings("", "key-id", "secret", url, url)
    finally:
        server.stop()


def _intents(folder: Path, since_ms: int = 0) -> int:
    """What a machine has signed, by its own ledger."""
    path = folder / "ledger.sqlite"
    if not path.exists():
        return 0
    with closing(Ledger(path)) as ledger:
        query = "SELECT COUNT(*) AS signed FROM intents WHERE created_ms > ?"
        return int(ledger._rows(query, since_ms)[0]["signed"])


def _named_by_both(one: Path, other: Path) -> int:
    named: list[set[tuple[bytes, int]]] = []
    for folder in (one, other):
        with closing(Ledger(folder / "ledger.sqlite")) as ledger:
            landed = "SELECT coin_id, version FROM intent_coins JOIN intents USING (digest) WHERE status != 'pending'"
            named.append({(row["coin_id"], row["version"]) for row in ledger._rows(landed)})
    return len(named[0] & named[1])


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _until(what: Callable[[], object], order: RunOrder) -> None:
    """Waits for a fact about the process that carries out an order.

    Raises:
        TimeoutError: it does not come true; with what the process said.
    """
    end = time.monotonic() + LIMIT_SECONDS
    while not what():
        if time.monotonic() > end:
            said = _text(order.folder / "said") + _text(order.folder / "log")[-500:]
            raise TimeoutError(f"waited in vain for a process: {said or 'it said nothing'}")
        time.sleep(0.02)


assert SHORT.frozen > SHORT.ttl * PATIENCE

PROMISES = (Promise(4, "one signer per wallet", one_signer, short=1, long=2),)
