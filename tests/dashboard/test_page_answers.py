"""The page over HTTP: who may see it, that it only reads, and that every figure is the ledger's."""

import base64
import re
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from html import unescape
from pathlib import Path

import httpx
import pytest
from kept_ledger import HOSTILE, SUBMISSIONS, details, id_of, ledger_path, make, submit
from served_page import PASSWORD, ROOT, books, chain_says, guarded, served, shown
from starlette.testclient import TestClient

from quickstart.chain.ids import format_digest, format_id
from quickstart.chain.protocol import NEWEST_PROTOCOL, PARAMETERS
from quickstart.dashboard.asked import Said
from quickstart.dashboard.guard import HEADERS
from quickstart.dashboard.picture import PLOTS
from quickstart.desk.health import Workplace
from quickstart.ledger.accounts import ClaimShares
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.schema import MIGRATIONS

PAGES = ("", "submissions", "epochs", "plots", "alarms", *(f"plots/{name}.svg" for name in PLOTS))
LOCAL = "http://127.0.0.1"


@pytest.fixture(scope="module")
def client(state: Path) -> Iterator[TestClient]:
    balance = books(ledger_path(state))["balance"]
    with TestClient(guarded(state, lambda: chain_says(state, balance)), base_url=LOCAL) as found:
        yield found


