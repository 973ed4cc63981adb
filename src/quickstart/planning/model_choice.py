"""Which models to score first: those that complete the most open targets for the time they take.

A target can be filled once all its models have scored a window, so models are chosen together, not one by one.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

from quickstart.chain.ids import Id32

Need = frozenset[Id32]


@dataclass(frozen=True, slots=True)
class Stage:
    """Models to score a window with, together: they complete `share` of the targets, once earlier stages are done."""

    models: tuple[Id32, ...]
    share: float


def stages(targets: Iterable[Iterable[Id32]], cost: Mapping[Id32, float]) -> tuple[tuple[Id32, ...], ...]:
    """Groups of models in the order in which to score them; together all of `cost`.

    `targets`: the models each open target needs. `cost`: what is left to do with a model, in any unit of time. A
    target that needs a model without a cost (one that is excluded) counts for nothing, and models that no target
    needs come last.
    """
    counts = Counter(frozenset(models) for models in targets)
    needs = {need: count for need, count in counts.items() if need <= cost.keys()}
    chosen: Need = frozenset()
    found: list[Need] = []
    while missing := [need for need in needs if not need <= chosen]:
        # Between equals the ids decide, so that the choice is the same everywhere.
        ranked = sorted((_gain(need, chosen, needs, cost), sorted(need), need) for need in missing)
        best = ranked[-1][2]
        found.append(best - chosen)
        chosen |= best
    found.append(frozenset(cost.keys() - chosen))
    return tuple(tuple(sorted(group)) for group in found if group)


def _gain(need: Need, chosen: Set[Id32], needs: Mapping[Need, int], cost: Mapping[Id32, float]) -> float:
    """Targets completed per unit of time, if `need` is scored after `chosen`."""
    together = chosen | need
    completed = sum(count for other, count in needs.items() if other <= together and not other <= chosen)
    return completed / max(1e-9, sum(cost[model] for model in need - chosen))


def staged(targets: Iterable[Iterable[Id32]], cost: Mapping[Id32, float]) -> tuple[Stage, ...]:
    """`stages`, each with the share of the targets that it completes."""
    needs = Counter(frozenset(models) for models in targets)
    chosen: Need = frozenset()
    found = []
    for models in stages(needs.elements(), cost):
        before, chosen = chosen, chosen | set(models)
        count = sum(count for need, count in needs.items() if need <= chosen and not need <= before)
        found.append(Stage(models, count / max(1, needs.total())))
    return tuple(found)
