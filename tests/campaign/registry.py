"""A promise as a function: what it does so and so often, from a seed, and what it finds.

Every module in `promises` lists its own in `PROMISES`. The suite runs each at `short`, the campaign at `long`.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypedDict


class Findings(TypedDict):
    """`done`: what was done, in words; `times`: how often; `lost`: how often the promise was broken, which must be 0.

    `figures`: anything else that was counted or measured, by name.
    """

    done: str
    times: int
    lost: int
    figures: dict[str, Any]


Measure: TypeAlias = Callable[[int, int], Findings]
"""(scale, seed) -> findings; what one unit of scale is, each promise says."""


@dataclass(frozen=True, slots=True)
class Promise:
    """`number`: the promise's place in docs/reliability.md's table; several measurements may share one. `short` 0: not
    in the suite, where other tests do the like.
    """

    number: int
    text: str
    measure: Measure
    short: int
    long: int

    @property
    def name(self) -> str:
        return f"{self.number} {self.measure.__name__}"


def promises() -> tuple[Promise, ...]:
    """All there are, by number."""
    found: list[Promise] = []
    for module in pkgutil.iter_modules([str(Path(__file__).parent / "promises")]):
        found += importlib.import_module(f"tests.campaign.promises.{module.name}").PROMISES
    return tuple(sorted(found, key=lambda promise: (promise.number, promise.name)))
