"""Promise 2 for the owner of a model: what dies while it stakes, commits and reveals loses neither key nor stake."""

import random
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from quickstart.chain.keys import Wallet
from quickstart.devnet.state import Model, ModelStatus
from quickstart.errors import NetworkError, UsageError
from quickstart.ledger.records import IntentKind, IntentStatus
from quickstart.submission.actions import Policy
from quickstart.submission.session import claims_only
from quickstart.trainer.office import Committed, publish
from quickstart.trainer.products import Product
from quickstart.trainer.vault import Vault
from tests.campaign.product_run import ProductRun
from tests.campaign.registry import Findings, Promise
from tests.campaign.simulation import CONFIG, SECRET, SOMA, Simulation, conflicts

STAKE = SOMA
TRIES = 6
POLICY = claims_only(Policy(lanes=2, publishers=1))
AWAY_SECONDS = 180.0
ONCE = (IntentKind.CREATE_MODEL, IntentKind.COMMIT, IntentKind.REVEAL)


def owner_struck_anywhere(scale: int, seed: int) -> Findings:
    """`scale` models that are staked, committed and revealed, each struck at one point of all it passes: in turn the
    power fails there, or the node is away for three minutes from there on.
    """
    draw = random.Random(seed)
    points = _points()
    struck = [(at, cut) for at in range(1, points + 1) for cut in (True, False)]
    chosen = [strike for _ in range(0, scale, len(struck)) for strike in draw.sample(struck, len(struck))][:scale]
    lost = [f"at point {at}, {'cut' if cut else 'away'}: {what}" for at, cut in chosen for what in _life(at, cut=cut)]
    figures = {"points of a life": points, **({"first": lost[0]} if lost else {})}
    done = (
        "a model staked, committed and revealed, the power cut or the node away at one point, on the simulated network"
    )
    return {"done": done, "times": len(chosen), "lost": len(lost), "figures": figures}


@cache
def _product() -> Product:
    weights = Path(str(files("quickstart.devnet") / "weights" / "c64.safetensors"))
    return Product(weights, np.linspace(-1, 2, CONFIG.dim, dtype=np.float32))


def _points() -> int:
    """How many points a life passes until its model is in play, where nothing goes wrong."""
    world = _world()
    assert _publish(world) == []
    world.node.end_epoch()
    assert _reveal(world) == []
    passed = [event for event in world.node.events if event.endswith((" before", " after"))]
    world.close()
    return max(number for number, event in enumerate(passed, start=1) if "reveal: " in event)


def _world() -> Simulation:
    return Simulation(POLICY, coins=(3 * SOMA,), epochs=1)


def _life(at: int, *, cut: bool) -> list[str]:
    world = _world()
    world.cut_at = at
    if not cut:
        world.strike = lambda: _go_away(world)
    found = _publish(world)
    world.node.end_epoch()
    found += _reveal(world)
    if not any(name.startswith("cut at ") for name in world.counts):
        found.append("the point was not passed")
    found += [*world.differences(), *conflicts(world.node, world.owner)]
    models = _models(world)
    if [(model.status, model.stake) for model in models] != [(ModelStatus.ACTIVE, STAKE)]:
        found.append(f"the chain has {[(model.status.name, model.stake) for model in models]}")
    ledger = world.books()
    landed = {kind.value: ledger.counts(kind).get(IntentStatus.LANDED, 0) for kind in ONCE}
    if set(landed.values()) != {1}:
        found.append(f"landed: {landed}")
    ledger.close()
    world.close()
    return found


def _go_away(world: Simulation) -> None:
    world.node.dead_until = world.loop.time() + AWAY_SECONDS


def _publish(world: Simulation) -> list[str]:
    """As a person does: again and again until it is committed."""

    async def work(run: ProductRun) -> Committed:
        assert run.office is not None
        return await publish(
            run.office, _product(), stake=STAKE, commission_bps=0, update=False, keep=SOMA, confirm=lambda quote: None
        )

    for _ in range(TRIES):
        committed = None
        try:
            committed = world.attempt(work)
        except NetworkError:  # refused or out of reach: "run this again"
            world.pass_time(AWAY_SECONDS)
        except UsageError as error:
            if "publish again after that" in str(error):  # the try before had committed it
                return []
            world.pass_time(AWAY_SECONDS)
        if committed is not None:
            return []
        if lost := _keys_lost(world):
            return lost
    return ["it was never committed"]


def _reveal(world: Simulation) -> list[str]:
    """Runs of the loop, as the schedule starts them, until the model is in play."""
    for _ in range(TRIES):
        world.pass_time(1.0)
        crashes = world.counts["crashes"]
        world.start(POLICY)
        world.settle(1800.0)
        if lost := _keys_lost(world):
            return lost
        if world.run is None and world.ended_by is None and world.counts["crashes"] == crashes:
            return []
        world.pass_time(AWAY_SECONDS if world.ended_by is not None else 0.0)
    return [f"no run came to its end: {world.ended_by!r}"]


def _models(world: Simulation) -> list[Model]:
    return [model for model in world.node.state.models.values() if model.owner == world.owner]


def _keys_lost(world: Simulation) -> list[str]:
    """Commitments on the chain that nothing on the disk opens."""
    with world.edges.client() as client:
        vault = Vault(world.folder / "vault", Wallet(SECRET), world.edges.storage(), client)
        keys = [model.commitment.key for model in _models(world) if model.commitment is not None]
        return [f"the key of {key.hex()[:8]} is lost" for key in keys if vault.find(key) is None]


PROMISES = (
    Promise(2, "a crash at any point loses nothing (a model's owner)", owner_struck_anywhere, short=8, long=84),
)
