"""Promise 2: a crash at any point loses nothing."""

import hashlib
import multiprocessing
import random
import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from quickstart.chain.ids import Id32
from quickstart.chain.keys import Wallet
from quickstart.chain.objects import AddressOwner
from quickstart.devnet.state import ChainState
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.records import IntentKind, IntentStatus
from quickstart.submission.actions import Policy
from quickstart.submission.session import claims_only
from tests.campaign.fail_points import POINTS
from tests.campaign.killed_run import RunOrder, carry_out
from tests.campaign.registry import Findings, Promise
from tests.campaign.served_network import served
from tests.campaign.simulation import SOMA, Simulation, conflicts, differences, made_up_bank, scratch_folder

HITS = 3
POLICY = Policy(lanes=2, max_hits_per_epoch=HITS, publishers=1)
COINS = {
    "submit": (300_000,) * 3,
    "publish": (300_000,) * 3,
    "claim": (300_000,) * 3,
    "split": (SOMA,),
    "merge": (40_000,) * 8,
}
"""Coins at the start that make a run do what a point belongs to. 40,000 do not pay for a submission, merged they do."""

AT_ONCE = 4
CHILD_SECONDS = 60.0


def _kind(point: str) -> str:
    return point.split(":")[0]


def power_cut_at_every_point(scale: int, seed: int) -> Findings:
    """On the simulated network: every point, at its first and at later passings, `scale` times.

    A run that dies there, one that settles what it left, then the rest of the epoch: the books are the chain's after
    the second has opened, and at the end.
    """
    draw = random.Random(seed)
    lost: list[str] = []
    for _ in range(scale):
        for point in POINTS:
            world = _simulated(_kind(point))
            for _ in range(1 + draw.randrange(2)):  # sometimes the run that repairs dies as well
                world.cut_at = point
                world.start()
                world.settle(60.0)
            if not world.counts[f"cut at {point}"]:
                lost.append(f"{point} was not passed")
            lost += [f"{point}: {what}" for what in _repaired(world)]
            world.close()
    done = "power cut at every named point, on the simulated network"
    return {"done": done, "times": scale * len(POINTS), "lost": len(lost), "figures": _told(lost)}


def _simulated(kind: str) -> Simulation:
    world = Simulation(POLICY, coins=COINS[kind], epochs=1)
    if kind == "claim":
        world.start()
        world.settle(60.0)
        world.node.end_epoch()
        world.node.end_epoch()
    return world


def _repaired(world: Simulation) -> list[str]:
    """What is wrong after one cycle that starts nothing new, and after the rest of the epoch."""
    found: list[str] = []
    world.heal()
    for name, policy in {"after one cycle": claims_only(POLICY), "at the end": POLICY}.items():
        world.pass_time(1.0)
        world.start(policy)
        world.settle(120.0)
        world.pass_time(1.0)
        wrong = [*world.differences(), *conflicts(world.node, world.owner)]
        if world.ended_by is not None:
            wrong.append(f"the run ended with {world.ended_by!r}")
        found += [f"{name}: {what}" for what in wrong]
    ledger = world.books()
    if (hits := ledger.hits(world.node.state.epoch)) != HITS:
        found.append(f"{hits} hits where {HITS} were to be had")
    ledger.close()
    return found


def _told(lost: Sequence[str]) -> dict[str, str]:
    return {"first": lost[0]} if lost else {}


def killed_at_every_point(scale: int, seed: int) -> Findings:
    """Real processes on a served devnet, spoken to by the real SDK: SIGKILL right at the point, then started again.

    `scale`: how many of the points, drawn by the seed; all and more than once when it is larger than their number.
    """
    draw = random.Random(seed)
    points = [point for _ in range(0, scale, len(POINTS)) for point in draw.sample(POINTS, len(POINTS))][:scale]
    folder = scratch_folder()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        wrong = pool.map(_killed_and_repaired, points, [folder / str(number) for number in range(len(points))])
        lost = [what for found in wrong for what in found]
    done = "SIGKILL of a process at every named point, on a served devnet"
    return {"done": done, "times": len(points), "lost": len(lost), "figures": _told(lost)}


def _killed_and_repaired(point: str, folder: Path) -> list[str]:
    """One wallet on a network of its own, and the point its process is killed at."""
    secret = hashlib.blake2b(str(folder).encode(), digest_size=32).digest()
    owner = Wallet(secret).address
    made_up = made_up_bank()
    folder.mkdir(parents=True)
    found: list[str] = []
    with served(targets=8, models=2, audit=False, latency_seconds=0.02, checkpoint_seconds=0.02) as network:
        order = RunOrder(folder, secret, network.endpoints, made_up.bank.root, made_up.names, POLICY)
        network.give(owner, *COINS[_kind(point)])
        if _kind(point) == "claim":
            if (code := _child(order)) != 0:
                found.append(f"a run that should fill ended with {code}")
            network.end_epoch()
            network.end_epoch()
        if (code := _child(replace(order, kill_at=point))) != -signal.SIGKILL:
            found.append(f"was not killed but ended with {code}")
        if (code := _child(order)) != 0:
            found.append(f"the run after it ended with {code}")
        ledger = Ledger(folder / "ledger.sqlite")
        found += network.call(lambda: differences(ledger, network.node.state, owner))
        found += network.call(lambda: _unaccounted(ledger, network.node.state, owner))
        ledger.close()
    return [f"{point}: {what}" for what in found]


def _unaccounted(ledger: Ledger, state: ChainState, owner: Id32) -> list[str]:
    """Transactions of this wallet that the chain executed and the ledger does not know, and those made twice."""
    mine = AddressOwner(owner)
    executed = sum(any(c.before and c.before.owner == mine for c in e.changed) for e in state.effects.values())
    counts = [ledger.counts(kind) for kind in IntentKind]
    landed, failed = (sum(c.get(status, 0) for c in counts) for status in (IntentStatus.LANDED, IntentStatus.FAILED))
    found = [] if executed == landed + failed else [f"{executed} were executed, {landed + failed} are known"]
    if failed:
        found.append(f"{failed} transactions failed, as one does that repeats another")
    if (hits := ledger.hits(state.epoch)) != HITS:
        found.append(f"{hits} hits where {HITS} were to be had")
    return found


def _child(order: RunOrder) -> int | None:
    """Runs an order in a process of its own; its exit code, negative for a signal."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.campaign.killed_run"])
    process = context.Process(target=carry_out, args=(order,))
    process.start()
    process.join(CHILD_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
        return None
    return process.exitcode


TEXT = "a crash at any point loses nothing"
PROMISES = (
    Promise(2, TEXT + " (simulated)", power_cut_at_every_point, short=1, long=6),
    Promise(2, TEXT, killed_at_every_point, short=5, long=len(POINTS)),
)
