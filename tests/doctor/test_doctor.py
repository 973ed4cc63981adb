"""The doctor finds each of these faults, names what mends it, and finds nothing else; with none of them all is well."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from data_hosts import EXPIRED_TOKEN, GOOD_TOKEN, NEW_TOKEN, HubStandIn, Repository
from fakemodal import FakeModal
from live_devnet import SOMA, LiveDevnet, new_wallet, running
from loopback import Answer, Seen, before, serving
from moto.server import ThreadedMotoServer

import quickstart
from quickstart.chain.keys import Wallet
from quickstart.cli.arguments import doctor_parser
from quickstart.cli.doctor import run_doctor, surroundings
from quickstart.doctor.examination import CHECKS, Check, examine
from quickstart.doctor.findings import Finding, Severity, exit_code, ok
from quickstart.doctor.surroundings import Surroundings, in_thread
from quickstart.ledger.ledger import Ledger
from quickstart.modal_app import names
from quickstart.profiles import profile_named, using
from quickstart.scoring.engine import ScoredShard
from quickstart.scoring.numpy_engine import NumpyEngine
from quickstart.settings import env_example

SOURCE = Path(quickstart.__file__).parents[1]
OURS = ("SOMA_", "HF_", "S3_", "QUICKSTART_", "MODAL_")
KEY = "2f" * 32
POOR_KEY = "3e" * 32
DEAD = "http://127.0.0.1:1"
DAYS = 86_400.0
BUCKET = "examined"
"""Moto's buckets are those of the whole process: one of that name is nobody else's."""
W, E = Severity.WARNING, Severity.ERROR

OPEN_SET, GATED_SET = "HuggingFaceFW/fineweb-edu", "bigcode/the-stack-v2-dedup"


@dataclass
class World:
    """Everything that a deployed wallet rests on, as stand-ins; `refuse` answers S3 requests before the bucket does."""

    live: LiveDevnet
    modal: FakeModal
    hub: HubStandIn
    moto: str
    s3: str
    refuse: Callable[[Seen], Answer | None] = lambda seen: None

    def variables(self, folder: Path) -> dict[str, str]:
        return {
            "SOMA_SECRET_KEY": KEY,
            "S3_BUCKET": BUCKET,
            "S3_ACCESS_KEY_ID": "id",
            "S3_SECRET_ACCESS_KEY": "secret",
            "S3_ENDPOINT_URL": self.s3,
            "HF_ENDPOINT": self.hub.url,
            "HF_TOKEN": GOOD_TOKEN,
            "QUICKSTART_RPC_URL": self.live.endpoints.rpc,
            "QUICKSTART_SOURCE": "stack-v2",
            "QUICKSTART_STATE": str(folder / "state"),
            "QUICKSTART_ALERT_WEBHOOK": "https://example.invalid/hook",
        }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name in [name for name in os.environ if name.startswith(OURS)]:
            patch.delenv(name)
        moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        moto.start()
        stack.callback(moto.stop)
        url = "http://{}:{}".format(*moto.get_host_and_port())
        client = boto3.client(
            "s3", endpoint_url=url, aws_access_key_id="id", aws_secret_access_key="s", region_name="us-east-1"
        )
        client.create_bucket(Bucket=BUCKET)
        client.close()
        sets = {name: Repository({"a.parquet": b"rows"}, gated=name == GATED_SET) for name in (OPEN_SET, GATED_SET)}
        hub = stack.enter_context(HubStandIn(sets))
        live = stack.enter_context(running(models=1, targets=5))
        live.fund(Wallet.parse(KEY).address, 5 * SOMA)
        needed = dict.fromkeys(("SOMA_SECRET_KEY", "S3_BUCKET", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"), "x")
        secrets: dict[str, dict[str, str]] = {names.SECRETS: needed, names.DATA_SECRET: {}}
        modal = stack.enter_context(FakeModal(tmp_path_factory.mktemp("modal"), project=SOURCE, secrets=secrets))
        for name, value in modal.environment.items():
            if name.startswith("MODAL_") or name == "NO_PROXY":
                patch.setenv(name, value)
        stack.enter_context(modal_client())
        import modal as client

        client.App.lookup(names.APP, create_if_missing=True)
        client.Dict.from_name(names.DICT, create_if_missing=True).hydrate()
        made = World(live, modal, hub, url, "")
        front = stack.enter_context(before(url, lambda seen: made.refuse(seen)))
        made.s3 = front.url
        yield made


@contextmanager
def modal_client() -> Iterator[None]:
    """Modal's client is one for the process: a new one for these tests, closed with them."""
    import modal

    modal.Client._set_env_client(None)
    yield
    modal.Client.from_env().close()
    modal.Client._set_env_client(None)


