"""What Modal itself says the scorers of a day cost, where it says so.

A report comes hours late and in whole hours, and not every plan has it: it corrects an estimate upwards, it does not
replace one.
"""

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from quickstart.errors import QuickstartError
from quickstart.modal_app.names import APP

log = logging.getLogger(__name__)

ASK_SECONDS = 900.0
"""How old a bill may be before it is asked for again."""

NO_GPU = frozenset({"cpu", "memory"})
"""Resources of a bill that the submitter uses too. Everything else is taken for a GPU: Modal may name them anew."""


class BillRow(Protocol):
    """What is used of `modal.types.BillingReportItem`: the cost of an app in an hour, in dollars."""

    @property
    def object_id(self) -> str: ...

    @property
    def description(self) -> str: ...

    @property
    def cost_by_resource(self) -> dict[str, Any]: ...


def gpu_dollars(rows: Iterable[BillRow], app_id: str | None) -> float:
    """Dollars for GPUs of our app, deployed or run by hand."""
    return sum(
        float(cost)
        for row in rows
        if row.object_id == app_id or row.description == APP
        for resource, cost in row.cost_by_resource.items()
        if resource.casefold() not in NO_GPU
    )


class Bill:
    """`billed`: GPU dollars of a day ("2026-11-23", UTC) as Modal counts them; raises a `QuickstartError` where it does
    not say. `per_gpu_dollar`: dollars of a whole container.
    """

    def __init__(
        self, billed: Callable[[str], float], per_gpu_dollar: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._billed = billed
        self._per_gpu_dollar = per_gpu_dollar
        self._clock = clock
        self._asked: tuple[str, float] | None = None
        self._dollars: float | None = None
        self._told = False

    def dollars(self, day: str) -> float | None:
        """What the scorers of a day cost as far as Modal has counted, or None where it does not say."""
        now = self._clock()
        if self._asked is None or self._asked[0] != day or now - self._asked[1] >= ASK_SECONDS:
            self._asked = day, now
            try:
                self._dollars = self._billed(day) * self._per_gpu_dollar
            except QuickstartError as error:
                self._dollars = None
                if not self._told:
                    self._told = True
                    log.warning("no bill from Modal, what GPUs cost is estimated: %s", error)
        return self._dollars
