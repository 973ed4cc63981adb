"""Transfers and payments (`soma-protocol` §11.1)."""

from typing import Any

from quickstart.chain.objects import AddressOwner
from quickstart.chain.transactions import PayCoins, TransferCoin, TransferObjects
from quickstart.devnet.effects import ErrorKind, ExecutionFailed
from quickstart.devnet.staging import Staged


def transfer_coin(staged: Staged, kind: TransferCoin) -> None:
    coin_id = kind.coin.object_id
    is_gas = coin_id == staged.gas_id
    balance = staged.balance(coin_id)
    fees_to_come = staged.value_fee + staged.writing_fee(2) if is_gas else 0
    recipient = AddressOwner(kind.recipient)
    if kind.amount is not None:
        if balance < kind.amount + fees_to_come:
            raise ExecutionFailed(ErrorKind.INSUFFICIENT_COIN_BALANCE)
        if balance == kind.amount and not is_gas:
            staged.write(coin_id, staged.contents(coin_id), recipient)
            return
        staged.create_coin(kind.amount, kind.recipient)
        staged.set_balance(coin_id, balance - kind.amount)
    elif is_gas:
        if balance <= fees_to_come:
            raise ExecutionFailed(ErrorKind.INSUFFICIENT_COIN_BALANCE)
        staged.create_coin(balance - fees_to_come, kind.recipient)
        staged.set_balance(coin_id, fees_to_come)
    else:
        staged.write(coin_id, staged.contents(coin_id), recipient)


def pay_coins(staged: Staged, kind: PayCoins) -> None:
    if len(kind.amounts) != len(kind.recipients):
        raise ExecutionFailed(
            ErrorKind.INVALID_ARGUMENTS,
            f"Amounts and recipients must match. Got {len(kind.amounts)} amounts and {len(kind.recipients)} recipients",
        )
    sources = [i for i in dict.fromkeys(ref.object_id for ref in kind.coins) if i not in staged.deleted]
    available = sum(map(staged.balance, sources))
    paid = sum(kind.amounts)
    if not sources or available < paid + staged.value_fee + staged.writing_fee(1 + len(kind.recipients)):
        raise ExecutionFailed(ErrorKind.INSUFFICIENT_COIN_BALANCE)
    for amount, recipient in zip(kind.amounts, kind.recipients, strict=True):
        staged.create_coin(amount, recipient)
    keeper = staged.gas_id if staged.gas_id in sources else sources[0]
    for source in sources:
        if source != keeper:
            staged.delete(source)
    staged.set_balance(keeper, available - paid)


def transfer_objects(staged: Staged, kind: TransferObjects) -> None:
    for ref in kind.objects:
        staged.write(ref.object_id, staged.contents(ref.object_id), AddressOwner(kind.recipient))


RULES: dict[type, Any] = {TransferCoin: transfer_coin, PayCoins: pay_coins, TransferObjects: transfer_objects}