def basic(password: str, user: str = "anybody", scheme: str = "Basic") -> dict[str, str]:
    return {"Authorization": f"{scheme} {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


def test_nobody_gets_in_without_the_password(state: Path) -> None:
    with TestClient(guarded(state, Said, PASSWORD), base_url=LOCAL) as client:
        wrong = [
            {},
            basic(""),
            basic(PASSWORD[:-1]),
            basic(PASSWORD + "x"),
            basic(PASSWORD, scheme="Bearer"),
            {"Authorization": "Basic"},
            {"Authorization": "Basic ü"},
            {"Authorization": f"Basic {base64.b64encode(PASSWORD.encode()).decode()}"},
            {"Authorization": f"Basic {PASSWORD}"},
        ]
        for headers in wrong:
            for path in ("/", ROOT, ROOT + "submissions", "/static/style.css", "/nowhere"):
                answer = client.get(path, headers=[(k.encode(), v.encode("latin-1")) for k, v in headers.items()])
                assert answer.status_code == 401, (headers, path)
                assert answer.headers["www-authenticate"].startswith("Basic realm=")
                assert "5a5a" not in answer.text
        for right in (basic(PASSWORD), basic(PASSWORD, user=""), basic(PASSWORD, scheme="basic")):
            assert client.get(ROOT, headers=right).status_code == 200


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_everything_but_get_is_refused(client: TestClient, method: str) -> None:
    for path in ("/", ROOT, "/static/live.js", "/nowhere"):
        answer = client.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


def test_strict_headers_are_on_every_answer(client: TestClient) -> None:
    for path in ("/", *(ROOT + page for page in PAGES), "/static/style.css", "/static/live.js", "/nowhere"):
        answer = client.get(path, follow_redirects=False)
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS, path
    policy = HEADERS["Content-Security-Policy"]
    assert "unsafe" not in policy and "http" not in policy and "default-src 'none'" in policy
    for page in PAGES:
        html = client.get(ROOT + page).text
        assert not re.search(r"<script(?![^>]* src=)|\sstyle=|(?:src|href)=\"(?:https?:)?//", html), page


def test_no_other_name_of_this_machine_reaches_it(client: TestClient) -> None:
    for host in ("evil.invalid", "127.0.0.1.evil.invalid", "", "[::1]"):
        assert client.get(ROOT, headers={"Host": host}).status_code == 421
    for host in ("localhost:8642", "LOCALHOST", "127.0.0.1:1"):
        assert client.get(ROOT, headers={"Host": host}).status_code == 200


def test_the_overview_has_the_ledgers_figures(client: TestClient, state: Path) -> None:
    told, held = shown(client.get(ROOT).text), books(ledger_path(state))
    assert {name: told[name] for name in held} == held
    assert held["earned"] > 0 < held["bond lost"] and held["bond out"] > 0
    assert told["balance on the chain"] == held["balance"]
    with closing(Ledger(ledger_path(state))) as ledger:
        to_come = [
            ClaimShares.of(fill.reward, fill.bond, PARAMETERS[NEWEST_PROTOCOL]).submitter
            for fill in ledger.fills()
            if fill.state == "filled"
        ]
    assert told["in audit"] + told["claimable"] == sum(to_come)


def test_the_epochs_add_up_to_it(client: TestClient, state: Path) -> None:
    html, held = client.get(ROOT + "epochs").text, books(ledger_path(state))
    rows = re.findall(r'<tr data-epoch="(\d+)">(.*?)</tr>', html, re.DOTALL)
    assert [int(epoch) for epoch, _ in rows] == [3, 2, 1, 0]
    cells = [[int(value) for value in re.findall(r'data-shannons="(-?\d+)"', row)] for _, row in rows]
    earned, fees, lost, net, _ = (sum(column) for column in zip(*cells, strict=True))
    assert (earned, fees, lost, net) == tuple(held[name] for name in ("earned", "fees", "bond lost", "net"))
    assert "1.283" in html and "96%" in html


def test_every_submission_is_on_one_page_newest_first(client: TestClient) -> None:
    address, seen = ROOT + "submissions", list[str]()
    for _ in range(3):
        html = client.get(address).text
        seen += re.findall(r'<tr data-digest="(\w+)">', html)
        older = re.search(r'rel="next" href="([^"]+)"', html)
        if older is None:
            break
        address = unescape(older[1])
    assert seen == [format_digest(id_of("submit", number)) for number in reversed(range(SUBMISSIONS))]


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ({"text": "größe12.py"}, [12]),
        ({"text": "GRÖSSE12.py"}, []),
        ({"text": "script>alert"}, [77]),
        ({"text": "provenance"}, []),
        ({"text": "%"}, []),
        ({"text": "_"}, []),
        ({"text": format_digest(id_of("submit", 5))}, [5]),
        ({"text": format_id(id_of("target", 6))}, [6]),
        ({"text": id_of("target", 6).hex()[:20].upper()}, [6]),
        ({"text": id_of("window", 9).hex()}, [9]),
        ({"text": details(4)["model"], "epoch": "3"}, [127, 124, 121, 118, 115, 112, 109, 106, 103, 100]),
        ({"state": "slashed"}, [39]),
        ({"state": "failed"}, [99, 49]),
        ({"state": "pending", "text": "stack-v2", "epoch": "1"}, [48]),
        ({"state": "claimed", "epoch": "2"}, []),
        ({"text": format_digest(id_of("submit", 5)), "epoch": "2"}, []),
    ],
)
def test_search(client: TestClient, query: dict[str, str], numbers: list[int]) -> None:
    html = client.get(ROOT + "submissions", params=query).text
    found = re.findall(r'<tr data-digest="(\w+)">', html)
    assert found == [format_digest(id_of("submit", number)) for number in numbers]


