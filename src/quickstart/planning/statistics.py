"""What is known of each kind of window: how many there are, what they did, what the next ones are worth."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from quickstart.chain.ids import Id32
from quickstart.data.window import Provenance


class Kind(NamedTuple):
    """A sort of data, within its source (`Provenance.kind`): windows of one kind have embeddings near each other."""

    source: str
    name: str

    @classmethod
    def of(cls, provenance: Provenance) -> "Kind":
        return cls(provenance.source, provenance.kind)

    def __str__(self) -> str:
        return f"{self.source} {self.name}".strip()


@dataclass(frozen=True, slots=True)
class ModelStatistics:
    """One model (weights checksum) on the windows of one kind.

    `scored`: windows it has scored. `wins`: windows it wins safely, each weighted with the share of targets for which
    it does. `only`: see `KindStatistics`, of the windows that this model wins. `gpu_seconds`: spent on them.
    """

    weights: Id32
    scored: int
    wins: float
    only: float
    gpu_seconds: float


@dataclass(frozen=True, slots=True)
class KindStatistics:
    """One kind of window. Shares are of all targets that are to be expected, 0 to 1.

    `windows`: in the bank. `scored`: of these, by all models of a target, each weighted with the share of targets for
    which that holds. `wins`: share of the scored ones that have a safe winner. `only`: share of the targets that
    exactly one window of the bank fills, and that one is of this kind; the mean of the present and the tightest
    threshold. `spread`: its standard deviation, from window to window. `filled`: targets we filled with it.
    """

    kind: Kind
    windows: int
    scored: float
    wins: float
    only: float
    spread: float
    filled: int
    models: tuple[ModelStatistics, ...]

    @property
    def gain_per_100(self) -> float:
        """What the next 100 windows are expected to add to coverage; 0 where nothing is scored.

        What n windows alone cover, divided by n, is what one more would cover anew (Good and Turing's estimate of the
        unseen): the share that is lost when one of the n is left out, on average.
        """
        return 100 * self.only / self.scored if self.scored else 0.0

    @property
    def gpu_seconds(self) -> float:
        return sum(model.gpu_seconds for model in self.models)


@dataclass(frozen=True, slots=True)
class Statistics:
    """All kinds of the bank, by kind. `samples`: targets that shares were counted over. `coverage`: at either threshold
    (distance): `distance_threshold`, the board's, and `tightest_threshold`, the network's least.
    """

    kinds: Mapping[Kind, KindStatistics]
    samples: int
    distance_threshold: float
    tightest_threshold: float
    coverage: float
    coverage_tightest: float
