"""Our bytes are the SDK's bytes: what its convenience calls sign and send, read into our values and encoded again.

The devnet reads the SDK's protobuf transaction into our dataclasses, encodes them with our BCS and checks the SDK's
signature over the hash of that: a valid signature proves that our encoding and the SDK's agree to the last byte.
"""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from served_devnet import Served, served
from soma_sdk import Keypair

from quickstart.chain import bcs
from quickstart.chain.effects import effects_from_sdk
from quickstart.chain.ids import Id32, blake2b_256, derive_id, format_id, parse_digest, parse_id
from quickstart.chain.transactions import (
    AddStakeToModel,
    ClaimRewards,
    CommitModel,
    CreateModel,
    DeactivateModel,
    PayCoins,
    ReportSubmission,
    RevealModel,
    SetModelCommissionRate,
    SubmitData,
    TransactionData,
    TransferCoin,
)
from quickstart.devnet.decoding import decode_transaction
from quickstart.devnet.keys import signature_is_valid

SOMA = 1_000_000_000
WIDTH = 64
ROUNDS = 8


@pytest.fixture(scope="module")
def devnet() -> Iterator[Served]:
    with served(targets=30, models=1) as running:
        yield running


class Recorder:
    """What reaches the node, on its way to being executed."""

    def __init__(self, devnet: Served) -> None:
        self.devnet = devnet
        self.sent: list[tuple[TransactionData, bytes, bytes]] = []
        self._submit = devnet.node.submit

    async def submit(self, transaction: TransactionData, signature: bytes, public_key: bytes) -> Any:
        self.sent.append((transaction, signature, public_key))
        return await self._submit(transaction, signature, public_key)

    def __enter__(self) -> "Recorder":
        self.devnet.node.submit = self.submit  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        self.devnet.node.submit = self._submit  # type: ignore[method-assign]


class Person:
    """Somebody with a key and the SDK, whose every transaction is compared."""

    def __init__(self, devnet: Served, recorder: Recorder, secret: bytes) -> None:
        self.devnet, self.recorder = devnet, recorder
        self.key = Keypair.from_secret_key(secret)
        self.address = parse_id(self.key.address())
        self.sdk = devnet.client()
        devnet.fund(self.address, 50 * SOMA, 50 * SOMA, 3 * SOMA)

    def call(self, name: str, *arguments: Any, fails: bool = False) -> TransactionData:
        """One convenience call; the transaction it sent, after all comparisons."""
        self.recorder.sent.clear()
        digest: Id32 | None = None

        async def convenience() -> Any:
            return await getattr(self.sdk, name)(self.key, *arguments)

        if fails:
            with pytest.raises(RuntimeError, match="Transaction failed"):
                self.devnet.run(convenience())
        else:
            self.devnet.run(convenience())
        ((transaction, signature, public_key),) = self.recorder.sent
        encoded = transaction.encode()
        assert transaction.sender == self.address
        assert signature_is_valid(transaction, signature, public_key)
        decoded = decode_transaction(encoded)
        assert type(decoded.kind) is type(transaction.kind)
        assert (decoded.sender, decoded.gas, decoded.encode()) == (transaction.sender, transaction.gas, encoded)
        digest = transaction.digest()
        assert digest in self.devnet.node.state.effects
        self._same_again(encoded, digest)
        return transaction

    def _same_again(self, encoded: bytes, digest: Id32) -> None:
        """Our bytes through the SDK's own decoder: the same transaction, so its first effects."""
        before = len(self.devnet.node.state.effects)

        async def execute() -> Any:
            return await self.sdk.execute_transaction(bytes(self.key.sign(encoded)))

        effects = effects_from_sdk(self.devnet.run(execute()))
        assert effects.digest == digest
        assert len(self.devnet.node.state.effects) == before


def test_every_convenience_call_encodes_as_we_do(devnet: Served) -> None:
    dice = random.Random(20)
    with Recorder(devnet) as recorder:
        for number in range(ROUNDS):
            person = Person(devnet, recorder, bytes([40 + number]) * 32)
            _coins(person, dice)
            _model(person, dice, failing=number == 0)
            _targets(person, dice)


