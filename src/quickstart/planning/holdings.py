"""What a bank has, as surveys and plans see it: the kinds of every shard, and which models have answered for it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Set

from quickstart.bank import Bank, ShardId
from quickstart.chain.ids import Id32
from quickstart.planning.planner import Unscored
from quickstart.planning.statistics import Kind
from quickstart.planning.survey import Holding


class Holdings:
    """Follows a bank; each `update` costs what is new. `done`: shards and the weights that have answered for them."""

    def __init__(self, bank: Bank) -> None:
        self._bank = bank
        self._kinds: dict[ShardId, tuple[tuple[Kind, int], ...]] = {}
        self.shards: tuple[Holding, ...] = ()
        self.done: frozenset[tuple[ShardId, Id32]] = frozenset()

    def update(self, weights: Iterable[Id32]) -> None:
        """Takes in new shards, and what `weights` (checksums) have scored since."""
        new = []
        for shard in self._bank.shards()[len(self.shards) :]:
            kinds = tuple(Kind.of(provenance) for provenance in self._bank.provenance(shard.id))
            self._kinds[shard.id] = tuple(sorted(Counter(kinds).items()))
            new.append(Holding(shard.id, shard.first_row, kinds))
        self.shards += tuple(new)
        self.done |= {
            (holding.shard, name)
            for name in set(weights)
            for holding in self.shards
            if (holding.shard, name) not in self.done and self._bank.is_scored(holding.shard, name)
        }

    def unscored(
        self, models: Mapping[Id32, Id32 | None], running: Set[tuple[ShardId, Id32]] = frozenset()
    ) -> list[Unscored]:
        """Shards that some of `models` have yet to score. `models`: weights by model id, None where not known yet;
        `running`: shards and the model ids that are at it.
        """
        found = []
        for holding in self.shards:
            left = {
                model_id for model_id, name in models.items() if name is None or (holding.shard, name) not in self.done
            }
            at_it = {model_id for model_id in left if (holding.shard, model_id) in running}
            if left:
                kinds = self._kinds[holding.shard]
                found.append(Unscored(holding.shard, kinds, frozenset(left - at_it), frozenset(at_it)))
        return found

    def filled(self, windows: Iterable[Id32 | None]) -> Counter[Kind]:
        """How many targets each kind filled. `windows`: checksums of the windows that filled one each."""
        rows = [row for window in windows if window is not None and (row := self._bank.row_of(window)) is not None]
        places = [self._bank.locate(row) for row in rows]
        kinds = {holding.shard: holding.kinds for holding in self.shards}
        return Counter(kinds[shard][position] for shard, position in places if shard in kinds)
