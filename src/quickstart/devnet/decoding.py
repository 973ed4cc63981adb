"""BCS bytes of a transaction back to a value: the inverse of `TransactionData.encode` (`soma-protocol`
§3)."""

from collections.abc import Callable

from quickstart.chain.bcs import Reader
from quickstart.chain.ids import Id32
from quickstart.chain.transactions import (
    AddStakeToModel,
    ClaimRewards,
    CommitModel,
    CreateModel,
    DeactivateModel,
    Kind,
    Manifest,
    ObjectRef,
    OtherKind,
    PayCoins,
    ReportModel,
    ReportSubmission,
    RevealModel,
    SetModelCommissionRate,
    SubmitData,
    TransactionData,
    TransferCoin,
    TransferObjects,
    UndoReportModel,
    UndoReportSubmission,
)

_NAMES_ONE_ID = {
    kind.index: kind
    for kind in (
        DeactivateModel,
        ReportModel,
        UndoReportModel,
        ClaimRewards,
        ReportSubmission,
        UndoReportSubmission,
    )
}
_ADD_STAKE, _WITHDRAW_STAKE = 12, 13


def decode_transaction(encoded: bytes) -> TransactionData:
    """The transaction whose `encode()` is `encoded`.

    Raises:
        ValueError: not BCS of a transaction of a known kind.
    """
    read = _TransactionReader(encoded)
    if read.u8() != 0:
        raise ValueError("unknown version of TransactionData")
    kind = read.kind()
    transaction = TransactionData(kind, read.id(), tuple(read.vector(read.object_ref)))
    read.finish()
    return transaction


class _TransactionReader(Reader):
    def id(self) -> Id32:
        return self.take(32)

    def object_ref(self) -> ObjectRef:
        return ObjectRef(self.id(), self.u64(), self.byte_string())

    def manifest(self) -> Manifest:
        self.uleb128()
        url = self.string()
        self.uleb128()
        return Manifest(url, self.byte_string(), self.u64())

    def kind(self) -> Kind:
        index = self.uleb128()
        if index in _NAMES_ONE_ID:
            return _NAMES_ONE_ID[index](self.id())
        readers: dict[int, Callable[[], Kind]] = {
            TransferCoin.index: self._transfer_coin,
            PayCoins.index: self._pay_coins,
            TransferObjects.index: lambda: TransferObjects(tuple(self.vector(self.object_ref)), self.id()),
            CreateModel.index: lambda: CreateModel(self.u64(), self.u64(), self.u64()),
            CommitModel.index: self._commit_model,
            RevealModel.index: lambda: RevealModel(self.id(), self.byte_string(), self.tensor()),
            AddStakeToModel.index: self._add_stake_to_model,
            SetModelCommissionRate.index: lambda: SetModelCommissionRate(self.id(), self.u64()),
            SubmitData.index: self._submit_data,
        }
        return readers[index]() if index in readers else self._other(index)

    def _add_stake_to_model(self) -> AddStakeToModel:
        return AddStakeToModel(self.id(), self.object_ref(), self.option(self.u64))

    def _transfer_coin(self) -> TransferCoin:
        return TransferCoin(self.object_ref(), self.option(self.u64), self.id())

    def _pay_coins(self) -> PayCoins:
        coins = tuple(self.vector(self.object_ref))
        amounts = self.option(lambda: self.vector(self.u64)) or []
        return PayCoins(coins, tuple(amounts), tuple(self.vector(self.id)))

    def _commit_model(self) -> CommitModel:
        model_id, manifest = self.id(), self.manifest()
        return CommitModel(model_id, manifest, self.byte_string(), self.byte_string(), self.byte_string())

    def _submit_data(self) -> SubmitData:
        target_id, manifest, model_id = self.id(), self.manifest(), self.id()
        embedding, distance, loss = self.tensor(), self.tensor(), self.tensor()
        losses = tuple(float(value) for value in loss)
        return SubmitData(target_id, manifest, model_id, embedding, float(distance[0]), losses, self.object_ref())

    def _other(self, index: int) -> OtherKind:
        """Kinds that are kept as bytes: read once to find where they end."""
        start = self._at
        coins: tuple[ObjectRef, ...] = ()
        if index in (3, 4, 7):
            fields = {3: 8, 4: 1, 7: 8}[index]
            for _ in range(fields):
                self.option(self.byte_string) if index == 7 else self.byte_string()
        elif index in (5, 6):
            self.id()
        elif index == 8:
            self.u64()
        elif index == _ADD_STAKE:
            self.id()
            coins = (self.object_ref(),)
            self.option(self.u64)
        elif index == _WITHDRAW_STAKE:
            coins = (self.object_ref(),)
        else:
            raise ValueError(f"unknown transaction kind {index}")
        return OtherKind(index, self._data[start : self._at], coins)
