"""Modal: the token, what is deployed there and how old it is, and the prices that the caps reckon with."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

from quickstart.doctor.findings import Finding, error, ok, warning
from quickstart.doctor.surroundings import Surroundings, in_thread
from quickstart.errors import QuickstartError
from quickstart.modal_app import names
from quickstart.modal_app.account import modal_errors
from quickstart.modal_app.prices import PRICES_OF
from quickstart.settings import Settings
from quickstart.units import DAYS

OLD_DEPLOYMENT_DAYS = 30
OLD_PRICES_DAYS = 270

REQUIRED_KEYS: Mapping[str, Sequence[str]] = {
    names.SECRETS: ("SOMA_SECRET_KEY", "S3_BUCKET", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"),
    names.DATA_SECRET: (),
    names.DASHBOARD_SECRET: ("QUICKSTART_DASHBOARD_PASSWORD",),
}
"""Keys without which `deploy` is refused, by secret."""

STATUS = "https://status.modal.com"


async def check_modal(at: Surroundings) -> Sequence[Finding]:
    """Token and environment, each secret and its keys, each app and its age, and whether the schedule is armed."""
    if not at.on_modal:
        return [ok("modal", "not looked at: the loop runs on this machine")]
    account = await in_thread(_found, "modal", f"`uv run modal setup`, or {STATUS}", _account)
    if account.mending:
        return [account]
    secrets, apps = _wanted(at.settings)
    return [
        account,
        *[
            await in_thread(_found, "modal secret", "`uv run create-secrets`", partial(_secret, name))
            for name in secrets
        ],
        *[await in_thread(_found, "modal app", "`uv run deploy`", partial(_app, name, at.clock())) for name in apps],
        await in_thread(_found, "modal schedule", "`uv run deploy`", _schedule),
    ]


def _wanted(settings: Settings | None) -> tuple[Sequence[str], Sequence[str]]:
    """The secrets and the apps that `deploy` leaves there with these settings."""
    page = settings is not None and settings.dashboard_password is not None
    trains = settings is not None and settings.training_dollars_per_day > 0
    return (
        (names.SECRETS, names.DATA_SECRET, *((names.DASHBOARD_SECRET,) if page else ())),
        (names.APP, *((names.TRAINING_APP,) if trains else ()), *((names.DASHBOARD_APP,) if page else ())),
    )


def _found(check: str, mending: str, look: Callable[[], Finding]) -> Finding:
    try:
        with modal_errors():
            return look()
    except (QuickstartError, TimeoutError) as trouble:
        return error(check, str(trouble) or "no answer from Modal", mending)


def _account() -> Finding:
    import modal
    from modal.config import config

    workspace = modal.Workspace.from_context().hydrate()
    environment = config.get("environment") or "main"
    return ok("modal", f"workspace {workspace.name}, environment {environment}")


def _secret(name: str) -> Finding:
    import modal

    modal.Secret.from_name(name, required_keys=list(REQUIRED_KEYS[name])).hydrate()
    return ok("modal secret", f"{name} is there, with all its keys")


def _app(name: str, now: float) -> Finding:
    import modal

    try:
        life = modal.App.lookup(name).info().lifecycle
    except modal.exception.NotFoundError:
        return error("modal app", f"{name} is not deployed", "`uv run deploy`")
    days = (now - (life.deployed_at or life.created_at).timestamp()) / DAYS
    told = f"{name} is deployed, {days:.0f} days old"
    if days > OLD_DEPLOYMENT_DAYS:
        return warning("modal app", f"{told}: it may not know what has changed since", "`uv run deploy`")
    return ok("modal app", told)


def _schedule() -> Finding:
    import modal

    disarmed = modal.Dict.from_name(names.DICT, create_if_missing=False).get(names.DISARMED, None)
    if disarmed:
        return warning("modal schedule", f"the schedule is disarmed {disarmed}", "`uv run submit`, or `uv run deploy`")
    return ok("modal schedule", f"armed: a run begins each day at {names.FIRING_HOUR:02}:00 UTC")


async def check_prices(at: Surroundings) -> Sequence[Finding]:
    """How old the price list is that the caps are reckoned with."""
    days = (at.clock() - datetime.fromisoformat(PRICES_OF).replace(tzinfo=UTC).timestamp()) / DAYS
    told = f"Modal's prices are those of {PRICES_OF}, {days:.0f} days old"
    if days > OLD_PRICES_DAYS:
        mending = (
            "compare with `uv run modal billing rates`; update this program, or lower QUICKSTART_GPU_DOLLARS_PER_DAY"
        )
        return [warning("prices", f"{told}: the caps on dollars are reckoned with them", mending)]
    return [ok("prices", told)]
