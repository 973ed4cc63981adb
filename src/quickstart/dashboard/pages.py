"""The pages: addresses, and what each is rendered from. Every answer is made anew; nothing here changes anything."""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.exceptions import HTTPException

from quickstart.chain.ids import format_digest, format_id, parse_digest
from quickstart.dashboard.asked import Asker
from quickstart.dashboard.picture import PLOTS, Picture, picture
from quickstart.desk.health import Workplace
from quickstart.errors import QuickstartError, UsageError
from quickstart.ledger.browsing import Place, State, Wanted, number, page, submission
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.wallet_files import WalletFile
from quickstart.units import age, format_soma, span

STATIC = Path(__file__).parent / "static"
MOST_TEXT = 200

PAGES = {"overview": "", "submissions": "submissions", "epochs": "epochs", "plots": "plots", "alarms": "alarms"}


@dataclass(frozen=True, slots=True)
class Sources:
    """Where pages have their figures from. `wallets`: the newest first; `here`: who works on this machine for one;
    `clock`: ms since 1970.
    """

    wallets: Callable[[], tuple[WalletFile, ...]]
    here: Callable[[WalletFile], Workplace]
    asker: Asker
    clock: Callable[[], int]


def create_app(sources: Sources) -> FastAPI:
    """The application, without its guard."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    templates = _templates()

    def render(name: str, status: int = 200, /, **values: Any) -> HTMLResponse:
        return HTMLResponse(templates.get_template(name).render(values), status)

    def open_picture(chain: str, address: str) -> tuple[Picture, Mapping[str, Any]]:
        """The picture of a wallet, and what every page of it needs."""
        wallets = sources.wallets()
        wallet = next((one for one in wallets if (one.chain, one.address) == (chain, address)), None)
        if wallet is None:
            raise HTTPException(404)
        heard = sources.asker.heard()
        seen = picture(wallet, heard, sources.here(wallet), sources.clock(), newest=wallet == wallets[0])
        return seen, {"wallet": wallet, "wallets": wallets, "seen": seen, "pages": PAGES}

    @app.get("/")
    def begin() -> Response:
        wallets = sources.wallets()
        if not wallets:
            return render("nothing.html")
        return RedirectResponse(f"/w/{wallets[0].chain}/{wallets[0].address}/", 302)

    @app.get("/w/{chain}/{address}/")
    def overview(chain: str, address: str) -> Response:
        _, shared = open_picture(chain, address)
        return render("overview.html", page="overview", **shared)

    @app.get("/w/{chain}/{address}/submissions")
    def submissions(
        chain: str, address: str, text: str = "", state: str = "", epoch: str = "", before: str = ""
    ) -> Response:
        seen, shared = open_picture(chain, address)
        wanted = _wanted(text, state, epoch)
        with closing(Ledger(seen.wallet.path, read_only=True)) as ledger:
            found = page(ledger, wanted, Place.parse(before) if before else None)
        asked = {"text": wanted.text, "state": state, "epoch": epoch}
        return render(
            "submissions.html", page="submissions", found=found, asked=asked, before=before, states=State, **shared
        )

    @app.get("/w/{chain}/{address}/submissions/{digest}")
    def one_submission(chain: str, address: str, digest: str) -> Response:
        seen, shared = open_picture(chain, address)
        try:
            name = parse_digest(digest[:MOST_TEXT])
        except ValueError:
            raise HTTPException(404) from None
        with closing(Ledger(seen.wallet.path, read_only=True)) as ledger:
            sent = submission(ledger, name)
        if sent is None:
            raise HTTPException(404)
        return render("submission.html", page="submissions", sent=sent, **shared)

    @app.get("/w/{chain}/{address}/epochs")
    def epochs(chain: str, address: str) -> Response:
        _, shared = open_picture(chain, address)
        return render("epochs.html", page="epochs", **shared)

    @app.get("/w/{chain}/{address}/plots")
    def plots(chain: str, address: str) -> Response:
        _, shared = open_picture(chain, address)
        return render("plots.html", page="plots", plots=PLOTS, **shared)

    @app.get("/w/{chain}/{address}/plots/{name}.svg")
    def plot(chain: str, address: str, name: str) -> Response:
        seen, _ = open_picture(chain, address)
        if name not in PLOTS:
            raise HTTPException(404)
        return Response(PLOTS[name].draw(seen), media_type="image/svg+xml")

    @app.get("/w/{chain}/{address}/alarms")
    def alarms(chain: str, address: str) -> Response:
        _, shared = open_picture(chain, address)
        return render("alarms.html", page="alarms", **shared)

    @app.exception_handler(QuickstartError)
    def trouble(_: Request, error: QuickstartError) -> Response:
        return render("trouble.html", 400 if type(error) is UsageError else 503, says=str(error))

    @app.exception_handler(HTTPException)
    def not_there(_: Request, error: HTTPException) -> Response:
        return render("trouble.html", error.status_code, says="There is no such page: go back, or begin anew.")

    app.mount("/static", StaticFiles(directory=STATIC))
    return app


def _wanted(text: str, state: str, epoch: str) -> Wanted:
    """Raises UsageError: a state or an epoch that is none."""
    if state and state not in list(State):
        raise UsageError(f"state= is none of {', '.join(State)}: choose one in the form, or leave it out")
    if epoch and number(epoch) is None:
        raise UsageError("epoch= is no number of an epoch: write digits, or leave it out")
    return Wanted(text.strip()[:MOST_TEXT], State(state) if state else None, number(epoch))


def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("quickstart.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(
        soma=format_soma,
        amount=_amount,
        age=age,
        span=span,
        id=format_id,
        digest=format_digest,
        time=_time,
        share=lambda part, whole: f"{part / whole:.0%}" if whole else "-",
    )
    return templates


def _amount(shannons: int) -> str:
    """SOMA for a column: four decimals; every shannon is in the cell's title."""
    return f"{shannons / 1e9:,.4f}"


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
