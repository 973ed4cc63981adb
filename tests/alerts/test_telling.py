"""Alerts reach people: each once until it is over, whatever the channels do meanwhile."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from loopback import Answer, Seen, serving
from mail_host import PASSWORD, USER, MailHost, mail_host

from quickstart.alerts.alert import Alert, AlertKind, Judgement
from quickstart.alerts.channels import Channel, Mail, Webhook, channels_of, scrubbed, shape_of
from quickstart.alerts.journal import Journal, read
from quickstart.alerts.telling import Teller, trial
from quickstart.alerts.watch import Watch, watching
from quickstart.chain.backoff import Backoff
from quickstart.errors import NetworkError, SettingsError, StateError
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.records import Alarm, AlarmKind
from quickstart.logs import hide_urls
from quickstart.settings import AlertShape, load_settings, settings_table
from quickstart.submission.premises import Places

MINUTE = 60_000
NOW = 1_800_000_000_000
SECRET_PATH = "/services/T0/SECRET-path"
FUNDS = Alert(AlertKind.LOW_FUNDS, "0xab on c1", "the wallet is poor", NOW - MINUTE)
NO_HIT = Alert(AlertKind.NO_HIT, "0xab on c1", "nothing was filled", NOW - MINUTE)


@dataclass
class Inbox:
    """A webhook: what it took, as (state, kind), and what it answers."""

    url: str = ""
    taken: list[tuple[str, str]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    answer: Callable[[], Answer] = Answer

    @property
    def channel(self) -> Webhook:
        return Webhook(self.url + SECRET_PATH, AlertShape.JSON)


@contextmanager
def inbox() -> Iterator[Inbox]:
    box = Inbox()

    def answer(seen: Seen, body: bytes) -> Answer:
        box.asked.append(seen.path)
        reply = box.answer()
        if reply.status == 200:
            told = json.loads(body)
            box.taken.append((told.get("state", ""), told.get("kind", "")))
            box.bodies.append(body)
        return reply

    with serving(answer) as host:
        box.url = host.url
        yield box


@dataclass
class Days:
    """Rounds of a teller that is made anew each time, as after a crash, on a clock of its own."""

    folder: Path
    channels: tuple[Channel, ...]
    now_ms: int = NOW
    secrets: tuple[str, ...] = ()
    seconds: float = 10.0

    def round(self, *standing: Alert, judged: Iterable[AlertKind] = AlertKind, minutes: int = 0) -> Journal:
        self.now_ms += minutes * MINUTE
        judgement = Judgement(standing, frozenset((kind, "0xab on c1") for kind in judged))
        rest = Backoff(60.0, 3600.0, lambda _, longest: longest)
        teller = Teller(self.folder, self.channels, self.secrets, lambda: self.now_ms, rest=rest, seconds=self.seconds)
        journal = teller.round(lambda journal, _: (journal, [judgement]))
        assert journal is not None and journal == read(self.folder, self.now_ms)
        return journal


def test_each_is_told_once_until_it_is_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with inbox() as box:
        days = Days(tmp_path, (box.channel,))
        days.round(FUNDS)
        days.round(replace(FUNDS, text="poorer still", since_ms=NOW + 1), NO_HIT)
        days.round(judged=())  # nobody answers: nothing is new, nothing over
        kept = days.round(FUNDS, judged={AlertKind.LOW_FUNDS}).standing
        assert [alert.since_ms for alert in kept] == [FUNDS.since_ms, NO_HIT.since_ms]
        days.round(FUNDS)
        days.round()
        days.round()
        days.round(FUNDS)
        assert box.taken == [
            ("raised", "low funds"),
            ("raised", "no hit"),
            ("cleared", "no hit"),
            ("cleared", "low funds"),
            ("raised", "low funds"),
        ]
    said = [f"alert: {alert.kind.value}: {alert.text}" for alert in (FUNDS, NO_HIT, FUNDS)]
    assert caplog.messages == said


def test_a_channel_that_is_set_later_hears_of_what_stands(tmp_path: Path) -> None:
    Days(tmp_path, ()).round(FUNDS)
    with inbox() as box:
        days = Days(tmp_path, (box.channel,))
        days.round(FUNDS, NO_HIT)
        days.round(NO_HIT)
        assert box.taken == [("raised", "low funds"), ("raised", "no hit"), ("cleared", "low funds")]
        box.answer = lambda: Answer(500)
        assert days.round().letters
    assert not Days(tmp_path, ()).round().letters


def never(released: threading.Event) -> Answer:
    released.wait(5)
    return Answer(500)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Answer(500), "HTTP 500"),
        (Answer(404), "HTTP 404"),
        (Answer(429, headers={"Retry-After": "1800"}), "HTTP 429"),
        (Answer(302, headers={"Location": "/elsewhere"}), "redirects are not followed"),
        (Answer(200, b"x" * 10, {"Content-Length": "10"}, cut=0), ""),
        (None, "no answer within 1 s"),
    ],
    ids=["500", "404", "429", "redirect", "cut after it took it", "never"],
)
def test_what_a_dead_channel_missed_comes_once_it_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, answer: Answer | None, told: str
) -> None:
    hide_urls()  # as every command does
    released = threading.Event()
    with inbox() as box, mail_host(tmp_path) as mail, caplog.at_level(logging.DEBUG):
        box.answer = (lambda: never(released)) if answer is None else lambda: answer
        days = Days(tmp_path, (box.channel, mail_of(mail)), seconds=10.0 if answer else 1.0)
        started = time.monotonic()
        journal = days.round(FUNDS)
        assert time.monotonic() - started < 4
        assert len(mail.mails) == 1, "the other channel suffers nothing"
        if not told:
            assert box.taken == [("raised", "low funds")] and not journal.letters
            return
        assert told in journal.rests["webhook"].trouble and len(journal.letters) == 1
        asked = len(box.asked)
        days.round(FUNDS, NO_HIT)  # at once: it is left alone
        days.round(FUNDS)  # no hit is over before the webhook heard of it
        days.round(FUNDS, NO_HIT)  # and back
        assert len(box.asked) == asked
        released.set()
        box.answer = Answer
        if answer is not None and answer.status == 429:
            days.round(FUNDS, NO_HIT, minutes=29)
            assert len(box.asked) == asked, "as long as it asked for"
        days.round(NO_HIT, minutes=31)
        assert box.taken == [("raised", "low funds"), ("raised", "no hit"), ("cleared", "low funds")]
        assert not days.round(NO_HIT).rests
        assert set(box.asked) == {SECRET_PATH}
        assert [text.count("Subject: quickstart:") for *_, text in mail.mails] == [1] * 5
    assert "SECRET" not in caplog.text
    assert "SECRET" not in (tmp_path / "alerts.json").read_text()


def test_a_channel_that_is_nowhere_rests_longer_each_time_but_never_for_good(tmp_path: Path) -> None:
    channel = Webhook("http://127.0.0.1:1" + SECRET_PATH, AlertShape.JSON)
    days = Days(tmp_path, (channel,))
    pauses = []
    for _ in range(8):
        rest = days.round(FUNDS).rests["webhook"]
        pauses.append((rest.until_ms - days.now_ms) // MINUTE)
        days.now_ms = rest.until_ms
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    days.now_ms -= 400 * MINUTE  # the clock was set
    assert days.round(FUNDS).rests["webhook"].failures == 9


def test_no_secret_leaves(tmp_path: Path) -> None:
    with inbox() as box:
        text = f"HTTP 403 from https://user:hidden@bucket.example/a?X-Sig=hidden#hidden with {PASSWORD}\nand more"
        Days(tmp_path, (box.channel,), secrets=(PASSWORD, "")).round(replace(FUNDS, text=text))
        (body,) = box.bodies
        assert json.loads(body)["text"] == "HTTP 403 from https://bucket.example/a with *** and more"
        assert "SECRET" not in repr(box.channel) + box.channel.place
    assert scrubbed("a b", ("a", "")) == "a b"


def mail_of(server: MailHost, **changes: Any) -> Mail:
    recipients = ("you@there.example",)
    mail = Mail("127.0.0.1", server.port, server.from_the_start, "us@here.example", recipients, USER, PASSWORD)
    return replace(mail, **{"tls": server.trusting(), **changes})


@pytest.mark.parametrize("offers", [True, False])
@pytest.mark.parametrize("from_the_start", [True, False])
def test_mail_goes_over_tls_to_those_it_trusts(tmp_path: Path, offers: bool, from_the_start: bool) -> None:
    with mail_host(tmp_path, offers=offers, from_the_start=from_the_start) as host:
        message = trial(NOW)
        mail_of(host, recipients=("a@b.example", "c@d.example")).send(message)
        ((secure, known, recipients, text),) = host.mails
        assert (secure, known) == (offers or from_the_start, True)
        assert recipients == ["a@b.example", "c@d.example"]
        assert "Subject: quickstart: test: test, nothing is wrong" in text and "alerts come here" in text
        refused: list[tuple[dict[str, Any], str]] = [({"password": "wrong"}, "does not accept user and password")]
        if offers or from_the_start:
            refused.append(({"tls": None}, "SSLCertVerificationError"))
        else:
            # The same host by a name that is not known to be this machine.
            refused.append(({"host": "2130706433"}, "no STARTTLS"))
        for changes, told in refused:
            with pytest.raises(NetworkError, match=told) as caught:
                mail_of(host, **changes).send(message)
            assert PASSWORD not in str(caught.value)
        host.busy = True
        with pytest.raises(NetworkError, match="SMTP 451"):
            mail_of(host).send(message)
        assert len(host.mails) == 1


def test_shapes() -> None:
    assert shape_of("https://hooks.slack.com/services/T/B/x") is AlertShape.SLACK
    assert shape_of("https://discord.com/api/webhooks/1/x") is AlertShape.DISCORD
    assert shape_of("https://discord.com/api/webhooks/1/x/slack") is AlertShape.SLACK
    assert shape_of("https://hooks.slack.com.evil.example/x") is AlertShape.JSON
    for shape, expected in {
        AlertShape.SLACK: {"text": "quickstart, k: low funds: @everyone &lt;!here&gt; &amp;"},
        AlertShape.DISCORD: {
            "content": "quickstart, k: low funds: @everyone <!here> &",
            "allowed_mentions": {"parse": []},
        },
    }.items():
        bodies: list[bytes] = []
        with serving(lambda _, body, kept=bodies: (kept.append(body), Answer(204))[1]) as host:  # type: ignore[misc]
            message = replace(trial(NOW), kind="low funds", key="k", text="@everyone <!here> &")
            raised = replace(message, standing="raised")  # type: ignore[arg-type]
            Webhook(host.url, shape).send(raised)
            Webhook(host.url, shape).send(replace(raised, text="x" * 5000))
        assert json.loads(bodies[0]) == expected
        assert max(len(text) for text in json.loads(bodies[1]).values() if isinstance(text, str)) == 1500


def test_a_watch_neither_holds_up_nor_ends_a_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A look that fails, a channel that never answers, and then both are well again."""
    released, looked = threading.Event(), threading.Event()
    looks = 0

    def look(journal: Journal, _: int) -> tuple[Journal, list[Judgement]]:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise ZeroDivisionError("a bug")
        looked.set()
        return journal, [Judgement((FUNDS,), frozenset())]

    with inbox() as box:
        box.answer = lambda: never(released)
        teller = Teller(tmp_path, (box.channel,), (), lambda: NOW, seconds=0.2)
        with Watch(teller, look, first=0.0, every=0.01):
            assert looked.wait(5)
            started = time.monotonic()
        assert time.monotonic() - started < 2
        assert "ZeroDivisionError: a bug" in caplog.text
        released.set()
        box.answer = Answer
        Days(tmp_path, (box.channel,)).round(FUNDS, minutes=2)
        assert box.taken == [("raised", "low funds")]


