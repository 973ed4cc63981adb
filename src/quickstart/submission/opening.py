"""What happens before the first decision of a run: the first board, the coins, the bank's new windows."""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack

from quickstart.bank import Bank
from quickstart.bank.filling import add_new_windows
from quickstart.chain.board import Board
from quickstart.chain.client import NetworkReader
from quickstart.chain.coins import CoinPool
from quickstart.chain.ids import format_id
from quickstart.chain.keys import Wallet
from quickstart.data.filters import FilterCounts
from quickstart.data.window import WINDOW_BYTES, SourcePlan
from quickstart.errors import FundsError, UsageError
from quickstart.executors.base import Executor
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.writer import LedgerWriter
from quickstart.submission.board_watch import INDEX_LAG_SECONDS
from quickstart.submission.premises import Network, Places, Plan
from quickstart.submission.reconcile import reconcile
from quickstart.submission.scoring_desk import ScoringDesk
from quickstart.units import format_soma

SHARD_WINDOWS = 40
"""Windows per unit of scoring: about a second of one core with the small models."""


async def first_board(reader: NetworkReader, network: Network, *, may_advance: bool) -> Board:
    """The board now. A network of our own that has no targets yet is taken to its first epoch with some.

    Raises:
        UsageError: see `refuse_other_width`.
    """
    board = await reader.board()
    if may_advance and network.advance_epoch is not None and not board.targets and board.models:
        # Listings lag: an epoch that has just begun has targets that do not show yet, and a reveal may be due in it.
        await asyncio.sleep(INDEX_LAG_SECONDS)
        board = await reader.board()
        if not board.targets:
            await network.advance_epoch()
            await asyncio.sleep(INDEX_LAG_SECONDS)
            board = await reader.board()
    refuse_other_width(board, network.endpoints.rpc)
    return board


def refuse_other_width(board: Board, rpc_url: str) -> None:
    """A network whose targets have a width that no model has cannot be submitted to.

    Raises:
        UsageError: naming both widths.
    """
    widths = sorted({len(model.embedding) for model in board.models.values()})
    if board.targets and board.width not in widths:
        raise UsageError(
            f"the targets of {rpc_url} have width {board.width}, its models {widths or 'do not exist'}: "
            "nothing can be submitted there; name another network with --network or --rpc-url"
        )


async def open_coins(
    reader: NetworkReader, writer: LedgerWriter, wallet: Wallet, network: Network, plan: Plan, board: Board
) -> CoinPool:
    """The wallet's coins as the chain has them; a faucet's too where there is one and they are too few for the lanes.

    Raises:
        FundsError: they do not pay for one submission, and no bond is out that could come back.
    """
    needed = board.epoch.parameters.submission_cost(WINDOW_BYTES)
    coins = await reconcile(reader, writer, wallet.address, board.epoch.number)
    if sum(coin.balance for coin in coins) < needed * plan.policy.lanes and network.faucet is not None:
        await network.faucet()
        await asyncio.sleep(INDEX_LAG_SECONDS)
        coins = await reconcile(reader, writer, wallet.address, board.epoch.number)
    balance = sum(coin.balance for coin in coins)
    if plan.epochs and balance < needed and not writer.ledger.bond_outstanding():
        raise FundsError(
            f"{format_id(wallet.address)} holds {format_soma(balance)}, one submission needs {format_soma(needed)} "
            "for bond and fees: send SOMA to that address"
        )
    return CoinPool(coins)


async def open_desk(
    stack: ExitStack,
    places: Places,
    plan: Plan,
    make_executor: Callable[[Places], Executor],
    ledger: Ledger,
    stopped: Callable[[], bool],
) -> tuple[ScoringDesk, FilterCounts]:
    """The bank with this run's windows in it, and what scores them; `stack` closes both. No more windows are cut once
    the run is `stopped`."""
    bank = Bank(places.bank)
    counts = await asyncio.to_thread(fill_bank, bank, plan, stopped)
    executor = stack.enter_context(make_executor(places))
    desk = ScoringDesk(bank, executor, ledger.weights_names(), ledger.scoring(), plan.seed)
    stack.callback(desk.close)
    return desk, counts


def fill_bank(bank: Bank, plan: Plan, stopped: Callable[[], bool] = lambda: False) -> FilterCounts:
    """Cuts the run's new windows from the sources in turn, and adds them to the bank shard by shard.

    Raises:
        SourceError: no source has a usable window, or one is in trouble that time may mend.
    """
    order = SourcePlan(plan.seed)
    return add_new_windows(bank, plan.sources, plan.windows, order, SHARD_WINDOWS, plan.filters, stopped)
