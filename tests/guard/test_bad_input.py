"""Promise 14: all bad input gets one line that names what is wrong and how to mend it, exit code 2, and nothing was
sent. `tests/cli/test_usage.py` and `tests/edges/test_settings.py` have more of settings and of the command line.

Commands run in this process, through the function that every command goes through.
"""

import logging
import os
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from loopback import Answer, scripted

from quickstart.chain.ids import blake2b_256
from quickstart.chain.transactions import Manifest
from quickstart.cli import main
from quickstart.cli.main import _run
from quickstart.errors import EXIT_USAGE, QuickstartError, UsageError, WeightsError
from quickstart.scoring.download import Downloader
from quickstart.scoring.weights_store import WeightsStore
from quickstart.settings import S3Settings
from quickstart.submission.s3_storage import S3Storage

KEY = "11" * 32
BUCKET = {"S3_BUCKET": "b", "S3_ACCESS_KEY_ID": "i", "S3_SECRET_ACCESS_KEY": "s"}
REMOTE = ("--rpc-url", "https://node.invalid:1")
COMMANDS = {
    "submit": ("commands", "run_submit"),
    "claim": ("commands", "run_claim"),
    "status": ("status", "run_status"),
    "devnet": ("commands", "run_devnet"),
    "create-secrets": ("secrets", "run_create_secrets"),
    "deploy": ("cloud", "run_deploy"),
    "stop": ("cloud", "run_stop"),
    "rebuild": ("upkeep", "run_rebuild"),
    "cleanup": ("upkeep", "run_cleanup"),
    "review": ("review", "run_review"),
    "board": ("board", "run_board"),
    "validators": ("validators", "run_validators"),
}


@dataclass(frozen=True)
class Row:
    """One command line that must be refused. `files`: made in the folder it runs in; `said`: parts of the line."""

    what: str
    line: tuple[str, ...]
    said: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)


def key(text: str) -> dict[str, str]:
    return {"SOMA_SECRET_KEY": text, **BUCKET}


def env_file(content: bytes) -> dict[str, bytes]:
    return {".env": content}


DEVNET = ("submit", "--network", "devnet")
LOCAL = ("submit", *REMOTE)

