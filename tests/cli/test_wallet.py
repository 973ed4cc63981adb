"""`wallet`: keys are made, taken in, backed up and restored, never shown; a sweep moves what is spare."""

import asyncio
import io
import json
import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given
from live_devnet import SOMA, LiveDevnet, office, running

from quickstart.chain.coins import Coin
from quickstart.chain.ids import format_id
from quickstart.chain.keys import Wallet
from quickstart.chain.protocol import PARAMETERS
from quickstart.chain.transactions import CommitModel, CreateModel, Manifest, ObjectRef
from quickstart.cli.arguments import wallet_parser
from quickstart.cli.wallet import run_wallet
from quickstart.errors import QuickstartError, UsageError
from quickstart.ledger.records import IntentKind
from quickstart.settings import load_settings
from quickstart.wallet.backup import address_in, open_backup
from quickstart.wallet.sweep import parse_recipient, plan_sweep, send_sweep

PHRASE = "abandon " * 11 + "about"
ADDRESS_OF_PHRASE = "0x5e93a736d04fbb25737aa40bee40171ef79f65fae833749e3c089fe7cc2161f1"
ADDRESS_OF_ONES = "0x0881c07520943bbf13989b92892093c1b50672156fa5f873c22892701cb2e207"
COLD = "0x" + "c0" * 32
PASSPHRASE = "a long enough one"

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("SOMA_", "S3_", "QUICKSTART_"))]:
        monkeypatch.delenv(name)
    (tmp_path / "phrase").write_text(PASSPHRASE + "\nnot this\n")
    return tmp_path


