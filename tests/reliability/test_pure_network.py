"""The network of the simulations against the real one: one chain, read and written through the real SDK and through
`PureSdk`, must look the same to the product.
"""

import asyncio
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "submission"))

from live_devnet import SOMA, LiveDevnet, new_wallet, running

from quickstart.chain.client import NetworkReader, connect
from quickstart.chain.coins import Coin
from quickstart.chain.effects import effects_from_sdk
from quickstart.chain.keys import Wallet
from quickstart.chain.outcomes import classify
from quickstart.chain.transactions import ClaimRewards, Kind, PayCoins, TransactionData, TransferCoin
from tests.campaign.pure_node import PureNode
from tests.campaign.pure_sdk import PureSdk
from tests.campaign.virtual_time import VirtualLoop


@pytest.fixture(scope="module")
def live() -> Iterator[LiveDevnet]:
    with running(targets=10, models=2) as live:
        yield live


class Both:
    """One state, behind the served devnet and behind a `PureNode`, and a wallet with coins on both."""

    def __init__(self, live: LiveDevnet) -> None:
        self.live = live
        self.wallet: Wallet = new_wallet()
        self.coins = live.fund(self.wallet.address, SOMA, 70_000, 70_000, 500)
        self.loop = VirtualLoop()
        self.pure = PureNode.on(live.node.config, live.node.state, self.loop.time)
        self.sdk = live.run(connect(live.endpoints))

    def read(self, what: str, *arguments: Any) -> tuple[Any, Any]:
        async def real() -> Any:
            return await getattr(NetworkReader(self.sdk, "http://127.0.0.1:9"), what)(*arguments)

        async def simulated() -> Any:
            return await getattr(NetworkReader(PureSdk(self.pure), "http://127.0.0.1:9"), what)(*arguments)

        self.loop.pass_time(1.0)
        return self.live.run(real()), self.loop.run(simulated())

    def send(self, kind: Kind, *gas: Coin) -> tuple[Any, Any]:
        """Effects of one transaction on both, or what its failure means."""
        transaction = TransactionData(kind, self.wallet.address, tuple(coin.ref for coin in gas))
        signed = self.wallet.sign(transaction.encode())

        async def outcome(sdk: Any) -> Any:
            try:
                return effects_from_sdk(await sdk.execute_transaction(signed))
            except RuntimeError as error:
                return classify(error)

        return self.live.run(outcome(self.sdk)), self.loop.run(outcome(PureSdk(self.pure)))


@pytest.fixture
def both(live: LiveDevnet) -> Iterator[Both]:
    both = Both(live)
    yield both
    both.loop.close()


def told(board: Any) -> Any:
    """A board as plain values; a model's address has the server's port."""
    targets = {
        t.target_id: (t.model_ids, t.distance_threshold, t.reward, t.generation_epoch) for t in board.targets.values()
    }
    models = {m.model_id: (m.owner, m.manifest.checksum, m.decryption_key, m.stake) for m in board.models.values()}
    return board.epoch, targets, models


def test_boards_coins_and_claims_read_the_same(both: Both) -> None:
    real, simulated = both.read("board")
    assert told(real) == told(simulated)
    for target_id, target in real.targets.items():
        assert np.array_equal(target.embedding, simulated.targets[target_id].embedding)
    for what, arguments in {
        "coins": (both.wallet.address,),
        "claimable": (),
        "fills_of": (both.wallet.address,),
        "coin": (both.coins[0].coin_id, both.wallet.address),
        "previous_transaction": (both.coins[0].coin_id,),
        "transaction": (b"\x01" * 32,),
    }.items():
        real, simulated = both.read(what, *arguments)
        assert sorted(real, key=repr) == sorted(simulated, key=repr) if isinstance(real, tuple) else real == simulated


def test_transactions_do_and_mean_the_same(both: Both) -> None:
    rich, second, third, poor = both.coins
    target_id = both.live.open_targets()[0]
    steps: list[tuple[Kind, tuple[Coin, ...]]] = [
        (PayCoins((rich.ref,), (70_000, 80_000), (both.wallet.address,) * 2), (rich,)),
        (both.live.submission(target_id, second), (second,)),
        (both.live.submission(target_id, third), (third,)),  # too late
        (both.live.submission(target_id, third), (third,)),  # and the same bytes again
        (ClaimRewards(target_id), (poor,)),  # cannot pay
        (TransferCoin(third.ref, 5, b"\x07" * 32), (third,)),  # a stale coin
        (TransferCoin(rich.ref, None, b"\x07" * 32), ()),  # no gas
    ]
    for kind, gas in steps:
        real, simulated = both.send(kind, *gas)
        assert _plain(real) == _plain(simulated)
        for transaction in (kind,):
            assert type(real) is type(simulated), transaction
    real, simulated = both.read("transaction", _digest(both, steps[0]))
    assert _plain(real) == _plain(simulated) and real is not None


def _digest(both: Both, step: tuple[Kind, tuple[Coin, ...]]) -> bytes:
    return TransactionData(step[0], both.wallet.address, tuple(coin.ref for coin in step[1])).digest()


def _plain(outcome: Any) -> Any:
    """Without the text of an argument the SDK itself adds."""
    text = repr(outcome)
    return re.sub(r"metadata: .*", "", text)


def test_what_is_lost_on_the_way_means_the_same(both: Both) -> None:
    kind = TransferCoin(both.coins[0].ref, 5, b"\x07" * 32)
    both.live.faults.update({"reply_lost": 1})
    both.pure.lose_replies = 1
    real, simulated = both.send(kind, both.coins[0])
    assert type(real) is type(simulated)
    assert real.cause is simulated.cause

    async def dead() -> Any:
        both.pure.dead_until = both.loop.time() + 60
        return await PureSdk(both.pure).get_latest_system_state()

    with pytest.raises(RuntimeError, match="tcp connect error"):
        both.loop.run(dead())


def test_ten_minutes_pass_in_a_moment_and_in_order() -> None:
    loop, seen = VirtualLoop(), []

    async def wait(seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append((seconds, loop.time()))

    async def main() -> None:
        await asyncio.gather(*(wait(seconds) for seconds in (600.0, 0.5, 30.0)))

    loop.run(main())
    loop.close()
    assert [seconds for seconds, _ in seen] == [0.5, 30.0, 600.0]
    assert all(abs(at - seconds) < 1e-6 for seconds, at in seen)


def test_what_waits_for_ever_is_told() -> None:
    loop = VirtualLoop()

    async def main() -> None:
        await asyncio.Event().wait()

    work = loop.create_task(main())
    with pytest.raises(RuntimeError, match="nothing is left that could wake it"):
        loop.run_until_complete(work)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(work)
    loop.close()
