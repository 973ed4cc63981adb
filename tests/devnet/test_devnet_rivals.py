"""Simulated submitters: what they claim is true, and they share the board with everybody."""

import asyncio
from collections.abc import Callable

import numpy as np
import pytest
from conftest import Running

from quickstart.chain.objects import TargetContents, TargetStatus
from quickstart.devnet.config import DevnetConfig
from quickstart.devnet.rivals import SAFETY, best_hit, packaged_bank, rival_addresses, rival_key
from quickstart.devnet.targets import direction
from quickstart.errors import SettingsError


def target(seed: int, threshold: float) -> TargetContents:
    return TargetContents(direction(seed, 64), (), threshold, 1, 1)


def test_a_hit_is_the_closest_row_by_the_best_model() -> None:
    bank = packaged_bank().rows(0)
    for seed in range(20):
        wanted = target(seed, 1.0)
        hit = best_hit(bank, wanted, (3, 0, 2))
        losses = np.where(np.isin(np.arange(4), (3, 0, 2))[:, None], bank.losses, np.inf)
        winners = losses.argmin(axis=0)
        unit = wanted.embedding / np.linalg.norm(wanted.embedding)
        distances = [1 - float(bank.units[model, row] @ unit) for row, model in enumerate(winners)]
        best = int(np.argmin(distances))
        if distances[best] > 1.0 - SAFETY:
            assert hit is None
        else:
            assert hit is not None
            assert (hit.row, hit.model) == (best, winners[best])
            assert hit.distance == pytest.approx(distances[best], abs=1e-5)


def test_nothing_within_the_threshold_is_no_hit() -> None:
    assert best_hit(packaged_bank().rows(1), target(1, 0.01), (0, 1, 2)) is None


def test_rivals_own_different_windows_and_keys() -> None:
    banks = [packaged_bank().rows(number) for number in range(3)]
    owned = [{row.tobytes() for row in bank.checksums} for bank in banks]
    assert all(len(rows) == 160 for rows in owned)
    assert owned[0] != owned[1] != owned[2]
    assert {rival_key(0).address, rival_key(7).address} <= rival_addresses()


def test_rivals_fill_what_they_can_and_are_not_punished(start: Callable[..., Running]) -> None:
    devnet = start(rivals=2, rival_poll_seconds=0.05, targets=20, audit=True)
    state = devnet.node.state

    async def until_filled(count: int) -> None:
        while state.hits < count:  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.02)

    devnet.run(until_filled(20))
    filled = [t for _, t in state.targets() if t.status is TargetStatus.FILLED]
    assert {t.submitter for t in filled} == {rival_key(0).address, rival_key(1).address}
    assert all(0 < (t.winning_distance or 0) < t.distance_threshold for t in filled)
    devnet.run(devnet.node.advance_epoch())
    devnet.run(devnet.node.advance_epoch())
    assert not any(t.reporters for _, t in state.targets())
    assert devnet.call(lambda: state.supply() == state.minted - state.slashed)


@pytest.mark.parametrize(
    "wrong", [{"rivals": 9}, {"rivals": -1}, {"rivals": 1, "models": 2}, {"rival_poll_seconds": 0.0}]
)
def test_rivals_that_cannot_be(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match="rival"):
        DevnetConfig(**wrong)  # type: ignore[arg-type]


def test_the_child_process_gets_the_same_rivals() -> None:
    given = DevnetConfig(rivals=3, rival_poll_seconds=0.5, wrong_seed=True).arguments()
    assert {"--rivals=3", "--rival-poll=0.5", "--fault=wrong-seed"} <= set(given)
