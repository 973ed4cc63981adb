"""Everything of ours on Modal: what there is of it, and taking it away."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from quickstart.modal_app import names

VOLUMES = (
    names.BANK_VOLUME,
    names.WEIGHTS_VOLUME,
    names.LEDGER_VOLUME,
    names.TRAINING_VOLUME,
    names.LOG_VOLUME,
)
SECRETS = (names.SECRETS, names.DATA_SECRET, names.DASHBOARD_SECRET)
DICTS = (names.DICT,)
APPS = (names.DASHBOARD_APP, names.APP, names.TRAINING_APP)


@dataclass(frozen=True, slots=True)
class Belonging:
    """One thing on Modal. `kind`: `app`, `volume`, `dict` or `secret`."""

    kind: str
    name: str
    remove: Callable[[], None]


def belongings() -> tuple[Belonging, ...]:
    """What there is, in the order in which to remove it: first whatever could make more of the rest.

    Raises: Modal's own errors (`account.modal_errors` has words for them).
    """
    import modal

    found: list[Belonging] = []
    for name in APPS:
        try:
            app = modal.App.lookup(name)
        except modal.exception.NotFoundError:
            continue
        found.append(Belonging("app", name, lambda app=app: app.stop()))  # type: ignore[misc]
    for kind, ours, manager in (
        ("dict", DICTS, modal.Dict.objects),
        ("volume", VOLUMES, modal.Volume.objects),
        ("secret", SECRETS, modal.Secret.objects),
    ):
        there = {one.name for one in manager.list()}
        found += [Belonging(kind, name, lambda n=name, m=manager: _delete(m, n)) for name in ours if name in there]  # type: ignore[misc]
    return tuple(found)


def _delete(manager: object, name: str) -> None:
    manager.delete(name, allow_missing=True)  # type: ignore[attr-defined]


def remove(found: Iterable[Belonging]) -> None:
    """Takes everything away, in order. Safe to repeat."""
    for one in found:
        one.remove()