def xml(status: int, code: str) -> Answer:
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>no</Message></Error>'.encode()
    return Answer(status, body, {"Content-Type": "application/xml"})


def reads(seen: Seen) -> bool:
    """Somebody without credentials reads a window."""
    return seen.method == "GET" and "authorization" not in seen.headers


@dataclass
class Fault:
    """`env`: variables that are set otherwise, None for not at all; `at`: other surroundings; `do`: done to the world,
    gives back what undoes it. `found`: each check that must not be ok, and words of its finding."""

    env: dict[str, str | None]
    found: dict[str, tuple[Severity, str]]
    do: Callable[[World, Path], Callable[[], object] | None] = lambda world, folder: None
    at: Callable[[Surroundings], Surroundings] = lambda at: at


def on_s3(refuse: Callable[[Seen], Answer | None]) -> Callable[[World, Path], Callable[[], object]]:
    def do(world: World, folder: Path) -> Callable[[], object]:
        world.refuse = refuse

        def undo() -> None:
            world.refuse = lambda seen: None

        return undo

    return do


def on_modal(change: Callable[[FakeModal], Callable[[], object]]) -> Callable[[World, Path], Callable[[], object]]:
    return lambda world, folder: change(world.modal)


def without_secret(modal: FakeModal) -> Callable[[], object]:
    secret = modal.workspace.secret_named(names.DATA_SECRET)
    assert secret is not None
    del modal.workspace.secrets[secret.id]
    return lambda: modal.workspace.secrets.update({secret.id: secret})


def without_key(modal: FakeModal) -> Callable[[], object]:
    secret = modal.workspace.secret_named(names.SECRETS)
    assert secret is not None
    del secret.values["S3_BUCKET"]
    return lambda: secret.values.update(S3_BUCKET="x")


def not_deployed(modal: FakeModal) -> Callable[[], object]:
    app_id = modal.workspace.deployed.pop(names.APP)
    return lambda: modal.workspace.deployed.update({names.APP: app_id})


def deployed_long_ago(modal: FakeModal) -> Callable[[], object]:
    app = modal.workspace.deployed_app(names.APP)
    app.created -= 40 * DAYS
    return lambda: setattr(app, "created", app.created + 40 * DAYS)


def disarmed(modal: FakeModal) -> Callable[[], object]:
    import modal as client

    state = client.Dict.from_name(names.DICT)
    state.put(names.DISARMED, "since 2026-11-01 by a laptop")
    return lambda: state.pop(names.DISARMED, None)


def newer_node(world: World, folder: Path) -> Callable[[], object]:
    world.live.faults.server_version = "soma-node/0.1.21"
    return lambda: setattr(world.live.faults, "server_version", "")


def newer_protocol(world: World, folder: Path) -> Callable[[], object]:
    state = world.live.node.state
    before = state.rules
    state.rules = replace(before, protocol_version=9)
    return lambda: setattr(state, "rules", before)


