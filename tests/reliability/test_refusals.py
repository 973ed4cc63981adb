"""What was refused may be sent again, and what a node says of bytes that have landed is not taken for a refusal."""

from collections.abc import Iterator
from typing import Any

import pytest

from quickstart.chain.ids import Id32, format_digest, format_id
from quickstart.chain.outcomes import RefusalReason
from quickstart.chain.transactions import Manifest, SubmitData
from quickstart.ledger.records import FillState, IntentKind, IntentStatus
from quickstart.submission.outbox import REST_SECONDS, NotSent, Outbox, Settled
from tests.campaign.pure_node import read_signed
from tests.campaign.pure_sdk import PureSdk
from tests.campaign.simulation import SOMA, Simulation, conflicts

BOND = 66_560
REFUSED = 'status: {code}, message: "{message}", details: [], metadata: MetadataMap {{ headers: {{}} }}'


@pytest.fixture
def world() -> Iterator[Simulation]:
    world = Simulation(coins=(SOMA,))
    yield world
    world.close()


async def submit(world: Simulation, outbox: Outbox, target_id: Id32) -> Settled | NotSent:
    coin = outbox.pool.reserve(BOND)
    target = world.node.state.target(target_id)
    assert coin is not None and target is not None
    manifest = Manifest("https://bucket.example/window", target_id, 1024)
    kind = SubmitData(target_id, manifest, target.model_ids[0], target.embedding, 0.5, (1.0,), coin.ref)
    details = {"bond": BOND, "reward": target.reward, "window": target_id.hex()}
    epoch = world.node.state.epoch
    purpose = IntentKind.SUBMIT
    return await outbox.send(kind, (coin,), 1, purpose=purpose, subject=target_id, epoch=epoch, details=details)


class Doubtful(PureSdk):
    """A client that hears wrong things of what it sends. `answers`: what is raised instead of the node's answer, one
    for each sending, None for the node's own; `unknown_until`: until then no transaction can be read.
    """

    answers: list[tuple[str, str] | None]
    unknown_until = 0.0

    async def execute_transaction(self, signed: bytes) -> Any:
        effects = await super().execute_transaction(signed)
        told = self.answers.pop(0) if self.answers else None
        if told is not None:
            coin = read_signed(signed)[0].gas[0]
            code, message = told
            message = message.format(coin=format_id(coin.object_id), version=coin.version)
            raise RuntimeError(REFUSED.format(code=code, message=message))
        return effects

    async def get_transaction(self, digest: str) -> Any:
        if self._node.clock() < self.unknown_until:
            raise RuntimeError(REFUSED.format(code="NotFound", message=f"Transaction {digest} not found"))
        return await super().get_transaction(digest)


STALE = ("InvalidArgument", "Object ({coin}, Version({version}), o#x) is not available for consumption")
LOST = ("Unavailable", "http2 error")


def test_what_never_left_is_sent_again_to_the_byte(world: Simulation) -> None:
    """Same target, window and coin make the same bytes: the ledger must take them a second time."""
    run = world.open_run()
    assert run.outbox is not None
    target_id = world.open_targets()[0]
    world.node.dead_until = world.loop.time() + 5.0
    refused = world.loop.run(submit(world, run.outbox, target_id))
    assert isinstance(refused, NotSent) and refused.refusal.reason is RefusalReason.NOTHING_SENT
    settled = world.loop.run(submit(world, run.outbox, target_id))
    assert isinstance(settled, Settled) and settled.intent.digest == refused.intent.digest
    assert world.books().counts(IntentKind.SUBMIT) == {IntentStatus.LANDED: 1}
    assert world.differences() == [] and conflicts(world.node, world.owner) == []


def _die_at_the_first(world: Simulation, kind: str) -> None:
    """The node is away for 3 s from the moment that the first transaction of this kind is sent."""
    reached = world.node.note

    def note(what: str, *rest: Any) -> None:
        reached(what, *rest)
        if what == f"{kind}: send before":
            world.node.note = reached  # type: ignore[method-assign]
            world.node.dead_until = world.loop.time() + 3.0

    world.node.note = note  # type: ignore[method-assign]


