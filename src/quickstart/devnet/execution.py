"""Executing one user transaction: input checks, gas, the kind's rule, fees and versions (`soma-protocol`
§11.1)."""

from quickstart.chain.ids import Id32, format_digest, format_id
from quickstart.chain.objects import AddressOwner
from quickstart.chain.transactions import (
    AddStakeToModel,
    ClaimRewards,
    CreateModel,
    PayCoins,
    TransactionData,
    TransferCoin,
)
from quickstart.devnet.effects import (
    ChangedObject,
    Effects,
    ErrorKind,
    ExecutionFailed,
    Failure,
    Refusal,
    RefusalCode,
    UnknownObject,
    stale,
)
from quickstart.devnet.rules import run_kind
from quickstart.devnet.staging import Staged, target_of
from quickstart.devnet.state import ChainState, Coin, StoredObject
from quickstart.units import basis_points


def check(state: ChainState, transaction: TransactionData) -> None:
    """The checks a node makes before it sequences a transaction.

    Raises:
        UnknownObject: it names an object or target nobody has seen.
        Refusal: a coin is stale, not the sender's, or there is no gas coin.
    """
    if not transaction.gas:
        raise Refusal(RefusalCode.INVALID_ARGUMENT, "Gas payment error: No gas payment provided")
    for ref in transaction.coins():
        stored = state.objects.get(ref.object_id)
        if stored is None:
            if ref.object_id not in state.deleted:
                raise UnknownObject(ref.object_id)
            raise stale(ref, state.deleted[ref.object_id])
        if stored.version != ref.version:
            raise stale(ref, stored.version)
        if stored.digest != ref.digest:
            name, digest = format_id(ref.object_id), format_digest(stored.digest)
            text = f"Invalid Object digest for object {name}. Expected digest : o#{digest}"
            raise Refusal(RefusalCode.INVALID_ARGUMENT, text)
        if stored.owner != AddressOwner(transaction.sender):
            raise Refusal(RefusalCode.INVALID_ARGUMENT, _not_the_owner(stored, transaction.sender))
    for ref in transaction.gas:
        if not isinstance(state.objects[ref.object_id].contents, Coin):
            text = f"Gas object {format_id(ref.object_id)} is not a coin"
            raise Refusal(RefusalCode.INVALID_ARGUMENT, text)
    target_id = target_of(transaction.kind)
    if target_id is not None and state.target(target_id) is None and target_id not in state.deleted:
        raise UnknownObject(target_id)


def execute(state: ChainState, transaction: TransactionData) -> Effects:
    """Executes a transaction; one that was executed before gives its first effects again.

    Raises:
        Refusal: see `check`; the state is unchanged.
    """
    digest = transaction.digest()
    if digest in state.effects:
        return state.effects[digest]
    check(state, transaction)
    staged, failure, operation_fee, base_fee = _run(state, transaction, digest)
    changed, stored_objects = staged.outputs()
    epoch = state.epoch
    value_fee = 0 if failure else staged.value_fee
    state.fees += base_fee + operation_fee + value_fee
    system_change = staged.apply(stored_objects)
    effects = _effects(staged, failure, (base_fee, operation_fee, value_fee), changed, system_change, epoch)
    state.effects[digest] = effects
    return effects


def simulate(state: ChainState, transaction: TransactionData) -> Effects:
    """The effects `execute` would have; changes nothing. They list no SystemState.

    Raises:
        Refusal: see `check`.
    """
    check(state, transaction)
    staged, failure, operation_fee, base_fee = _run(state, transaction, transaction.digest())
    changed, _ = staged.outputs()
    fees = (base_fee, operation_fee, 0 if failure else staged.value_fee)
    return _effects(staged, failure, fees, changed, None, state.epoch)


def _run(state: ChainState, transaction: TransactionData, digest: Id32) -> tuple[Staged, Failure | None, int, int]:
    """The staged outcome, the failure if any, the operation fee and the base fee."""
    staged = Staged.begin(state, transaction, digest)
    base_fee, failure = _pay_base_fee(staged)
    operation_fee = 0
    if failure is None:
        try:
            run_kind(staged)
            operation_fee = staged.writing_fee(staged.written_objects())
            staged.spend_gas(operation_fee + staged.value_fee)
        except ExecutionFailed as failed:
            failure, operation_fee = failed.failure, 0
            staged = Staged.begin(state, transaction, digest)
            _pay_base_fee(staged)
    staged.touch_inputs()
    return staged, failure, operation_fee, base_fee


def _pay_base_fee(staged: Staged) -> tuple[int, Failure | None]:
    """Merges the gas coins, fixes the value fee, takes the base fee. What this stages survives a failure."""
    for ref in staged.transaction.gas[1:]:
        staged.set_balance(staged.gas_id, staged.balance(staged.gas_id) + staged.balance(ref.object_id))
        staged.delete(ref.object_id)
    balance = staged.balance(staged.gas_id)
    base_fee = staged.parameters.base_fee
    if balance < base_fee:
        staged.delete(staged.gas_id)
        return balance, Failure(ErrorKind.INSUFFICIENT_GAS)
    staged.value_fee = _value_fee(staged)
    staged.spend_gas(base_fee)
    return base_fee, None


def _value_fee(staged: Staged) -> int:
    """The fee on what a transaction moves; rates by kind in §11.1's table."""
    rate = staged.parameters.value_fee_bps
    kind = staged.transaction.kind
    if isinstance(kind, TransferCoin):
        return basis_points(_moved(staged, kind), rate)
    if isinstance(kind, PayCoins):
        return basis_points(sum(kind.amounts), rate)
    if isinstance(kind, CreateModel):
        return basis_points(kind.stake, rate // 2)
    if isinstance(kind, AddStakeToModel):
        return basis_points(_moved(staged, kind), rate // 2)
    if isinstance(kind, ClaimRewards):
        target = staged.state.target(kind.target_id)
        return basis_points(target.reward, rate // 2) if target else 0
    return 0


def _moved(staged: Staged, kind: TransferCoin | AddStakeToModel) -> int:
    if kind.amount is not None:
        return kind.amount
    if kind.coin.object_id in staged.deleted:
        return 0
    contents = staged.contents(kind.coin.object_id)
    return contents.balance if isinstance(contents, Coin) else 0


def _effects(
    staged: Staged,
    failure: Failure | None,
    fees: tuple[int, int, int],
    changed: list[ChangedObject],
    system_change: ChangedObject | None,
    epoch: int,
) -> Effects:
    listed = sorted([*changed, *([system_change] if system_change else [])], key=lambda c: c.object_id)
    gas_index = next((i for i, change in enumerate(listed) if change.object_id == staged.gas_id), None)
    base_fee, operation_fee, value_fee = fees
    return Effects(
        digest=staged.digest,
        epoch=epoch,
        failure=failure,
        base_fee=base_fee,
        operation_fee=operation_fee,
        value_fee=value_fee,
        version=staged.version,
        gas_index=gas_index,
        changed=tuple(listed),
    )


def _not_the_owner(stored: StoredObject, sender: Id32) -> str:
    owner = stored.owner
    holder = f"account address {format_id(owner.address)}" if isinstance(owner, AddressOwner) else "everybody"
    return (
        f"Transaction was not signed by the correct sender: Object {format_id(stored.object_id)} is owned by "
        f"{holder}, but given owner/signer address is {format_id(sender)}"
    )