@pytest.fixture
def wallet(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command with `--json`; `typed` is its standard input. It never says a key."""

    def run(*arguments: str, typed: str = "") -> dict[str, Any]:
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        assert run_wallet(wallet_parser().parse_args([*arguments, "--json"])) == 0
        said = capsys.readouterr()
        if "--key" not in arguments:
            assert "somaprivkey" not in said.out + said.err and "11" * 32 not in said.out + said.err
        document: dict[str, Any] = json.loads(said.out)
        return document

    return run


def own_address() -> str:
    secret = load_settings("SOMA_SECRET_KEY").secret_key
    assert secret is not None
    return format_id(Wallet.parse(secret.get_secret_value()).address)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_key_is_backed_up_and_restored(wallet: Run, folder: Path) -> None:
    made = wallet("new")
    env = folder / ".env"
    assert made == {"address": own_address(), "file": ".env"} and mode(env) == 0o600
    assert "# QUICKSTART_LANES=8" in env.read_text(), "a new file holds the whole table of settings"
    assert wallet("show") == {"address": made["address"], "key_in": ".env"}
    shown = wallet("show", "--key")["secret_key"]
    assert format_id(Wallet.parse(shown).address) == made["address"]

    backup = wallet("backup", "copy.json", "--passphrase-file", "phrase")
    copy = folder / "copy.json"
    assert backup["address"] == made["address"] == address_in(copy.read_bytes()) and mode(copy) == 0o600
    assert Wallet.parse(shown).secret.hex() not in copy.read_text() and shown not in copy.read_text()
    env.rename(folder / "lost")
    assert wallet("restore", "copy.json", "--passphrase-file", "phrase") == made
    assert own_address() == made["address"]


@pytest.mark.parametrize(
    ("typed", "address"), [(PHRASE, ADDRESS_OF_PHRASE), ("0x" + "11" * 32 + "\n", ADDRESS_OF_ONES)]
)
def test_a_key_or_a_phrase_is_taken_in_beside_what_the_file_says(
    wallet: Run, folder: Path, typed: str, address: str
) -> None:
    (folder / ".env").write_text("S3_BUCKET=mine\nSOMA_SECRET_KEY=\n")
    assert wallet("import", typed=typed)["address"] == own_address() == address
    assert load_settings().s3_bucket == "mine" and mode(folder / ".env") == 0o600


@pytest.mark.parametrize(
    ("arguments", "typed", "told"),
    [
        (("new",), "", "there is a key in .env"),
        (("import",), "22" * 32, "there is a key in .env"),
        (("restore", "copy.json"), "", "there is a key in .env"),
        (("backup", "phrase", "--passphrase-file", "phrase"), "", "phrase exists"),
        (("backup", "copy.json"), "", "nobody can be asked"),
        (("backup", "copy.json", "--passphrase-file", "short"), "", "fewer than 10"),
        (("backup",), "", "needs a file"),
        (("show", "file"), "", "takes no file"),
        (("new", "--key"), "", "--key belongs to"),
        (("show", "--to", COLD), "", "belong to `wallet sweep`"),
        (("sweep",), "", "--to ADDRESS"),
        (("sweep", "--to", "0x12"), "", "no address"),
        (("sweep", "--to", COLD, "--rpc-url", "https://node.example"), "", "S3_BUCKET"),
    ],
)
def test_what_is_refused_leaves_everything_as_it_was(
    wallet: Run, folder: Path, arguments: tuple[str, ...], typed: str, told: str
) -> None:
    (folder / "short").write_text("short")
    wallet("import", typed="11" * 32)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UsageError, match=told) as refused:
        wallet(*arguments, typed=typed)
    assert "11" * 32 not in str(refused.value) and "22" * 32 not in str(refused.value)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_wrong_phrase_or_a_key_in_the_environment(wallet: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(QuickstartError, match="no mnemonic phrase") as refused:
        wallet("import", typed=PHRASE.replace("about", "zebra"))
    assert "zebra" not in str(refused.value) and refused.value.__context__ is None
    monkeypatch.setenv("SOMA_SECRET_KEY", "11" * 32)
    with pytest.raises(UsageError, match="there is a key in the environment"):
        wallet("new")
    assert not (folder / ".env").exists()


def test_a_damaged_backup_or_another_passphrase_does_not_open(wallet: Run, folder: Path) -> None:
    wallet("new")
    wallet("backup", "copy.json", "--passphrase-file", "phrase")
    text = (folder / "copy.json").read_bytes()
    damaged = [json.dumps(json.loads(text) | damage).encode() for damage in ({"sealed": "00" * 48}, {"address": COLD})]
    for sealed, passphrase in (*((one, PASSPHRASE) for one in damaged), (text, PASSPHRASE + "!")):
        with pytest.raises(UsageError, match="does not open"):
            open_backup(sealed, passphrase)
    for none in (b"", b"[]", b"{}", text[:-9], b"x" * 10_000):
        with pytest.raises(UsageError, match="this is no"):
            open_backup(none, PASSPHRASE)


@given(
    balances=st.lists(st.integers(0, 5 * SOMA), max_size=6),
    keep=st.integers(0, 6 * SOMA),
    bps=st.integers(1, 50),
)
def test_a_sweep_moves_all_that_is_spare_and_not_a_shannon_more(balances: list[int], keep: int, bps: int) -> None:
    rules = replace(PARAMETERS[5], value_fee_bps=bps)
    coins = [Coin(ObjectRef(bytes([i]) * 32, 1, bytes(32)), balance) for i, balance in enumerate(balances)]
    planned = plan_sweep(coins, keep, rules)

    def cost(amount: int) -> int:
        return amount + 1_600 + amount * bps // 10_000

    spare = sum(balances) - keep
    if planned is None:
        assert spare < cost(1)
        return
    assert planned.amount + planned.fee == cost(planned.amount) <= spare < cost(planned.amount + 1)
    assert planned.left == sum(balances) - cost(planned.amount) >= keep


@pytest.fixture(scope="module")
def live() -> Iterator[LiveDevnet]:
    with running(models=1, targets=10) as devnet:
        yield devnet


@pytest.mark.parametrize("keep", [0, SOMA])
def test_a_sweep_on_a_chain_arrives_and_the_books_are_right(live: LiveDevnet, tmp_path: Path, keep: int) -> None:
    amounts = (2 * SOMA, SOMA, SOMA // 3, 7)
    with office(live, tmp_path, *amounts) as own:
        recipient = parse_recipient(format_id(os.urandom(32)))
        epoch, _ = live.run(own.reader.own_models(own.wallet.address))
        planned = plan_sweep(own.outbox.pool.idle, keep, epoch.parameters)
        assert planned is not None
        settled = live.run(send_sweep(own.outbox, planned, recipient, live.node.state.epoch))
        assert settled.intent.kind is IntentKind.SWEEP
        (arrived,) = live.chain_coins(recipient).values()
        assert arrived.balance == planned.amount
        assert sum(coin.balance for coin in own.outbox.pool.idle) == planned.left
        assert -own.ledger.totals()["swept"] == planned.amount
        own.assert_right()


def test_the_command_shows_then_sends(wallet: Run, folder: Path, live: LiveDevnet) -> None:
    """Both runs speak to a node of this machine, which needs no bucket."""
    wallet("import", typed="11" * 32)
    live.fund(bytes.fromhex(ADDRESS_OF_ONES[2:]), 3 * SOMA, SOMA)
    line = ("sweep", "--to", COLD, "--rpc-url", live.endpoints.rpc, "--state", str(folder / "state"))

    def run(*more: str) -> dict[str, Any]:
        async def served() -> dict[str, Any]:
            with ThreadPoolExecutor(1) as pool:
                return await asyncio.get_running_loop().run_in_executor(pool, lambda: wallet(*line, *more))

        return live.run(served())

    before = live.executed()
    shown = run("--dry-run")
    assert shown["amount_shannons"] > 2 * SOMA and shown["left_shannons"] == SOMA and shown["transaction"] is None
    assert live.executed() == before and not (folder / "state" / "networks").exists()
    with pytest.raises(UsageError, match="nobody can be asked"):
        run()
    sent = run("--yes")
    assert sent["amount_shannons"] == shown["amount_shannons"] and sent["transaction"]
    (arrived,) = live.chain_coins(bytes.fromhex(COLD[2:])).values()
    assert arrived.balance == sent["amount_shannons"]
    assert run("--dry-run")["amount_shannons"] == 0


class Person(io.StringIO):
    """Somebody at a terminal, who does something before the answer."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        super().__init__("yes\n")
        self._meanwhile = meanwhile

    def isatty(self) -> bool:
        return True

    def readline(self, *size: Any) -> str:
        self._meanwhile()
        return super().readline(*size)


def test_no_coin_goes_while_a_model_waits_for_its_reveal(
    wallet: Run, folder: Path, live: LiveDevnet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also when it is committed while a person thinks about the question."""
    wallet("import", typed="22" * 32)
    own = Wallet(bytes.fromhex("22" * 32))
    *_, first, second = live.fund(own.address, 3 * SOMA, 9 * SOMA, SOMA)
    live.act_as(own, CreateModel(5 * SOMA, 1_000, PARAMETERS[5].model_architecture_version), first)
    (model_id,) = (model_id for model_id, model in live.node.state.models.items() if model.owner == own.address)
    kept = Manifest("http://127.0.0.1:9/w", bytes(32), 1024)
    line = ["sweep", "--to", COLD, "--rpc-url", live.endpoints.rpc, "--state", str(folder / "state")]

    def sweep(*more: str, stdin: io.StringIO | None = None) -> int:
        monkeypatch.setattr("sys.stdin", stdin or io.StringIO())

        async def served() -> int:
            with ThreadPoolExecutor(1) as pool:
                arguments = wallet_parser().parse_args([*line, *more])
                return await asyncio.get_running_loop().run_in_executor(pool, lambda: run_wallet(arguments))

        return live.run(served())

    def commit() -> None:
        live.act_as(own, CommitModel(model_id, kept, bytes(32), bytes(32), bytes(32)), second)

    waits = f"model {format_id(model_id)} waits for its reveal in epoch {live.node.state.epoch + 1}, .* half its stake"
    for arguments, stdin in ([], Person(commit)), (["--yes"], None), (["--dry-run"], None):
        with pytest.raises(UsageError, match=waits):
            sweep(*arguments, stdin=stdin)
    live.next_epoch()
    with pytest.raises(UsageError, match=waits):
        sweep("--yes")
    live.next_epoch()
    assert sweep("--dry-run") == 0, "it was missed"
