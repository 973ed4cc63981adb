"""Asking what may not answer: nodes and Modal, each within a time limit; and when each last did."""

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from quickstart.chain.client import Endpoints, NetworkReader, connect
from quickstart.chain.identity import service_info
from quickstart.chain.ids import Id32
from quickstart.chain.lease import holder, live_holder
from quickstart.desk.accounts import ChainAnswer
from quickstart.desk.health import EpochClock, Reading, Workplace
from quickstart.errors import QuickstartError, UnreachableError
from quickstart.submission.premises import chain_folder
from quickstart.threads import unattended
from quickstart.units import SECONDS

T = TypeVar("T")
K = TypeVar("K")

CHAIN_SECONDS = 10 * SECONDS
MODAL_SECONDS = 15 * SECONDS
SEEN = "desk.json"
"""In the state folder: when each source last answered."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What came back, or why nothing did."""

    value: T | None
    trouble: str | None = None


async def ask_nodes(urls: Iterable[str]) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """Which chain each node serves: addresses by the name that chain is filed under, and what went wrong elsewhere."""
    found: dict[str, str] = {}
    troubles: list[str] = []
    for url in dict.fromkeys(urls):
        try:
            async with asyncio.timeout(CHAIN_SECONDS):
                found.setdefault(chain_folder(await service_info(url)), url)
        except TimeoutError:
            troubles.append(f"no answer from {url} within {CHAIN_SECONDS:.0f} s")
        except QuickstartError as error:
            troubles.append(str(error))
    return found, tuple(troubles)


async def ask_chain(url: str, owner: Id32) -> Answer[ChainAnswer]:
    """What a node says of a wallet's money."""
    try:
        async with asyncio.timeout(CHAIN_SECONDS):
            reader = NetworkReader(await connect(Endpoints(url)), url)
            epoch, _ = await reader.own_models(owner)
            fills = await reader.filled(owner)
            balance = sum(coin.balance for coin in await reader.coins(owner))
    except TimeoutError:
        return Answer(None, f"no answer from {url} within {CHAIN_SECONDS:.0f} s")
    except QuickstartError as error:
        return Answer(None, str(error))
    return Answer(ChainAnswer(epoch.number, epoch.start_ms, epoch.parameters, balance, fills))


async def ask_wallets(urls: Iterable[str], wallets: Mapping[K, tuple[str, Id32]]) -> dict[K, Answer[ChainAnswer]]:
    """What these nodes say of wallets, each given as the name its chain is filed under and its address."""
    served, troubles = await ask_nodes(urls)
    silence = "; ".join(troubles) or "no node of this chain was asked: name one with --rpc-url"
    return {
        key: await ask_chain(served[chain], owner) if chain in served else Answer(None, silence)
        for key, (chain, owner) in wallets.items()
    }


def clock_reading(answer: Answer[ChainAnswer], now_ms: int, last_ms: int | None) -> Reading[EpochClock]:
    """What a chain's answer of now says of its epoch; `last_ms`: when it last answered, if it did not."""
    if (value := answer.value) is None:
        return Reading("chain", last_ms, None, answer.trouble)
    ends_ms = value.epoch_start_ms + value.parameters.epoch_duration_ms
    return Reading("chain", now_ms, EpochClock(value.epoch, ends_ms))


def workplace_here(lease: Path) -> Workplace:
    """Whether somebody signs for a wallet on this machine, and when the last one began or ended."""
    try:
        last_ms: int | None = lease.stat().st_mtime_ns // 1_000_000
    except OSError:
        last_ms = None
    running = live_holder(lease)
    if running is None and (killed := holder(lease)) is not None:
        last_ms = int(killed.since * 1000)
    since_ms = int(running.since * 1000) if running else None
    return Workplace(running.describe() if running else None, since_ms, last_ms)


def begin(work: Callable[[], T], seconds: float = MODAL_SECONDS) -> Callable[[], T]:
    """Starts `work` beside everything else. What is given back waits for its result.

    Raises (what is given back):
        UnreachableError: it has not ended `seconds` after it was begun. Otherwise what `work` raised.
    """
    until = time.monotonic() + seconds
    outcome = unattended(work)

    def end() -> T:
        wait((outcome,), max(0.0, until - time.monotonic()))
        if not outcome.done():
            raise UnreachableError(f"no answer within {seconds:.0f} s")
        return outcome.result()

    return end


def recall(state: Path) -> dict[str, int]:
    """When each source last answered, ms since 1970; nothing of what cannot be read."""
    with suppress(OSError, ValueError, AttributeError, TypeError):
        return {str(name): int(at_ms) for name, at_ms in json.loads((state / SEEN).read_text()).items()}
    return {}


def remember(state: Path, answered: Mapping[str, int]) -> None:
    """Adds to what `recall` gives. A folder that cannot be written is told of by everything else."""
    draft = state / f".{SEEN}.{os.getpid()}"
    with suppress(OSError):
        draft.write_text(json.dumps({**recall(state), **answered}))
        draft.replace(state / SEEN)
