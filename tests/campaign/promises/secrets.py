"""Promise 12: secrets stay put. Canaries in place of every secret, all logged at debug level, and failures forced
wherever a secret is near; then logs, ledger, bank, published bytes, texts and reprs are searched for every canary.
"""

import base64
import io
import logging
import os
import random
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import base58
import boto3
import httpx
from live_devnet import LiveDevnet, running
from moto.server import ThreadedMotoServer
from sessions import session

from quickstart.chain.keys import Wallet, parse_secret_key
from quickstart.errors import QuickstartError
from quickstart.settings import S3Settings, Settings, load_settings
from quickstart.submission.s3_storage import S3Storage
from tests.campaign.registry import Findings, Promise

SOMA = 1_000_000_000
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def canaries(seed: int) -> dict[str, str]:
    """A value for every secret variable."""
    rng = random.Random(seed)

    def word() -> str:
        return "".join(rng.choices(LETTERS, k=24))

    return {
        "SOMA_SECRET_KEY": rng.randbytes(32).hex(),
        "HF_TOKEN": "hf_" + word(),
        "S3_ACCESS_KEY_ID": word(),
        "S3_SECRET_ACCESS_KEY": word(),
    }


def forms(values: dict[str, str]) -> list[bytes]:
    """Every text and binary form in which one could turn up; of the key also its halves."""
    key = bytes.fromhex(values["SOMA_SECRET_KEY"])
    halves = [key.hex()[:32], key.hex()[32:]]
    texts = [*values.values(), *halves, key.hex().upper(), base58.b58encode(key).decode()]
    return [text.encode() for text in (*texts, base64.b64encode(key).decode())] + [key, repr(key).encode()]


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


@contextmanager
def everything_logged() -> Iterator[io.StringIO]:
    """The root logger at debug level, into a text."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(message)s %(args)s %(pathname)s"))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield text
    finally:
        root.setLevel(level)
        root.removeHandler(handler)


def forced(said: list[str], work: Any) -> None:
    """Runs something that must fail; keeps its whole traceback."""
    try:
        work()
    except (QuickstartError, ValueError) as error:
        said.append(traceback.format_exc())
        said.append(repr(error))
        logging.getLogger("forced").exception("forced")
    else:
        raise AssertionError("it did not fail")


def _failures(values: dict[str, str], settings: Settings, bucket: S3Settings, said: list[str]) -> int:
    """Failures near every secret; how many."""
    before = len(said)
    key = values["SOMA_SECRET_KEY"]
    for broken in (key[:-1], key + "0", key[:-1] + "g", "somaprivkey1" + key, f"{key} {key}"):
        forced(said, lambda text=broken: parse_secret_key(text))
        with environment({"SOMA_SECRET_KEY": broken}):
            forced(said, lambda: load_settings(env_file=None))
    wallet = Wallet.parse(key)
    forced(said, lambda: wallet.sign(b"not a transaction"))
    nowhere = S3Settings(
        "b", bucket.access_key_id, bucket.secret_access_key, "http://127.0.0.1:1", "http://127.0.0.1:1"
    )
    absent = S3Settings("absent", bucket.access_key_id, bucket.secret_access_key, bucket.endpoint_url, "http://h")
    for place in (nowhere, absent):
        storage = S3Storage(place, lambda _: None)
        forced(said, lambda s=storage: s.put(b"x" * 1024, bytes(32)))
        storage.close()
    said += [repr(settings), str(settings), repr(bucket), repr(wallet), settings.model_dump_json(), str(wallet)]
    return len(said) - before


def _scan(where: str, content: bytes, wanted: list[bytes]) -> list[str]:
    return [where for form in wanted if form in content]


def _run(live: LiveDevnet, endpoint: str, folder: Path, seed: int) -> dict[str, Any]:
    values = canaries(seed)
    wanted = forms(values)
    said: list[str] = []
    place = {"S3_BUCKET": "windows", "S3_ENDPOINT_URL": endpoint}
    with everything_logged() as text, environment(values | place):
        settings = load_settings(env_file=None)
        assert settings.secret_key is not None and settings.s3 is not None
        wallet = Wallet.parse(settings.secret_key.get_secret_value())
        live.fund(wallet.address, SOMA)
        storage = S3Storage(settings.s3)
        run = live.run(session(live, wallet, folder, storage=storage))
        told = live.run(run.run())
        said += [repr(told), repr(run), repr(run.plan)]
        storage.close()
        failures = _failures(values, settings, settings.s3, said)
    hits = _scan("log", text.getvalue().encode(), wanted)
    hits += [hit for one in said for hit in _scan("text", one.encode(), wanted)]
    files = [path for path in folder.rglob("*") if path.is_file()]
    hits += [hit for path in files for hit in _scan(str(path.relative_to(folder)), path.read_bytes(), wanted)]
    return {
        "filled": told["filled"],
        "failures": failures,
        "files": len(files),
        "log_kib": len(text.getvalue()) // 1024,
        "hits": sorted(hits),
    }


def run(scale: float, seed: int) -> dict[str, Any]:
    """Promise 12. `scale` 1: ten runs, each with canaries of its own."""
    rounds = max(1, round(10 * scale))
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    found: list[dict[str, Any]] = []
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        for number in range(rounds):
            httpx.post(f"{endpoint}/moto-api/reset", trust_env=False)
            admin = boto3.client("s3", endpoint_url=endpoint, aws_access_key_id="i", aws_secret_access_key="s",
                                 region_name="us-east-1")  # fmt: skip
            admin.create_bucket(Bucket="windows")
            admin.close()
            with TemporaryDirectory() as folder, running(models=1, targets=40) as live:
                found.append(_run(live, endpoint, Path(folder), seed * 1000 + number))
    finally:
        server.stop()
    hits = [hit for one in found for hit in one.pop("hits")]
    sums = {name: sum(one[name] for one in found) for name in found[0]}
    return {"promise": 12, "done": f"{rounds} runs", "seed": seed, "lost": len(hits), "hits": hits, **sums}


def secrets_stay_put(scale: int, seed: int) -> Findings:
    """`scale` runs at debug level, each with canaries of its own."""
    found = run(scale / 10, seed)
    figures = {name.replace("_", " "): found[name] for name in ("failures", "files", "log_kib")}
    return {"done": "runs searched for canaries", "times": scale, "lost": found["lost"], "figures": figures}


PROMISES = (Promise(12, "secrets stay put", secrets_stay_put, short=0, long=10),)
