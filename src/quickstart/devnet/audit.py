"""The network's audit: every fill is scored again with the reference, and a false claim is reported (§13)."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from quickstart.chain.ids import Id32
from quickstart.chain.objects import TargetContents, TargetStatus
from quickstart.chain.transactions import Manifest
from quickstart.devnet.codec import absolute
from quickstart.devnet.scorer import DataProblem, ModelProblem, ModelScore, Scorer, ScoreRequest, best
from quickstart.devnet.state import ChainState
from quickstart.scoring.contract import distance, within_tolerance


@dataclass(frozen=True, slots=True)
class Verdict:
    """`fraud` is None for an honest fill, else what is wrong with it. `final`: asking again gives the
    same."""

    fraud: str | None
    final: bool = True


def judge(target: TargetContents, answer: list[ModelScore | ModelProblem] | DataProblem) -> Verdict:
    """The audit's rule: data, winner, distance, loss, in that order. `answer` is in the order of the target's
    models.

    A model that cannot be scored proves nothing against the submitter; data that cannot be had does.
    """
    if isinstance(answer, DataProblem):
        return Verdict(f"the data cannot be used: {answer.reason}", final=not answer.may_pass)
    scores: list[ModelScore] = []
    for result in answer:
        if isinstance(result, ModelProblem):
            return Verdict(None, final=not result.may_pass)
        scores.append(result)
    winner = best(scores)
    if target.model_ids[winner] != target.winning_model:
        return Verdict("another model predicts the data better")
    true_distance = distance(scores[winner].embedding, target.embedding)
    if target.winning_distance is None or not within_tolerance(target.winning_distance, true_distance):
        return Verdict(f"the distance is {true_distance:.4f}, not {target.winning_distance}")
    if not within_tolerance(target.winning_loss or (), (scores[winner].loss,)):
        return Verdict(f"the loss is {scores[winner].loss:.4f}, not {target.winning_loss}")
    return Verdict(None)


@dataclass(slots=True)
class Auditor:
    """Scores fills in the background as soon as they happen, so that epoch changes need not wait for long.

    So it uses the weights of the fill's own epoch, also if a model's owner reveals new ones before reports are due.
    `exempt`: submitters that are not audited.
    """

    scorer: Scorer
    base_url: Callable[[], str]
    exempt: frozenset[Id32] = frozenset()
    _running: dict[Id32, asyncio.Task[Verdict]] = field(default_factory=dict)

    def watch(self, state: ChainState, target_id: Id32) -> None:
        """Starts the audit of a target that was just filled."""
        target = state.target(target_id)
        if target is not None and target.submitter not in self.exempt and target_id not in self._running:
            self._running[target_id] = asyncio.create_task(self._audit(state, target))

    def watch_unaudited(self, state: ChainState) -> None:
        """After a restart: the fills whose reports are still to come."""
        for target_id, target in list(state.targets()):
            if target.status is TargetStatus.FILLED and target.fill_epoch + 1 >= state.epoch:
                self.watch(state, target_id)

    async def verdicts(self, state: ChainState, fill_epoch: int) -> list[tuple[Id32, Verdict]]:
        """Verdicts on all fills of an epoch. What could not be had the first time is tried once more."""
        filled = [(i, t) for i, t in state.targets() if t.status is TargetStatus.FILLED and t.fill_epoch == fill_epoch]
        due = [target_id for target_id, target in filled if target.submitter not in self.exempt]
        return [(target_id, await self._verdict(state, target_id)) for target_id in due]

    def forget_before(self, state: ChainState) -> None:
        """Drops audits whose reports would come too late."""
        for target_id in list(self._running):
            target = state.target(target_id)
            if target is None or target.fill_epoch + 1 < state.epoch:
                self._running.pop(target_id).cancel()

    async def stop(self) -> None:
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _verdict(self, state: ChainState, target_id: Id32) -> Verdict:
        self.watch(state, target_id)
        verdict = await self._running[target_id]
        target = state.target(target_id)
        if not verdict.final and target is not None:
            verdict = await self._audit(state, target)
        return verdict

    async def _audit(self, state: ChainState, target: TargetContents) -> Verdict:
        if target.manifest is None:
            return Verdict("there is no data")
        return judge(target, await self.scorer.score(self._request(state, target, target.manifest)))

    def _request(self, state: ChainState, target: TargetContents, data: Manifest) -> ScoreRequest:
        models = []
        for model_id in target.model_ids:
            model = state.models[model_id]
            if model.commitment is not None:
                manifest = model.commitment.manifest
                url = absolute(manifest.url, self.base_url())
                models.append((Manifest(url, manifest.checksum, manifest.size), model.decryption_key))
        return ScoreRequest(data, tuple(models), seed=0)
