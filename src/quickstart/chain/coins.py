"""Our coins: which exist, what they hold, which are named by a transaction in flight.

New versions and digests come from effects, never from a listing (which lags). Effects carry no balances: they follow
from the rules, and rebuilding the object digest from the predicted balance proves the prediction (`soma-protocol` §16).
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from quickstart.chain.effects import Effects
from quickstart.chain.ids import Id32
from quickstart.chain.objects import coin_digest
from quickstart.chain.transactions import ObjectRef


@dataclass(frozen=True, slots=True)
class Coin:
    """One version of one coin of ours; `balance` in shannons."""

    ref: ObjectRef
    balance: int

    @property
    def coin_id(self) -> Id32:
        return self.ref.object_id


@dataclass(frozen=True, slots=True)
class CoinChanges:
    """What a transaction did to our coins. `unproven`: coins whose new balance no prediction explains; read them."""

    written: tuple[Coin, ...]
    gone: frozenset[Id32]
    unproven: frozenset[Id32]


def proven_changes(effects: Effects, owner: Id32, candidates: Mapping[Id32, Iterable[int]]) -> CoinChanges:
    """Our coins after a transaction, each balance proven by the object digest the effects state.

    `candidates`: per coin id the balances the rules allow, the likeliest first. Objects of ours that no candidate
    explains are `unproven` (they may not even be coins).
    """
    written: list[Coin] = []
    unproven: set[Id32] = set()
    for change in effects.owned_by(owner):
        if change.digest is None:
            continue
        for balance in candidates.get(change.object_id, ()):
            if balance >= 0 and _digest(effects, owner, change.object_id, balance) == change.digest:
                written.append(Coin(ObjectRef(change.object_id, effects.version, change.digest), balance))
                break
        else:
            unproven.add(change.object_id)
    return CoinChanges(tuple(written), effects.deleted(), frozenset(unproven))


def _digest(effects: Effects, owner: Id32, coin_id: Id32, balance: int) -> Id32:
    return coin_digest(coin_id, balance, effects.version, owner, effects.digest)


class CoinPool:
    """The coins of one wallet, each either idle or reserved by one transaction in flight."""

    def __init__(self, coins: Iterable[Coin] = ()) -> None:
        self._idle: dict[Id32, Coin] = {coin.coin_id: coin for coin in coins}
        self._reserved: dict[Id32, Coin] = {}

    @property
    def idle(self) -> tuple[Coin, ...]:
        """Coins free to use, richest first."""
        return tuple(sorted(self._idle.values(), key=lambda coin: (-coin.balance, coin.coin_id)))

    @property
    def reserved(self) -> frozenset[Id32]:
        return frozenset(self._reserved)

    @property
    def balance(self) -> int:
        """Shannons in all coins, reserved ones at their balance before the transaction that holds them."""
        return sum(coin.balance for coins in (self._idle, self._reserved) for coin in coins.values())

    def reserve(self, at_least: int) -> Coin | None:
        """The smallest idle coin of `at_least` shannons, now reserved; None when there is none."""
        enough = [coin for coin in self._idle.values() if coin.balance >= at_least]
        if not enough:
            return None
        coin = min(enough, key=lambda coin: (coin.balance, coin.coin_id))
        self.hold((coin,))
        return coin

    def hold(self, coins: Collection[Coin]) -> bool:
        """Reserves exactly these coins, or none and False when one of them is not idle as it is given here."""
        if any(self._idle.get(coin.coin_id) != coin for coin in coins):
            return False
        for coin in coins:
            del self._idle[coin.coin_id]
            self._reserved[coin.coin_id] = coin
        return True

    def release(self, coins: Iterable[Coin]) -> None:
        """Gives back coins whose transaction did not happen."""
        for coin in coins:
            self._reserved.pop(coin.coin_id, None)
            self._idle[coin.coin_id] = coin

    def settle(self, spent: Iterable[Id32], changes: CoinChanges) -> None:
        """Replaces the coins a transaction named or touched by what it left of them."""
        for coin_id in (*spent, *changes.gone):
            self._reserved.pop(coin_id, None)
            self._idle.pop(coin_id, None)
        for coin in changes.written:
            self._idle[coin.coin_id] = coin

    def adopt(self, coin: Coin) -> None:
        """Adds a coin read from the node: new to us, or newer than what we knew."""
        if coin.coin_id not in self._reserved:
            self._idle[coin.coin_id] = coin

    def drop(self, coin_id: Id32) -> None:
        """Forgets a coin the node no longer has."""
        self._idle.pop(coin_id, None)
        self._reserved.pop(coin_id, None)