def test_a_run_whose_first_split_never_left_goes_on(world: Simulation) -> None:
    """And though its only coin is wanted by submissions too, it is split: one lane would be all there is else."""
    world.start()
    _die_at_the_first(world, "split")
    world.pass_time(8.0)
    assert any("split: refuse after" in event for event in world.node.events)
    assert world.run is not None and world.ended_by is None
    assert world.books().counts(IntentKind.SPLIT)[IntentStatus.LANDED] >= 1
    assert len(world.books().fills()) > 0
    world.stop()
    assert world.differences() == []


def test_bytes_that_landed_are_not_given_up_while_the_node_does_not_show_them(world: Simulation) -> None:
    """A node that lags calls the coin stale, because these very bytes spent it, and does not know their digest yet."""
    client = Doubtful(world.node)
    client.answers, client.unknown_until = [LOST, STALE], world.loop.time() + 60.0

    async def connect(_: Any) -> Any:
        return client

    world.edges.connect = connect  # type: ignore[method-assign]
    run = world.open_run()
    assert run.outbox is not None
    settled = world.loop.run(submit(world, run.outbox, world.open_targets()[0]))
    assert isinstance(settled, Settled) and settled.effects.failure is None
    assert world.differences() == [] and len(world.node.arrivals) == 1


@pytest.mark.parametrize("spoil", ["no effects", "of another transaction", "no status", "odd coins"])
def test_an_answer_that_makes_no_sense_is_not_known(world: Simulation, spoil: str) -> None:
    """Neither an error that ends the run nor a failure: the same bytes again, until the answer can be read."""

    class Garbling(PureSdk):
        times = 2

        async def execute_transaction(self, signed: bytes) -> Any:
            answer = await super().execute_transaction(signed)
            if self.times:
                self.times -= 1
                if spoil == "no effects":
                    del answer.V1
                elif spoil == "of another transaction":
                    answer.V1.transaction_digest = format_digest(bytes(32))
                elif spoil == "no status":
                    answer.V1.status = 7
                else:
                    answer.V1.changed_objects = [("zz", {})]
            return answer

    client = Garbling(world.node)

    async def connect(_: Any) -> Any:
        return client

    world.edges.connect = connect  # type: ignore[method-assign]
    run = world.open_run()
    assert run.outbox is not None
    settled = world.loop.run(submit(world, run.outbox, world.open_targets()[0]))
    assert isinstance(settled, Settled) and client.times == 0
    assert world.differences() == [] and len(world.node.arrivals) == 1


def test_a_coin_that_somebody_holds_is_left_alone_for_a_while(world: Simulation) -> None:
    run = world.open_run()
    assert run.outbox is not None
    (coin,) = run.outbox.pool.idle
    ref = coin.ref
    world.node._locks[ref.object_id, ref.version] = bytes(32)
    refused = world.loop.run(submit(world, run.outbox, world.open_targets()[0]))
    assert isinstance(refused, NotSent) and refused.refusal.reason is RefusalReason.LOCKED_COIN
    assert run.outbox.pool.idle == ()
    world.pass_time(REST_SECONDS - 1.0)
    assert run.outbox.pool.idle == ()
    world.node._locks.clear()
    world.pass_time(1.5)
    assert run.outbox.pool.idle == (coin,)
    assert isinstance(world.loop.run(submit(world, run.outbox, world.open_targets()[0])), Settled)
    assert world.differences() == []


def test_a_claim_that_never_left_is_made_in_the_same_run(world: Simulation) -> None:
    world.start()
    world.pass_time(10.0)
    world.stop()
    fills = len(world.books().fills())
    for _ in range(2):
        world.node.end_epoch()
    world.pass_time(1.0)
    world.start()
    _die_at_the_first(world, "claim")
    world.pass_time(60.0)
    assert any("claim: refuse after" in event for event in world.node.events)
    due = [fill for fill in world.books().fills() if fill.epoch + 1 < world.node.state.epoch]
    assert len(due) == fills > 0 and {fill.state for fill in due} == {FillState.CLAIMED}
    world.stop()
    assert world.differences() == []
