"""A wallet whose money is all bonded gets it back with the small change it has left."""

from pathlib import Path

from live_devnet import BOND, LiveDevnet, office
from scoring_places import workers

from quickstart.chain.keys import Wallet
from quickstart.submission.actions import Policy
from quickstart.submission.folder_storage import FolderStorage
from quickstart.submission.premises import Network, Plan
from quickstart.submission.session import claims_only, open_session

COST = BOND + 2_200
CHANGE = 12_000
"""Pays for a claim (9,142 or less), not for another submission."""


async def claim_all(live: LiveDevnet, wallet: Wallet, folder: Path) -> dict[str, object]:
    session = await open_session(
        Network("devnet", live.endpoints),
        wallet,
        folder,
        Plan(claims_only(Policy()), epochs=0, windows=0, sources=(), command="claim"),
        lambda places: FolderStorage(places.root / "public", "http://127.0.0.1:9"),
        lambda places: workers(places.root),
        lambda progress: None,
    )
    return await session.run()


def test_bonds_come_home_also_to_an_empty_wallet(live: LiveDevnet, tmp_path: Path) -> None:
    with office(live, tmp_path / "earlier", COST + CHANGE) as own:
        live.run(own.submit(live.open_targets()[0]))
        assert [coin.balance for coin in own.outbox.pool.idle] == [CHANGE]
    for _ in range(2):
        live.next_epoch()
    told = live.run(claim_all(live, own.wallet, tmp_path / "state"))
    assert told["money"]["bond_locked_shannons"] == 0  # type: ignore[index]
    assert told["books"]["difference_shannons"] == 0  # type: ignore[index]
    assert sum(coin.balance for coin in live.chain_coins(own.wallet.address).values()) > BOND + 6_000_000
