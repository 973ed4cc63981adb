"""Matches open targets with the bank: one matrix product per model, then the margins decide.

The float32 product is a sieve. What it lets through, at most a few rows per target, is computed again from
the stored float16 embeddings in float64: neither the cache, the blocks nor the kernel of the product shows in
a result.
"""

from collections.abc import Sequence, Set
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from quickstart.bank.view import BankView
from quickstart.chain.ids import Id32
from quickstart.matching.contest import contenders
from quickstart.matching.resident import ResidentRows
from quickstart.matching.sieve import Floats, Hits, Models, TargetGroup, group_targets, safety, sieve
from quickstart.matching.values import Candidate, Matches, MatchTarget
from quickstart.units import GIB


class Matcher:
    """Finds candidates, and keeps what the next call can use again: converted rows, up to `budget_bytes`.

    Results are a pure function of the arguments of `match`. One thread at a time may use it.
    """

    def __init__(self, budget_bytes: int = GIB, threads: int = 2) -> None:
        self._budget_bytes = budget_bytes
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="matcher")
        self._view: BankView | None = None
        self._resident: dict[Id32, ResidentRows] = {}
        self._prepared: set[Models] = set()

    def match(
        self,
        view: BankView,
        targets: Sequence[MatchTarget],
        top: int = 8,
        own_models: Set[Id32] = frozenset(),
    ) -> dict[Id32, Matches]:
        """At most `top` sendable and `top` uncertain candidates per target, best first.

        Wins of `own_models` (weights checksums) come first, then the higher `Candidate.safety`, then the
        lower row. A target has no candidates if one of its models has no entries in the view, if the width
        differs, or if its embedding has no direction.
        """
        found: dict[Id32, Matches] = {target.target_id: Matches() for target in targets}
        groups = group_targets(view, targets)
        self._prepare(view, groups)
        hits: list[Hits] = []
        for weights in {weights: None for group in groups for weights in group.models}:
            users = [group for group in groups if weights in group.models]
            units = np.concatenate([group.units for group in users])
            resident = self._resident[weights]
            for block in resident.blocks(view.models[weights], self._pool, ahead=self._threads):
                cosines = units @ block.unit.T
                start = 0
                for group in users:
                    end = start + len(group.positions)
                    passed = sieve(view, group, weights, block, cosines[start:end], top)
                    if passed is not None:
                        hits.append(passed)
                    start = end
        if hits:
            best = _select(targets, Hits.join(hits), top, own_models)
            found.update(_judge(view, targets, best, own_models))
        return found

    @property
    def resident_bytes(self) -> int:
        """Memory held by converted rows, at most the budget."""
        return sum(rows.resident_bytes for rows in self._resident.values())

    def close(self) -> None:
        """Ends the worker threads and lets go of the memory."""
        self._pool.shutdown()
        self._resident.clear()

    def _prepare(self, view: BankView, groups: Sequence[TargetGroup]) -> None:
        """Converts the rows that these groups' models can win, as far as the budget goes."""
        if view is not self._view:
            self._view, self._prepared = view, set()
            self._resident = {weights: rows for weights, rows in self._resident.items() if weights in view.models}
            for weights, rows in self._resident.items():
                rows.forget_stale(view.models[weights])
        for models in {group.models for group in groups} - self._prepared:
            columns = [view.models[weights] for weights in models]
            for weights, mask in zip(models, contenders(columns, view.n), strict=True):
                if weights not in self._resident:
                    self._resident[weights] = ResidentRows(view.models[weights].width)
                    self._resident[weights].forget_stale(view.models[weights])
                self._resident[weights].need(mask)
            self._prepared.add(models)
            for weights in models:
                spare = self._budget_bytes - self.resident_bytes
                self._resident[weights].fill(view.models[weights], spare, self._pool)


def _select(targets: Sequence[MatchTarget], hits: Hits, top: int, own_models: Set[Id32]) -> Hits:
    """The first `top` hits of each target and kind: own wins first, then the safest."""
    pairs = zip(hits.position.tolist(), hits.model.tolist(), strict=True)
    own = np.array([targets[position].models[model] in own_models for position, model in pairs])
    order = np.lexsort((hits.model, hits.row, -hits.safety, ~own, ~hits.sendable, hits.position))
    kind = hits.position[order] * 2 + ~hits.sendable[order]
    rank = np.arange(len(order)) - np.searchsorted(kind, kind)
    return hits.take(order[rank < top])


def _judge(view: BankView, targets: Sequence[MatchTarget], hits: Hits, own_models: Set[Id32]) -> dict[Id32, Matches]:
    """Computes the selected hits anew from the stored embeddings, and sorts them into safe and uncertain."""
    distances, errors = _distances(view, targets, hits)
    leads = np.array([targets[position].distance_threshold for position in hits.position]) - distances
    worth = safety(leads, errors, hits.loss_margin, hits.loss_unit)
    safe = (leads > errors) & (hits.loss_margin > 0)
    candidates: dict[int, list[Candidate]] = {}
    for i in np.flatnonzero(leads + errors >= 0):  # the others passed by the sieve's slack only
        position, model, row = int(hits.position[i]), int(hits.model[i]), int(hits.row[i])
        target = targets[position]
        candidate = Candidate(
            target_id=target.target_id,
            row=row,
            window_checksum=view.checksum(row),
            model_index=model,
            distance=float(np.float32(distances[i])),
            loss=float(view.models[target.models[model]].losses[row]),
            distance_margin=float(leads[i] - errors[i]),
            loss_margin=float(hits.loss_margin[i]),
            safety=float(worth[i]),
            needs_exact=not safe[i],
        )
        candidates.setdefault(position, []).append(candidate)
    return {
        targets[position].target_id: _sorted(targets[position], found, own_models)
        for position, found in candidates.items()
    }


def _sorted(target: MatchTarget, candidates: Sequence[Candidate], own_models: Set[Id32]) -> Matches:
    def worth(candidate: Candidate) -> tuple[bool, float, int, int]:
        foreign = target.models[candidate.model_index] not in own_models
        return foreign, -candidate.safety, candidate.row, candidate.model_index

    ranked = sorted(candidates, key=worth)
    return Matches(
        sendable=tuple(candidate for candidate in ranked if not candidate.needs_exact),
        uncertain=tuple(candidate for candidate in ranked if candidate.needs_exact),
    )


def _distances(view: BankView, targets: Sequence[MatchTarget], hits: Hits) -> tuple[Floats, Floats]:
    """Twice float64 (h,): 1 - cosine of a hit's stored embedding and its target; the certified error."""
    distances, errors = np.empty(len(hits.row)), np.empty(len(hits.row))
    places: dict[Id32, list[int]] = {}
    for i, (position, model) in enumerate(zip(hits.position.tolist(), hits.model.tolist(), strict=True)):
        places.setdefault(targets[position].models[model], []).append(i)
    for weights, found in places.items():
        columns = view.models[weights]
        stored = np.empty((len(found), columns.width), np.float32)
        columns.gather(hits.row[found], stored)
        errors[found] = columns.distance_errors[hits.row[found]]
        wanted = np.stack([targets[hits.position[i]].embedding for i in found])
        distances[found] = 1.0 - _cosines(stored.astype(np.float64), wanted.astype(np.float64))
    return distances, errors


def _cosines(left: Floats, right: Floats) -> Floats:
    """float64 (h,): cosine of each row of `left` with the same row of `right`."""
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    products: Floats = np.einsum("ij,ij->i", left, right) / norms
    return products