def poor(world: World, folder: Path) -> None:
    world.live.fund(Wallet.parse(POOR_KEY).address, SOMA // 10_000)


def state_file(name: str, content: bytes) -> Callable[[World, Path], None]:
    def do(world: World, folder: Path) -> None:
        path = folder / "state" / name
        path.parent.mkdir(parents=True)
        if path.suffix == ".sqlite":
            Ledger(path).close()
            content_now = path.read_bytes()
            path.write_bytes(content_now[:100] + content * ((len(content_now) - 100) // len(content)))
        else:
            path.write_bytes(content)

    return do


class WrongEngine(NumpyEngine):
    """A machine whose arithmetic is off by two percent."""

    def score(self, *arguments: Any, **options: Any) -> ScoredShard:
        scored = super().score(*arguments, **options)
        return replace(scored, losses=scored.losses * 1.02)


def later(seconds: float) -> Callable[[Surroundings], Surroundings]:
    return lambda at: replace(at, clock=lambda: time.time() + seconds)


def room(size: int) -> Callable[[Surroundings], Surroundings]:
    return lambda at: replace(at, free_bytes=lambda folder: size)


SLOW = {"bucket", "scorer"}
"""Looked at in faults that are about them, and when all is well."""

NO_CLAIMS = {"protocol": (W, "mend `node`"), "coins": (W, "mend `node`")}
MIXTURE = {"QUICKSTART_SOURCE": "mixture:stack-v2;fineweb-edu"}

FAULTS = {
    "no env file": Fault({}, {"settings": (W, "--fix")}, lambda world, folder: (folder / ".env").unlink()),
    "others read the env file": Fault(
        {}, {"settings": (E, "chmod 600 .env")}, lambda world, folder: (folder / ".env").chmod(0o644)
    ),
    "no key": Fault({"SOMA_SECRET_KEY": None}, {"key": (E, "uv run wallet new"), "coins": (W, "mend `key`")}),
    "nobody hears of alerts": Fault({"QUICKSTART_ALERT_WEBHOOK": None}, {"alerts": (W, "QUICKSTART_ALERT_WEBHOOK")}),
    "half of a mail channel": Fault(
        {"QUICKSTART_ALERT_MAIL_TO": "me@example.org"}, {"alerts": (E, "QUICKSTART_ALERT_SMTP")}
    ),
    "the node is down": Fault({"QUICKSTART_RPC_URL": DEAD}, {"node": (E, DEAD), **NO_CLAIMS}),
    "a node of another version": Fault({}, {"node": (W, "0.1.21, the SDK was built for 0.1.19")}, newer_node),
    "a newer protocol": Fault({}, {"protocol": (E, "nothing is signed")}, newer_protocol),
    "a newer protocol that a person accepts": Fault(
        {"QUICKSTART_ACCEPT_VERSIONS": "protocol-9"}, {"protocol": (W, "QUICKSTART_ACCEPT_VERSIONS")}, newer_protocol
    ),
    "no coins": Fault({"SOMA_SECRET_KEY": new_wallet().secret.hex()}, {"coins": (E, "send SOMA to 0x")}),
    "few coins": Fault({"SOMA_SECRET_KEY": POOR_KEY}, {"coins": (W, "QUICKSTART_LANES")}, poor),
    "a cap below one bond": Fault({"QUICKSTART_BOND_CAP": "0.00001"}, {"caps": (E, "QUICKSTART_BOND_CAP")}),
    "half a bucket": Fault({"S3_ACCESS_KEY_ID": None}, {"bucket": (E, "S3_ACCESS_KEY_ID")}),
    "a bucket that is not there": Fault(
        {"S3_BUCKET": "other"}, {"bucket": (E, "S3_BUCKET"), "lease": (E, "S3_BUCKET")}
    ),
    "wrong credentials": Fault(
        {},
        {"bucket": (E, "S3_ACCESS_KEY_ID"), "lease": (E, "S3_ACCESS_KEY_ID")},
        on_s3(lambda seen: xml(403, "InvalidAccessKeyId") if seen.method == "PUT" else None),
    ),
    "a bucket that is not public": Fault(
        {}, {"bucket": (E, "S3_PUBLIC_URL")}, on_s3(lambda seen: xml(403, "AccessDenied") if reads(seen) else None)
    ),
    "a bucket that is not public, and a key that may not delete": Fault(
        {},
        {"bucket": (E, "S3_PUBLIC_URL")},
        on_s3(lambda seen: xml(403, "AccessDenied") if reads(seen) or seen.method == "DELETE" else None),
    ),
    "a key that may not delete": Fault(
        {},
        {"bucket": (W, "delete objects")},
        on_s3(lambda seen: xml(403, "AccessDenied") if seen.method == "DELETE" else None),
    ),
    "a public host with other bytes": Fault(
        {}, {"bucket": (E, "other bytes")}, on_s3(lambda seen: Answer(200, b"x" * 1024) if reads(seen) else None)
    ),
    "a public host without ranges": Fault(
        {},
        {"bucket": (E, "does not serve ranges")},
        on_s3(lambda seen: Answer(200, b"x") if reads(seen) and "range" in seen.headers else None),
    ),
    "a store without conditional writes": Fault(
        {},
        {"lease": (E, "conditional writes")},
        on_s3(lambda seen: Answer(200, b"", {"ETag": '"1"'}) if "if-none-match" in seen.headers else None),
    ),
    "an expired token": Fault({"HF_TOKEN": EXPIRED_TOKEN}, {"data": (E, "/settings/tokens")}),
    "terms not accepted": Fault({"HF_TOKEN": NEW_TOKEN}, {"data": (E, f"/datasets/{GATED_SET}")}),
    "terms of one of two not accepted": Fault(MIXTURE | {"HF_TOKEN": NEW_TOKEN}, {"data": (W, GATED_SET)}),
    "a data set that is not there": Fault({"QUICKSTART_SOURCE": "hf:no/such"}, {"data": (E, "no data set no/such")}),
    "a mixture that is none": Fault({"QUICKSTART_SOURCE": "mixture:a=b"}, {"data": (E, "QUICKSTART_SOURCE")}),
    "no such secret on Modal": Fault({}, {"modal secret": (E, "uv run create-secrets")}, on_modal(without_secret)),
    "a key that is not in the secret": Fault({}, {"modal secret": (E, "S3_BUCKET")}, on_modal(without_key)),
    "nothing deployed": Fault({}, {"modal app": (E, "uv run deploy")}, on_modal(not_deployed)),
    "training is paid for, and not deployed": Fault(
        {"QUICKSTART_TRAINING_DOLLARS_PER_DAY": "5"}, {"modal app": (E, names.TRAINING_APP)}
    ),
    "the page has a password, and neither secret nor app": Fault(
        {"QUICKSTART_DASHBOARD_PASSWORD": "correct horse battery"},
        {"modal secret": (E, names.DASHBOARD_SECRET), "modal app": (E, names.DASHBOARD_APP)},
    ),
    "an old deployment": Fault({}, {"modal app": (W, "40 days old")}, on_modal(deployed_long_ago)),
    "a disarmed schedule": Fault({}, {"modal schedule": (W, "uv run submit")}, on_modal(disarmed)),
    "a clock that is a minute ahead": Fault({}, {"clock": (W, "60 s ahead")}, at=later(60)),
    "a clock that is ten minutes behind": Fault({}, {"clock": (E, "behind")}, at=later(-600)),
    "a year later": Fault(
        {}, {"clock": (E, ""), "modal app": (W, ""), "prices": (W, "modal billing rates")}, at=later(365 * DAYS)
    ),
    "little room": Fault({}, {"disk": (W, "QUICKSTART_STATE")}, at=room(1 << 30)),
    "no room": Fault({}, {"disk": (E, "QUICKSTART_STATE")}, at=room(1 << 20)),
    "a newer state folder": Fault({}, {"state": (E, "version 2")}, state_file("version", b"2\n")),
    "a damaged ledger": Fault(
        {}, {"state": (E, "uv run rebuild")}, state_file(f"networks/c/{'0' * 64}/ledger.sqlite", b"\x5a\xa5 damage ")
    ),
    "wrong arithmetic": Fault({}, {"scorer": (E, "would be false")}, at=lambda at: replace(at, engine=WrongEngine)),
}


def at_home(world: World, folder: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault) -> None:
    """An env file in a folder of its own."""
    monkeypatch.chdir(folder)
    wanted = world.variables(folder) | fault.env
    text = "".join(f"{name}={value}\n" for name, value in wanted.items() if value is not None)
    (folder / ".env").write_text(text)
    (folder / ".env").chmod(0o600)
    if fault.found.get("settings", (None, ""))[1] == "--fix":
        for name, value in wanted.items():
            monkeypatch.setenv(name, str(value))


def looked_at(world: World, fault: Fault, checks: tuple[Check, ...]) -> tuple[Finding, ...]:
    at = replace(surroundings(doctor_parser().parse_args([])), on_modal=True)
    return world.live.run(examine(fault.at(at), checks))


def test_all_is_well(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_home(world, tmp_path, monkeypatch, Fault({}, {}))
    findings = looked_at(world, Fault({}, {}), CHECKS)
    assert [finding for finding in findings if finding.severity is not Severity.OK] == []
    assert {check.name for check in CHECKS} <= {finding.check for finding in findings}
    assert exit_code(findings, strict=True) == 0
    assert httpx.get(f"{world.moto}/{BUCKET}?prefix=windows/", trust_env=False).text.count("<Key>") == 0, (
        "nothing stays"
    )
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_found_and_its_mending_named(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    fault = FAULTS[name]
    about = {"bucket" if check == "lease" else check for check in fault.found}
    at_home(world, tmp_path, monkeypatch, fault)
    undo = fault.do(world, tmp_path)
    try:
        findings = looked_at(world, fault, tuple(c for c in CHECKS if c.name not in SLOW - about))
    finally:
        if undo is not None:
            undo()
    wrong = [finding for finding in findings if finding.severity is not Severity.OK]
    assert {finding.check: finding.severity for finding in wrong} == {
        check: severity for check, (severity, _) in fault.found.items()
    }
    for finding in wrong:
        words = fault.found[finding.check][1]
        assert words in f"{finding.message} {finding.mending}" and finding.mending, finding
        assert "\n" not in finding.message + finding.mending and KEY not in finding.message
    has_errors = any(severity is E for severity, _ in fault.found.values())
    assert exit_code(findings, strict=True) == (2 if has_errors else 1 if fault.found else 0)
    assert exit_code(findings, strict=False) == (2 if has_errors else 0)


def test_a_public_host_for_trials(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read through a proxy, so that its name need not exist."""

    def proxied(seen: Seen, body: bytes) -> Answer:
        asked = httpx.URL(seen.path)
        headers = {name: value for name, value in seen.headers.items() if name == "range"}
        reply = httpx.get(f"{world.moto}/{BUCKET}{asked.path}", headers=headers, trust_env=False)
        kept = {name: value for name, value in reply.headers.items() if name == "content-range"}
        return Answer(reply.status_code, reply.content, kept)

    fault = Fault({"S3_PUBLIC_URL": "http://pub-1.r2.dev"}, {})
    at_home(world, tmp_path, monkeypatch, fault)
    with serving(proxied) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        findings = looked_at(world, fault, tuple(check for check in CHECKS if check.name == "bucket"))
    assert [finding.severity for finding in findings] == [Severity.OK, Severity.OK, W]
    assert "r2.dev limits" in findings[2].message and findings[2].mending.startswith("https://")


def test_a_profile_whose_settings_are_malformed_is_looked_at_in_its_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env.second").write_text("QUICKSTART_LANES=0\n")
    monkeypatch.setenv("QUICKSTART_STATE", str(tmp_path / "state"))
    with using(profile_named("second")):
        at = surroundings(doctor_parser().parse_args(["--local"]))
    assert at.settings is None and at.state == tmp_path / "state" / "profiles" / "second"


def test_a_check_that_hangs_or_breaks_hides_no_other(world: World) -> None:
    async def breaks(at: Surroundings) -> list[Finding]:
        raise ZeroDivisionError("by nothing")

    async def hangs(at: Surroundings) -> list[Finding]:
        await in_thread(time.sleep, 60.0)
        return []

    async def works(at: Surroundings) -> list[Finding]:
        return [ok("works", "well")]

    checks = [Check(work.__name__, work, 0.2, "look") for work in (breaks, hangs, works)]
    started = time.monotonic()
    findings = world.live.run(examine(surroundings(doctor_parser().parse_args([])), checks))
    assert time.monotonic() - started < 30
    assert [(one.check, one.severity) for one in findings] == [("breaks", E), ("hangs", E), ("works", Severity.OK)]
    assert "ZeroDivisionError" in findings[0].message and "no answer within" in findings[1].message


def test_fixes_do_what_they_say_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in os.environ if name.startswith(OURS[:4])]:
        monkeypatch.delenv(name)
    for name in ("S3_ENDPOINT_URL", "HF_ENDPOINT"):
        monkeypatch.setenv(name, DEAD)
    monkeypatch.chdir(tmp_path)
    line = ["--fix", "--local", "--json", "--rpc-url", DEAD, "--state", str(tmp_path / "state")]
    assert run_doctor(doctor_parser().parse_args(line)) == 2
    assert json.loads(capsys.readouterr().out)["fixed"] == [".env is there, to be filled in"]
    env = tmp_path / ".env"
    assert (env.read_text(), env.stat().st_mode & 0o777) == (env_example(), 0o600)

    env.write_text(f"SOMA_SECRET_KEY={KEY}\n")
    env.chmod(0o644)
    assert run_doctor(doctor_parser().parse_args(line)) == 2
    told = json.loads(capsys.readouterr().out)
    assert told["fixed"] == [".env is readable by its owner only"]
    assert [one["severity"] for one in told["findings"] if one["check"] in ("settings", "key")] == ["ok", "ok"]
    assert (env.read_text(), env.stat().st_mode & 0o777) == (f"SOMA_SECRET_KEY={KEY}\n", 0o600)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".env"]


def test_the_command_when_everything_is_down(tmp_path: Path) -> None:
    variables = {"S3_BUCKET": "b", "S3_ACCESS_KEY_ID": "i", "S3_SECRET_ACCESS_KEY": "s", "S3_ENDPOINT_URL": DEAD}
    variables |= {"HF_ENDPOINT": DEAD, "QUICKSTART_SOURCE": "hf:a/b", "QUICKSTART_LANES": "8", "SOMA_SECRET_KEY": KEY}
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    (tmp_path / ".env").chmod(0o600)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    code = "import sys; sys.argv[0] = 'doctor'; from quickstart.cli.main import doctor as run; run()"
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, "--state", str(tmp_path / "state")],
        cwd=tmp_path,
        env=clean
        | {
            "PYTHONPATH": str(SOURCE),
            "HOME": str(tmp_path),
            "QUICKSTART_RPC_URL": "http://node.invalid:9000",
        },
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert time.monotonic() - started < 60
    assert done.returncode == 2 and done.stderr == "", done
    lines = done.stdout.splitlines()
    assert "\x1b" not in done.stdout, "no colour but on a terminal"
    for check in ("node", "bucket", "modal"):
        assert any(line.startswith("error") and f" {check} " in line for line in lines), done.stdout
    assert any(line.startswith("ok") and " scorer " in line for line in lines)
    assert lines[-1].startswith(f"{sum(line.startswith('error') for line in lines)} errors")
    assert KEY not in done.stdout
