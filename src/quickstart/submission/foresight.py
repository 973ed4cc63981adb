"""Targets computed before anybody can read them, and the end of that once one is not what the chain has."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from quickstart import clock
from quickstart.chain.board import Board, OpenTarget
from quickstart.chain.ids import Id32, format_id
from quickstart.chain.spawning import SpawnRule

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Doubt:
    rule: SpawnRule | None
    target: OpenTarget
    since: float


class Foresight:
    """The rule of the present board, and what our submissions in flight would spawn.

    A computed target that the chain contradicts is a doubt: models or epoch may have changed just before. If the board
    that is read next has changed nothing in the rule, the network's rule is another than ours, and nothing is computed
    for the rest of the run; `mismatch` says why.
    """

    def __init__(self, board: Board) -> None:
        self._rule = SpawnRule.of(board)
        self._doubt: _Doubt | None = None
        self._expected: dict[Id32, OpenTarget] = {}
        self.mismatch: str | None = None

    @property
    def computes(self) -> bool:
        return self.mismatch is None and self._doubt is None

    @property
    def rule(self) -> SpawnRule | None:
        """What to compute with; None where nothing is to be computed."""
        return self._rule if self.computes else None

    @property
    def expected(self) -> Mapping[Id32, OpenTarget]:
        """By id: targets that open if our submissions in flight execute."""
        return {target.target_id: target for target in self._expected.values()}

    def renew(self, board: Board) -> None:
        """Models or epoch have changed: what was expected by the old rule is not to be expected any more."""
        self._rule = SpawnRule.of(board)
        self._expected.clear()

    def expect(self, digest: Id32) -> bool:
        """A submission with this digest is about to be sent; whether something can be expected of it."""
        if (rule := self.rule) is None:
            return False
        self._expected[digest] = rule.target(digest)
        return True

    def take(self, digest: Id32) -> OpenTarget | None:
        """What was expected of a submission that has ended."""
        return self._expected.pop(digest, None)

    def doubt(self, computed: OpenTarget) -> None:
        """The chain has another target than the computed one."""
        if self.computes:
            self._doubt = _Doubt(self._rule, computed, clock.now())

    def settle(self, known_until: float) -> None:
        """The board is known as it was at `known_until` (`clock.now`): a doubt from before then is resolved."""
        doubt = self._doubt
        if doubt is None or known_until < doubt.since:
            return
        self._doubt = None
        if doubt.rule is self._rule:
            self.stop(f"the chain's target {format_id(doubt.target.target_id)} is not the one that was computed")

    def stop(self, reason: str) -> None:
        """Computes nothing more in this run."""
        if self.mismatch is None:
            self.mismatch = reason
            self._expected.clear()
            log.error("%s; new targets are read from listings for the rest of this run", reason)