def test_a_submission_has_its_provenance_and_strangers_text_is_text(client: TestClient) -> None:
    html = client.get(f"{ROOT}submissions/{format_digest(id_of('submit', 77))}").text
    assert "<script>alert" not in html and "<img src=x" not in html
    assert f"src/{HOSTILE}.py" in unescape(html)
    for value in ("stack-v2", str(1024 * 77), "MIT", "python", id_of("window", 77).hex(), "0.9077", "327 ms"):
        assert value in html
    for page in ("submissions", "alarms", ""):
        html = client.get(ROOT + page, params={"text": HOSTILE, "epoch": "2"} if page else None).text
        assert "<script>alert" not in html and "<img src=x" not in html and HOSTILE in unescape(html)


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        (ROOT + "submissions?epoch=x", 400, "epoch= is no number"),
        (ROOT + "submissions?epoch=" + "9" * 30, 400, "epoch= is no number"),
        (ROOT + "submissions?epoch=" + "9" * 5000, 400, "epoch= is no number"),
        (ROOT + "submissions?before=1-" + "9" * 5000, 400, "before= is no place"),
        (ROOT + "submissions?state=won", 400, "state= is none of pending"),
        (ROOT + "submissions?before=1", 400, "before= is no place"),
        (ROOT + "submissions?before=1-" + "9" * 30, 400, "before= is no place"),
        (ROOT + "submissions/" + "1" * 500, 404, "no such page"),
        (ROOT + "submissions/" + format_digest(id_of("claim", 1)), 404, "no such page"),
        (ROOT + "plots/other.svg", 404, "no such page"),
        (ROOT.replace("devnet0123", "other"), 404, "no such page"),
        ("/w/../../etc/passwd", 404, "no such page"),
        ("/static/../pages.py", 404, "no such page"),
        ("/docs", 404, "no such page"),
        ("/openapi.json", 404, "no such page"),
    ],
)
def test_what_is_wrong_is_said(client: TestClient, path: str, status: int, says: str) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert says in answer.text


def test_a_ledger_that_cannot_be_read_and_none_at_all(tmp_path: Path) -> None:
    with TestClient(guarded(tmp_path, Said), base_url=LOCAL) as client:
        assert "No wallet has run here" in client.get("/").text
        path = ledger_path(make(tmp_path / "", 1))
        assert client.get("/").status_code == 200
        with closing(sqlite3.connect(path)) as database:
            database.execute(f"PRAGMA user_version = {len(MIGRATIONS) - 1}")
        answer = client.get(ROOT)
        assert (answer.status_code, "brings it up to date" in answer.text) == (503, True)
        path.write_bytes(b"no ledger" * 1000)
        assert client.get(ROOT).status_code == 503


def test_silent_sources_take_only_their_own_part(state: Path) -> None:
    def fails() -> Said:
        raise RuntimeError("this is the test's")

    with TestClient(guarded(state, fails), base_url=LOCAL) as client:
        html = client.get(ROOT).text
    assert "unknown" in html and "not asked yet" in html
    with TestClient(guarded(state, Said, place=Workplace()), base_url=LOCAL) as client:
        assert "nobody on this machine; Modal and other machines were not asked" in client.get(ROOT).text
    assert shown(html)["earned"] == books(ledger_path(state))["earned"]


def test_figures_agree_with_each_other_while_the_submitter_writes(tmp_path: Path) -> None:
    """Every answer is of one moment: each landed submission moves fees and locks a bond in one commit."""
    state = make(tmp_path / "state", 0)
    path = ledger_path(state)
    read = threading.Event()

    def write() -> None:
        with closing(Ledger(path)) as ledger:
            for number in range(150, 400):
                ledger.group([lambda into, number=number: submit(into, number)])
                if number % 25 == 0:
                    read.clear()
                    assert read.wait(60.0), "nobody reads"

    with (
        served(guarded(state, Said)) as address,
        httpx.Client(base_url=address) as client,
        ThreadPoolExecutor(1) as threads,
    ):
        figures, writer = [], threads.submit(write)
        while not writer.done():
            figures.append(shown(client.get(ROOT).text))
            read.set()
        writer.result()
        figures.append(shown(client.get(ROOT).text))
    assert len({one["open fills"] for one in figures}) > 3, "nothing was seen while it was written"
    for one in figures:
        assert one["balance"] == 3_000_000_000 - one["fees"] - one["bond out"]
        assert one["bond out"] == 3_072_000 * one["open fills"]
    last = books(path)
    assert {name: figures[-1][name] for name in last} == last