def test_a_damaged_journal_is_told_and_two_do_not_tell_at_once(tmp_path: Path) -> None:
    days = Days(tmp_path, ())
    inner: list[Journal | None] = []

    def look(journal: Journal, _: int) -> tuple[Journal, list[Judgement]]:
        inner.append(Teller(tmp_path, (), (), lambda: NOW).round(look))
        return journal, []

    Teller(tmp_path, (), (), lambda: NOW).round(look)
    assert inner == [None]
    (tmp_path / "alerts.json").write_text('{"began_ms": 1}')
    with pytest.raises(StateError, match="damaged: delete it"):
        days.round(FUNDS)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"ALERT_WEBHOOK": "http://hooks.example/SECRET"}, "begins with https://"),
        ({"ALERT_WEBHOOK": "https://u:SECRET@hooks.example/x"}, "user or password"),
        ({"ALERT_SMTP": "mail.example:587"}, "not a mail server"),
        ({"ALERT_SMTP": "smtp://u:SECRET@mail.example"}, "user or password"),
        ({"ALERT_MAIL_TO": "somebody"}, "not mail addresses"),
        ({"ALERT_SHAPE": "teams"}, "'slack' or 'discord'"),
        ({"ALERT_MAIL_TO": "a@b.example"}, "missing: QUICKSTART_ALERT_SMTP;"),
        (
            {"ALERT_MAIL_TO": "a@b.example", "ALERT_SMTP": "smtps://m.example", "ALERT_SMTP_USER": "u"},
            "go together: set both",
        ),
    ],
)
def test_settings_that_make_no_channel(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, values: dict[str, str], told: str
) -> None:
    for row in settings_table():
        monkeypatch.delenv(row.name, raising=False)
    monkeypatch.chdir(tmp_path)
    for name, value in values.items():
        monkeypatch.setenv(f"QUICKSTART_{name}", value)
    with pytest.raises(SettingsError, match=told) as caught:
        channels_of(load_settings())
    assert "SECRET" not in str(caught.value)


