"""`alerts`: from a schedule of a person's own, on a state folder with a ledger."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from loopback import Answer, Host, Seen, serving

from quickstart.chain.keys import Wallet
from quickstart.cli import main
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.records import Alarm, AlarmKind
from quickstart.settings import settings_table

KEY = "2f" * 32
URL = "https://bucket.example/windows/1"


class Desk:
    """Commands in this process, with an environment that holds nothing of ours but the wallet's key."""

    def __init__(self, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.state = state
        self._capsys = capsys

    def say(self, *line: str, code: int = 0) -> str:
        words = [*line, "--local", "--rpc-url", "http://127.0.0.1:1", "--state", str(self.state)]
        done = main._run("alerts", "run_alerts", main.alerts_parser().parse_args(words))
        out, err = self._capsys.readouterr()
        assert (done, bool(err)) == (code, code == 2), err or out
        assert KEY not in out + err and "SECRET" not in out + err
        return err or out

    def document(self, *line: str, code: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.say(*line, "--json", code=code))
        return found

    def ledger(self, change: Callable[[Ledger], object]) -> None:
        path = self.state / "networks" / "c1" / Wallet.parse(KEY).address.hex() / "ledger.sqlite"
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(Ledger(path)) as ledger:
            change(ledger)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    for row in settings_table():
        monkeypatch.delenv(row.name, raising=False)
    monkeypatch.setenv("SOMA_SECRET_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    return Desk(tmp_path / "state", capsys)


def test_without_a_channel_it_shows_and_tells_nobody(desk: Desk) -> None:
    for what in ("check", "test"):
        assert "no channel is set: QUICKSTART_ALERT_WEBHOOK" in desk.say(what, code=2)
    assert "none stands" in desk.say()
    desk.ledger(lambda ledger: ledger.raise_alarm(Alarm(AlarmKind.UNREADABLE, URL, f"{URL}?sig=SECRET is gone", 1)))
    shown = desk.say()
    assert f"upload unreadable, 0x{Wallet.parse(KEY).address.hex()[:8]} on c1: {URL} is gone" in shown
    assert "unseen    chain: " in shown and "no channel is set" in shown
    assert not (desk.state / "alerts.json").exists()


def test_a_check_tells_once_and_what_failed_is_told_by_the_next(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    replies = [Answer(500), Answer(204)]
    told: list[dict[str, Any]] = []

    def answer(_: Seen, body: bytes) -> Answer:
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        if reply.status == 204:
            told.append(json.loads(body))
        return reply

    def again(host: Host) -> None:
        """The rest that the channel is given is over."""
        journal = json.loads((desk.state / "alerts.json").read_text())
        journal["rests"]["webhook"]["until_ms"] = 0
        (desk.state / "alerts.json").write_text(json.dumps(journal))

    with serving(answer) as host:
        monkeypatch.setenv("QUICKSTART_ALERT_WEBHOOK", f"{host.url}/SECRET")
        desk.ledger(lambda ledger: ledger.raise_alarm(Alarm(AlarmKind.UNREADABLE, URL, f"{URL} is gone", 1)))
        assert desk.document("check", "--dry-run")["standing"] and not host.seen
        failed = desk.document("check", code=1)
        assert (failed["channels"]["webhook"]["untold"], failed["told"]) == (1, True)
        assert failed["channels"]["webhook"]["trouble"] == "json webhook at 127.0.0.1: HTTP 500"
        assert "1 untold; failed 1 times: json webhook" in desk.say()
        again(host)
        assert desk.document("check")["channels"]["webhook"]["untold"] == 0
        desk.say("check")
        desk.ledger(lambda ledger: ledger.clear_alarms(AlarmKind.UNREADABLE, 2))
        desk.say("check")
        assert [(one["state"], one["kind"]) for one in told] == [
            ("raised", "upload unreadable"),
            ("cleared", "upload unreadable"),
        ]
        assert told[0]["text"] == f"{URL} is gone" and told[0]["since"] == "1970-01-01T00:00:00+00:00"


def test_a_test_says_what_came_of_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    replies = [Answer(200), Answer(403)]
    with serving(lambda _, __: replies.pop(0)) as host:
        monkeypatch.setenv("QUICKSTART_ALERT_WEBHOOK", f"{host.url}/SECRET")
        assert "would send a message by json webhook at 127.0.0.1" in desk.say("test", "--dry-run")
        assert desk.say("test") == "webhook   taken: json webhook at 127.0.0.1\n"
        assert desk.say("test", code=1) == "webhook   failed: json webhook at 127.0.0.1: HTTP 403\n"
        monkeypatch.setenv("QUICKSTART_ALERT_MAIL_TO", "a@b.example")
        monkeypatch.setenv("QUICKSTART_ALERT_SMTP", "smtp://127.0.0.1:1")
        replies.append(Answer(200))
        found = desk.document("test", code=1)
        assert found["webhook"]["trouble"] is None
        assert found["mail"] == {
            "place": "mail to a@b.example by 127.0.0.1",
            "trouble": "mail to a@b.example by 127.0.0.1: ConnectionRefusedError",
        }