def _coins(person: Person, dice: random.Random) -> None:
    recipient = dice.randbytes(32)
    shannons = dice.randrange(1, SOMA)
    kind = person.call("transfer_coin", recipient.hex(), shannons / SOMA).kind
    assert isinstance(kind, TransferCoin)
    assert (kind.amount, kind.recipient) == (shannons, recipient)

    recipients = [dice.randbytes(32) for _ in range(dice.randrange(1, 6))]
    amounts = [dice.randrange(1, SOMA) for _ in recipients]
    kind = person.call("pay_coins", [r.hex() for r in recipients], [amount / SOMA for amount in amounts]).kind
    assert isinstance(kind, PayCoins)
    assert (kind.amounts, kind.recipients) == (tuple(amounts), tuple(recipients))

    transaction = person.call("merge_coins")
    assert isinstance(transaction.kind, TransferCoin)
    assert (transaction.kind.amount, transaction.kind.recipient) == (None, person.address)
    assert transaction.kind.coin not in transaction.gas
    person.devnet.fund(person.address, 50 * SOMA, 50 * SOMA)


def _model(person: Person, dice: random.Random, failing: bool) -> None:
    commission, stake = dice.randrange(10_001), dice.randrange(SOMA, 3 * SOMA)
    created = person.call("create_model", commission, stake / SOMA)
    assert isinstance(created.kind, CreateModel)
    assert created.kind == CreateModel(stake, commission, 1)
    model_id = derive_id(created.digest(), 0)

    weights, key = dice.randbytes(dice.randrange(1, 3000)), dice.randbytes(32)
    embedding = np.array([dice.gauss(0, 1) for _ in range(WIDTH)], np.float32)
    url = f"https://h.example/{dice.randrange(10**6)}/weights"
    commit = person.call(
        "commit_model", format_id(model_id), url, weights, _base58(key), [float(x) for x in embedding]
    ).kind
    assert isinstance(commit, CommitModel)
    assert commit.model_id == model_id
    manifest = commit.manifest
    assert (manifest.url, manifest.checksum, manifest.size) == (url, blake2b_256(weights), len(weights))
    assert commit.key_commitment == blake2b_256(key)
    assert commit.embedding_commitment == blake2b_256(bcs.tensor(embedding))

    if not failing:
        person.devnet.run(person.devnet.node.advance_epoch())
    reveal = person.call(
        "reveal_model", format_id(model_id), _base58(key), [float(x) for x in embedding], fails=failing
    ).kind
    assert isinstance(reveal, RevealModel)
    assert (reveal.model_id, reveal.decryption_key) == (model_id, key)
    np.testing.assert_array_equal(reveal.embedding, embedding)

    amount = dice.randrange(1, SOMA)
    staked = person.call("add_stake_to_model", format_id(model_id), amount / SOMA).kind
    assert isinstance(staked, AddStakeToModel)
    assert (staked.model_id, staked.amount) == (model_id, amount)
    rate = dice.randrange(10_001)
    changed = person.call("set_model_commission_rate", format_id(model_id), rate, fails=failing).kind
    assert changed == SetModelCommissionRate(model_id, rate)
    assert person.call("deactivate_model", format_id(model_id), fails=failing).kind == DeactivateModel(model_id)


def _targets(person: Person, dice: random.Random) -> None:
    state = person.devnet.node.state
    target_id, target = min(
        (item for item in state.targets() if item[1].submitter is None and item[1].generation_epoch == state.epoch),
        key=lambda item: item[0],
    )
    data = dice.randbytes(dice.randrange(1, 2000))
    embedding = np.array([dice.gauss(0, 1) for _ in range(WIDTH)], np.float32)
    distance, loss = dice.random(), [dice.uniform(0, 6) for _ in range(dice.randrange(1, 4))]
    url = f"https://h.example/{dice.randrange(10**9)}"
    kind = person.call(
        "submit_data",
        format_id(target_id),
        data,
        url,
        format_id(target.model_ids[0]),
        embedding.tolist(),
        distance,
        loss,
    ).kind
    assert isinstance(kind, SubmitData)
    assert (kind.target_id, kind.model_id) == (target_id, target.model_ids[0])
    assert (kind.manifest.url, kind.manifest.checksum, kind.manifest.size) == (url, blake2b_256(data), len(data))
    np.testing.assert_array_equal(kind.embedding, embedding)
    assert kind.distance == np.float32(distance)
    assert kind.loss == tuple(float(np.float32(value)) for value in loss)

    reported = person.call("report_submission", format_id(target_id), fails=True).kind
    assert reported == ReportSubmission(target_id)
    claimed = person.call("claim_rewards", format_id(target_id), fails=True).kind
    assert claimed == ClaimRewards(target_id)
    for _ in range(2):
        person.devnet.run(person.devnet.node.advance_epoch())
    assert person.call("claim_rewards", format_id(target_id)).kind == ClaimRewards(target_id)


def _base58(raw: bytes) -> str:
    from quickstart.chain.ids import format_digest

    text = format_digest(raw)
    assert parse_digest(text) == raw
    return text
