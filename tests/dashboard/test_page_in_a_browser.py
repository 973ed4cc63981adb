"""The page in headless Chromium: it loads without complaint in every look, is accessible, and its figures stay live."""

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import NONE, chromium, executable
from kept_ledger import details, id_of, ledger_path, make, submit
from playwright.sync_api import Browser, Page, expect
from served_page import PASSWORD, ROOT, books, chain_says, guarded, served

from quickstart.chain.ids import format_digest
from quickstart.dashboard.picture import PLOTS
from quickstart.ledger.ledger import Ledger

expect.set_options(timeout=30_000)

pytestmark = pytest.mark.skipif(executable() is None, reason=NONE)

HOSTILE_ONE = f"submissions/{format_digest(id_of('submit', 77))}"
PAGES = ("", "submissions?epoch=3", HOSTILE_ONE, "epochs", "plots", "alarms", "nowhere")
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 800}
SERIOUS = ("serious", "critical")


@pytest.fixture(scope="module")
def address(state: Path) -> Iterator[str]:
    balance = books(ledger_path(state))["balance"]
    with served(guarded(state, lambda: chain_says(state, balance), PASSWORD)) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@contextmanager
def tab(
    browser: Browser,
    address: str,
    look: Literal["dark", "light"] = "light",
    size: dict[str, int] = DESK,
    *,
    script: bool = True,
) -> Iterator[tuple[Page, list[str]]]:
    """A page, and everything that the browser complains of or asks elsewhere for."""
    complaints: list[str] = []
    with browser.new_context(
        base_url=address,
        color_scheme=look,
        viewport={"width": size["width"], "height": size["height"]},
        java_script_enabled=script,
        http_credentials={"username": "me", "password": PASSWORD},
    ) as context:
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        page.on("requestfailed", lambda request: complaints.append(f"{request.url}: {request.failure}"))
        page.on("request", lambda one: None if one.url.startswith(address) else complaints.append(one.url))
        yield page, complaints


def figures(page: Page) -> dict[str, int]:
    found = page.eval_on_selector_all(
        "[data-name]", "all => all.map(one => [one.dataset.name, Number(one.dataset.shannons || one.dataset.count)])"
    )
    return dict(found)


@pytest.mark.parametrize(
    ("look", "size", "audited"),
    [("light", PHONE, True), ("dark", DESK, True), ("light", DESK, False), ("dark", PHONE, False)],
    ids=["light-phone", "dark-desk", "light-desk", "dark-phone"],
)
def test_every_page_in_every_look(
    browser: Browser, address: str, look: Literal["dark", "light"], size: dict[str, int], audited: bool
) -> None:
    """`audited`: axe looks for faults of accessibility too; one size for each set of colours will do."""
    faults, backgrounds = list[tuple[str, str, str]](), set[str]()
    with tab(browser, address, look, size) as (page, complaints):
        for path in PAGES:
            answer = page.goto(ROOT + path)
            assert answer is not None and answer.status == (404 if path == "nowhere" else 200), path
            beyond = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert beyond == 0, path
            assert page.locator("h1").count() == 1
            backgrounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
            pictures = page.locator("img").all()
            assert len(pictures) == (len(PLOTS) if path == "plots" else 0)
            assert [picture.evaluate("one => one.naturalWidth") for picture in pictures] == [720] * len(pictures)
            if audited:
                found = [one for one in Axe().run(page).response["violations"] if one["impact"] in SERIOUS]
                faults += [(path, one["id"], one["nodes"][0]["html"]) for one in found]
    # What the live script was fetching when the page was left is no fault.
    assert [said for said in complaints if "404" not in said and "ERR_ABORTED" not in said] == []
    assert faults == []
    (colour,) = backgrounds
    red = int(re.findall(r"\d+", colour)[0])
    assert (red < 64) == (look == "dark")


def test_figures_without_javascript(browser: Browser, address: str, state: Path) -> None:
    with tab(browser, address, size=PHONE, script=False) as (page, complaints):
        page.goto("/")
        told = {
            one.get_attribute("data-name"): one.get_attribute("data-shannons") or one.get_attribute("data-count")
            for one in page.locator("[data-name]").all()
        }
        for name, value in books(ledger_path(state)).items():
            assert told[name] == str(value)
        page.get_by_role("link", name="submissions").click()
        page.get_by_label("Text").fill(id_of("window", 9).hex())
        page.get_by_role("button", name="Search").click()
        expect(page.locator("tbody tr")).to_have_count(1)
        page.locator("tbody a").click()
        expect(page.locator("#provenance")).to_contain_text(details(9)["provenance"]["path"])
        page.get_by_role("link", name="epochs").click()
        expect(page.locator("tr[data-epoch]")).to_have_count(4)
    assert complaints == []


def test_figures_follow_the_ledger_while_one_looks(browser: Browser, tmp_path: Path) -> None:
    state = make(tmp_path / "state", 100)
    path = ledger_path(state)
    with (
        served(guarded(state, lambda: chain_says(state, 0), PASSWORD)) as address,
        tab(browser, address) as (page, complaints),
    ):
        page.clock.install()
        page.goto(ROOT)
        before = figures(page)
        assert before["bond out"] == books(path)["bond out"]
        with closing(Ledger(path)) as ledger:
            submit(ledger, 151)
        now = books(path)
        assert now["bond out"] > before["bond out"]
        page.clock.run_for(5_100)
        expect(page.locator('[data-name="bond out"]')).to_have_attribute("data-shannons", str(now["bond out"]))
        told = figures(page)
        assert {name: told[name] for name in now} == now
        expect(page.locator("#not-live")).to_be_empty()
        page.route("**/*", lambda route: route.abort())
        page.clock.run_for(5_100)
        expect(page.locator("#not-live")).to_contain_text("Not live")
        assert figures(page) == told
    assert [said for said in complaints if "ERR_FAILED" not in said] == []