def test_settings_that_make_channels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for row in settings_table():
        monkeypatch.delenv(row.name, raising=False)
    monkeypatch.chdir(tmp_path)
    assert channels_of(load_settings()) == ()
    monkeypatch.setenv("QUICKSTART_ALERT_WEBHOOK", "https://hooks.slack.com/services/x/")
    monkeypatch.setenv("QUICKSTART_ALERT_MAIL_TO", "A <a@b.example>, c@d.example")
    monkeypatch.setenv("QUICKSTART_ALERT_SMTP", "smtp://m.example")
    assert channels_of(load_settings()) == (
        Webhook("https://hooks.slack.com/services/x", AlertShape.SLACK),
        Mail("m.example", 587, False, "a@b.example", ("a@b.example", "c@d.example")),
    )


def test_a_run_is_watched_where_there_is_somebody_to_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for row in settings_table():
        monkeypatch.delenv(row.name, raising=False)
    monkeypatch.chdir(tmp_path)
    places = Places(tmp_path / "networks" / "c1" / ("2f" * 32))
    assert not isinstance(watching(load_settings(), tmp_path, places, "http://127.0.0.1:1"), Watch)
    with inbox() as box:
        monkeypatch.setenv("QUICKSTART_ALERT_WEBHOOK", box.url)
        watch = watching(load_settings(), tmp_path, places, "http://127.0.0.1:1")
        assert isinstance(watch, Watch)
        with closing(opened(places.ledger)) as ledger:
            ledger.raise_alarm(Alarm(AlarmKind.UNREADABLE, "u", "gone", 1))
            watch._teller.round(watch._look)
    assert box.taken == [("raised", "upload unreadable")]


def opened(path: Path) -> Ledger:
    path.parent.mkdir(parents=True)
    return Ledger(path)