TABLE = [
    # .env
    Row(".env: no NAME=value", LOCAL, (".env is malformed in line 2", "NAME=value"),
        files=env_file(b"A=1\nno equals\n")),
    Row(".env: not UTF-8", LOCAL, (".env is not a text in UTF-8",), files=env_file(b"A=\xff\xfe\n")),
    Row(".env: open quote", LOCAL, (".env is malformed in line 1",), files=env_file(b"A='1\nB=2\n")),
    Row(".env: a number that is none", DEVNET, ("QUICKSTART_LANES is malformed", ".env.example"),
        files=env_file(b"QUICKSTART_LANES=many\n")),
    Row("versions", DEVNET, ("QUICKSTART_ACCEPT_VERSIONS is malformed", "protocol-6"),
        env={"QUICKSTART_ACCEPT_VERSIONS": "latest"}),
    # keys
    Row("key: missing", LOCAL, ("missing: SOMA_SECRET_KEY", ".env"), env=BUCKET),
    Row("key: a digit short", LOCAL, ("SOMA_SECRET_KEY is malformed", "63 hexadecimal digits"), key(KEY[:-1])),
    Row("key: a digit too many", LOCAL, ("SOMA_SECRET_KEY is malformed", "65 hexadecimal digits"), key(KEY + "1")),
    Row("key: a mnemonic", LOCAL, ("SOMA_SECRET_KEY", "12 words", "export the key"), key("word " * 12)),
    Row("key: bech32 mistyped", LOCAL, ("SOMA_SECRET_KEY", "wrong checksum"), key("somaprivkey1" + "q" * 58)),
    Row("key: bech32 in mixed case", LOCAL, ("SOMA_SECRET_KEY", "mixed case"), key("somaprivkey1qQ")),
    Row("key: base64 without padding", LOCAL, ("SOMA_SECRET_KEY", "no known format"), key("+" * 43)),
    # addresses
    Row("URL: no scheme", ("submit", "--rpc-url", "node.example:9000"), ("--rpc-url", "http://"), key(KEY)),
    Row("URL: a password in it", ("submit", "--rpc-url", "http://u:p@h"), ("--rpc-url", "password"), key(KEY)),
    Row("URL: a port out of range", ("claim", "--rpc-url", "http://h:70000"), ("--rpc-url", "http://"), key(KEY)),
    Row("URL: of the bucket", LOCAL, ("S3_ENDPOINT_URL is malformed",), key(KEY) | {"S3_ENDPOINT_URL": "s3://b"}),
    Row("URL: nobody answers", ("claim", "--rpc-url", "http://127.0.0.1:1"), ("http://127.0.0.1:1", "uv run devnet"),
        key(KEY)),
    Row("bucket: half of it", LOCAL, ("missing: S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"),
        {"SOMA_SECRET_KEY": KEY, "S3_BUCKET": "b"}),
    Row("bucket: not a name", LOCAL, ("S3_BUCKET is malformed", "a name only"), key(KEY) | {"S3_BUCKET": "s3://b/x"}),
    Row("bucket: R2 without its public address", ("create-secrets",), ("S3_PUBLIC_URL",),
        key(KEY) | {"S3_ENDPOINT_URL": "https://a.r2.cloudflarestorage.com"}),
    # caps and numbers
    Row("cap: negative", DEVNET, ("QUICKSTART_BOND_CAP", "0 or more"), env={"QUICKSTART_BOND_CAP": "-1"}),
    Row("cap: NaN", DEVNET, ("QUICKSTART_GAS_CAP",), env={"QUICKSTART_GAS_CAP": "nan"}),
    Row("cap: ten decimals", DEVNET, ("QUICKSTART_GAS_CAP", "nine decimals"),
        env={"QUICKSTART_GAS_CAP": "0.0000000001"}),
    Row("dollars", DEVNET, ("QUICKSTART_GPU_DOLLARS_PER_DAY",), env={"QUICKSTART_GPU_DOLLARS_PER_DAY": "inf"}),
    Row("GPU", DEVNET, ("QUICKSTART_GPU", "H101"), env={"QUICKSTART_GPU": "H101"}),
    Row("option: lanes", (*DEVNET, "--lanes", "0"), ("--lanes", "from 1")),
    Row("option: seconds", (*DEVNET, "--seconds", "inf"), ("--seconds", "inf")),
    Row("option: unknown", (*DEVNET, "--fast"), ("--fast", "--help")),
    # data
    Row("data: empty folder", (*DEVNET, "--source", "empty"), ("empty", "1024 bytes"), files={"empty/": b""}),
    Row("data: an empty file", (*DEVNET, "--source", "one"), ("one", "1024 bytes"), files={"one/a.py": b""}),
    Row("data: noise", (*DEVNET, "--source", "noise"), ("noise", "no usable window"),
        files={"noise/a": bytes(range(256)) * 40}),
    Row("data: no folder", (*DEVNET, "--source", "nowhere"), ("nowhere", "name an existing folder")),
    # state
    Row("state: a file", (*DEVNET, "--state", "file"), ("file", "--state"), files={"file": b"x"}),
    Row("state: newer", (*DEVNET, "--state", "new"), ("version 99", "update the program"),
        files={"new/version": b"99"}),
    Row("state: no version", ("claim", "--network", "devnet", "--state", "odd"), ("does not hold a version",),
        files={"odd/version": b"\xff"}),
    Row("state: no ledger", ("status", "--state", "none"), ("no ledger in none", "submit --network devnet")),
    Row("state: nothing to review", ("review", "--state", "none"), ("no ledger in none", "submit --network devnet")),
    Row("status: two forms", ("status", "--csv", "--json"), ("--csv", "--json", "exclude")),
    Row("status: an address", ("status", "--rpc-url", "node:1", "--local"), ("--rpc-url", "http://")),
    Row("board: nobody answers", ("board", "--rpc-url", "http://127.0.0.1:1"), ("http://127.0.0.1:1", "uv run devnet")),
    Row("validators: an address", ("validators", "--rpc-url", "moon"), ("--rpc-url", "http://")),
    Row("review: an epoch", ("review", "first"), ("from 0", "first")),
    Row("state: a key that is none", (*DEVNET, "--state", "s"), ("devnet-wallet.key", "holds no key"),
        files={"s/devnet-wallet.key": b"\xff\xfe"}),
    # commands that need a place
    Row("rebuild elsewhere with a folder here", ("rebuild", "--state", "s"), ("--state", "--local", "--network")),
    Row("cleanup elsewhere with a folder here", ("cleanup", "--state", "s"), ("--state", "--local", "--network")),
    Row("cleanup --yes alone", ("cleanup", "--yes"), ("--all",)),
    Row("cleanup --all here", ("cleanup", "--all", "--network", "devnet"), ("--network",)),
    Row("cleanup --all without settings", ("cleanup", "--all"), ("SOMA_SECRET_KEY", "S3_BUCKET")),
    Row("--detach here", (*DEVNET, "--detach"), ("--detach",)),
    Row("--dry-run of what is deployed", ("submit", "--dry-run"), ("--dry-run", "--local")),
    Row("devnet: ninth model", ("devnet", "--models", "9"), ("--models", "0 to 4")),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty folder, and an environment that holds nothing of ours."""
    for name in list(os.environ):
        if name.startswith(("SOMA_", "HF_", "S3_", "QUICKSTART_", "MODAL_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QUICKSTART_STATE", str(tmp_path / "unused"))
    yield
    logging.getLogger("asyncio").setLevel(logging.NOTSET)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.what)
def test_bad_input(row: Row, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in row.env.items():
        monkeypatch.setenv(name, value)
    for name, content in row.files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if name.endswith("/") else path.write_bytes(content)
    command, *options = row.line
    parser = getattr(main, command.replace("-", "_") + "_parser")()
    try:
        code = _run(*COMMANDS[command], parser.parse_args(options))
    except SystemExit as left:
        code = left.code
    out, err = capfd.readouterr()
    assert (code, out) == (EXIT_USAGE, ""), err
    assert err.startswith("error: ") and err.count("\n") == 1, err
    for part in row.said:
        assert part in err, err
    for path in Path().rglob("ledger.sqlite"):
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("SELECT COUNT(*) FROM intents").fetchone() == (0,), "nothing was signed"
    secrets = [value for name, value in row.env.items() if name == "SOMA_SECRET_KEY"]
    assert not [value for value in secrets if len(value.split()) == 1 and value in err]


# -- what comes from the network: an error of one line that names the model; the model is left out, the run goes on

GOOD = struct.pack("<Q", 2) + b"{}"


@pytest.mark.parametrize(
    ("what", "served", "manifest", "said"),
    [
        ("truncated", GOOD[:-1], Manifest("", blake2b_256(GOOD), len(GOOD)), "the connection ended after 9 of 10"),
        ("longer", GOOD + b"!", Manifest("", blake2b_256(GOOD), len(GOOD)), "sends 11 bytes instead of 10"),
        ("corrupted", GOOD[:-1] + b"]", Manifest("", blake2b_256(GOOD), len(GOOD)), "published checksum"),
        ("a wrong checksum", GOOD, Manifest("", bytes(32), len(GOOD)), "published checksum"),
        ("no size", GOOD, Manifest("", blake2b_256(GOOD), 0), "its size of 0 bytes"),
        ("too large", GOOD, Manifest("", blake2b_256(GOOD), 2**62), "its size of"),
    ],
)  # fmt: skip
def test_bad_weights(tmp_path: Path, what: str, served: bytes, manifest: Manifest, said: str) -> None:
    downloader = Downloader(private_hosts=True, attempts=2, sleep=lambda _: None)
    with scripted(Answer(200, served)) as host, pytest.raises(WeightsError, match=said) as caught:
        WeightsStore(tmp_path, downloader=downloader).fetch(
            Manifest(f"{host.url}/w", manifest.checksum, manifest.size), bytes(32)
        )
    assert f"model {host.url}/w" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("code", "said"), [("RequestTimeTooSkewed", "clock"), ("QuotaExceeded", "may not write")])
def test_a_bucket_that_refuses_says_what_to_mend(code: str, said: str) -> None:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    with (
        scripted(Answer(403, body)) as host,
        closing(S3Storage(S3Settings("b", "i", "s", host.url, f"{host.url}/b"))) as storage,
        pytest.raises(UsageError, match=said) as caught,
    ):
        storage.put(b"x" * 1024, bytes(32))
    assert "\n" not in str(caught.value)


def test_every_typed_error_is_one_line_with_a_code() -> None:
    def below(kind: type[QuickstartError]) -> Iterator[type[QuickstartError]]:
        yield kind
        for inner in kind.__subclasses__():
            yield from below(inner)

    kinds = list(below(QuickstartError))
    assert len(kinds) > 12
    assert {kind.exit_code for kind in kinds} == {1, 2}
