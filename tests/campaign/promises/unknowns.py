"""Promise 3: unknown is never treated as failed."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable

from quickstart.chain.ids import Id32
from quickstart.chain.transactions import Manifest, SubmitData
from quickstart.ledger.records import IntentKind
from quickstart.submission.outbox import Outbox
from tests.campaign.registry import Findings, Promise
from tests.campaign.simulation import SOMA, Simulation, conflicts

BATCH = 8
BOND = 66_560
TEN_MINUTES = 600.0


def _reply_lost(world: Simulation) -> None:
    world.node.lose_replies = BATCH


def _frozen_when_it_comes(world: Simulation) -> None:
    world.node.frozen_until = world.loop.time() + 40.0


def _frozen_when_it_was_applied(world: Simulation) -> None:
    world.loop.call_later(0.1, _frozen_when_it_comes, world)


def _out_of_reach_when_it_was_applied(world: Simulation) -> None:
    def break_off() -> None:
        world.node.dead_until = world.loop.time() + TEN_MINUTES

    world.loop.call_later(0.1, break_off)


def _another_signer_and_out_of_reach(world: Simulation) -> None:
    """Some bytes never come; then the connection is gone while that is being found out."""
    _frozen_when_it_comes(world)
    world.loop.call_later(39.9, _out_of_reach_when_it_was_applied, world)


MODES: tuple[Callable[[Simulation], None], ...] = (
    _reply_lost,
    _frozen_when_it_comes,
    _frozen_when_it_was_applied,
    _out_of_reach_when_it_was_applied,
    _another_signer_and_out_of_reach,
)


def unknown_is_never_failed(scale: int, seed: int) -> Findings:
    """`scale` submissions, eight at a time, none of which gets an answer the first time; in half of the batches the
    epoch changes meanwhile, in a third the run dies and the next one finds them."""
    draw = random.Random(seed)
    settled: Counter[str] = Counter()
    lost: list[str] = []
    sent = 0
    while sent < scale:
        world = Simulation(coins=(SOMA,) * BATCH)
        mode, ends, dies = draw.choice(MODES), draw.random() < 0.5, draw.random() < 1 / 3
        targets = world.open_targets()[: min(BATCH, scale - sent)]
        sent += len(targets)
        _unknown_batch(world, targets, mode, ends=ends, dies=dies)
        name = mode.__name__.strip("_").replace("_", " ")
        statuses = _statuses(world)
        settled[name] += sum(statuses.get(target) in ("landed", "failed") for target in targets)
        lost += [f"{name}: {statuses.get(t)}" for t in targets if statuses.get(t) not in ("landed", "failed")]
        made = Counter(getattr(arrival.transaction.kind, "target_id", None) for arrival in world.node.arrivals.values())
        lost += [f"{name}: {made[target]} transactions for one target" for target in targets if made[target] != 1]
        lost += [f"{name}: {what}" for what in [*conflicts(world.node, world.owner), *world.differences()]]
        world.close()
    figures = {"settled": sum(settled.values()), **settled, **({"first": lost[0]} if lost else {})}
    done = "submissions without an answer: replies lost, 40 s of silence, 10 minutes out of reach, epochs ending"
    return {"done": done, "times": sent, "lost": len(lost), "figures": figures}


def _unknown_batch(
    world: Simulation, targets: list[Id32], mode: Callable[[Simulation], None], *, ends: bool, dies: bool
) -> None:
    """One submission to each target, until the ledger knows what became of all."""
    run = world.open_run()
    assert run.outbox is not None
    mode(world)
    if ends:
        world.loop.call_later(1.0, world.node.end_epoch)
    sending = [world.loop.create_task(_submit(world, run.outbox, target)) for target in targets]
    if dies:
        world.pass_time(2.0)
        world.crash()
        world.pass_time(TEN_MINUTES + 60.0)
        world.open_run()
    else:
        world.loop.run_until_complete(asyncio.wait(sending, timeout=2 * TEN_MINUTES))
        for task in sending:
            task.result()


def _statuses(world: Simulation) -> dict[Id32, str]:
    return {row["subject"]: row["status"] for row in world.books()._rows("SELECT subject, status FROM intents")}


async def _submit(world: Simulation, outbox: Outbox, target_id: Id32) -> object:
    coin = outbox.pool.reserve(2 * BOND)
    target = world.node.state.target(target_id)
    assert coin is not None and target is not None
    manifest = Manifest("https://bucket.example/window", target_id, 1024)
    kind = SubmitData(target_id, manifest, target.model_ids[0], target.embedding, 0.5, (1.0,), coin.ref)
    details = {"bond": BOND, "reward": target.reward, "window": target_id.hex(), "seen_ms": 0}
    epoch = world.node.state.epoch
    return await outbox.send(
        kind, (coin,), 1, purpose=IntentKind.SUBMIT, subject=target_id, epoch=epoch, details=details
    )


PROMISES = (Promise(3, "unknown is never treated as failed", unknown_is_never_failed, short=100, long=2_000),)
