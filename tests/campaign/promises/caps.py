"""Promise 8: bonds and fees never pass their caps, over whole runs on a devnet: submissions, claims and coins arranged.

Dollars for GPUs are counted on Modal; `tests/modal` has that part.
"""

import random
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from live_devnet import BOND, LiveDevnet, new_wallet, running
from sessions import close_servers, session

from quickstart.ledger.ledger import Ledger
from quickstart.ledger.records import FillState
from quickstart.submission.actions import Policy
from tests.campaign.registry import Findings, Promise

SOMA = 1_000_000_000


def _one(live: LiveDevnet, folder: Path, bonds: int, bond_cap: int, gas_cap: int) -> dict[str, int]:
    """A run of two epochs and the claims after them; by how much each cap was passed at the worst, in shannons."""
    wallet = new_wallet()
    live.fund(wallet.address, SOMA)
    policy = Policy(max_hits_per_epoch=None, bond_cap=bond_cap, gas_cap=gas_cap)

    async def next_epoch() -> int:
        return int(await live.node.advance_epoch())

    run = live.run(session(live, wallet, folder, epochs=2, windows=8, policy=policy, advance_epoch=next_epoch))
    told = live.run(run.run())
    with closing(Ledger(run.places.ledger)) as ledger:
        epochs = {report.epoch for report in ledger.epoch_reports()} | {ledger.latest_epoch()}
        fees = max(ledger.fees(epoch) for epoch in range(min(epochs), max(epochs) + 1))
        fills = ledger.fills()
    # Bonds of two epochs are out together: none comes home before both have been submitted in.
    bond = len([fill for fill in fills if fill.state is not FillState.SLASHED]) * BOND
    return {
        "fills": len(fills),
        "claimed": told["claimed"],
        "bond_over": max(0, bond - bond_cap),
        "fees_over": max(0, fees - gas_cap),
        "unused_bonds": bonds - len(fills),
    }


def run(scale: float, seed: int) -> dict[str, Any]:
    """Promise 8, bonds and fees. `scale` 1: twenty runs with caps drawn at random."""
    rng = random.Random(seed)
    runs: list[dict[str, int]] = []
    for _ in range(max(1, round(20 * scale))):
        bonds = rng.randrange(1, 20)
        gas_cap = rng.choice([rng.randrange(4_000, 60_000), SOMA])
        with TemporaryDirectory() as folder, running(models=1, targets=40) as live:
            runs.append(_one(live, Path(folder), bonds, bonds * BOND + rng.randrange(BOND), gas_cap))
            close_servers()
    found = {name: sum(one[name] for one in runs) for name in runs[0]}
    lost = sum(bool(one["bond_over"]) + bool(one["fees_over"]) for one in runs)
    return {"promise": 8, "done": f"{len(runs)} runs", "seed": seed, "lost": lost, **found}


def spend_stays_below_its_caps(scale: int, seed: int) -> Findings:
    """`scale` runs of two epochs with caps drawn at random."""
    found = run(scale / 20, seed)
    figures = {name: found[name] for name in ("fills", "claimed", "bond_over", "fees_over")}
    return {
        "done": "runs with random caps on bonds and fees",
        "times": scale,
        "lost": found["lost"],
        "figures": figures,
    }


PROMISES = (Promise(8, "spend never passes the cap", spend_stays_below_its_caps, short=0, long=20),)
