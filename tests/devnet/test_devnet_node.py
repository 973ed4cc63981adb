"""How a node behaves around execution (`soma-protocol` §7.1, §16): resending, locks, lag, hanging, faults."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from conftest import ANY_PORT, Running
from soma_sdk import Keypair, SomaClient

from quickstart.chain.ids import Id32, format_digest, format_id, parse_id
from quickstart.chain.objects import TargetStatus
from quickstart.chain.transactions import (
    Kind,
    Manifest,
    ObjectRef,
    PayCoins,
    SubmitData,
    TransactionData,
    TransferCoin,
)
from quickstart.devnet.config import DevnetConfig
from quickstart.devnet.genesis import RIVAL, genesis
from quickstart.devnet.index import Index
from quickstart.devnet.inputs import FaucetRequest, apply
from quickstart.devnet.keys import devnet_key
from quickstart.wire import soma_pb2 as pb

SOMA = 10**9
UNKNOWN_SECONDS = 0.4


@pytest.fixture(scope="module")
def devnet(start: Callable[..., Running]) -> Running:
    return start(audit=False, unknown_object_seconds=UNKNOWN_SECONDS)


@pytest.fixture(autouse=True)
def no_faults(devnet: Running) -> None:
    names = devnet.server.faults.as_dict()
    defaults = type(devnet.server.faults)().as_dict()
    assert names.keys() == defaults.keys()
    devnet.server.faults.update({**defaults, "freeze_seconds": 0.0})


class Wallet:
    """A funded key that builds its own bytes."""

    def __init__(self, devnet: Running, *amounts: int) -> None:
        self.devnet = devnet
        self.keypair = Keypair.generate()
        self.address = parse_id(self.keypair.address())
        devnet.fund(self.keypair, *amounts)

    def coin(self, position: int = -1) -> ObjectRef:
        return self.devnet.node.state.coins(self.address)[position].ref

    def signed(self, kind: Kind, *gas: ObjectRef) -> bytes:
        transaction = TransactionData(kind, self.address, gas or (self.coin(),))
        return bytes(self.keypair.sign(transaction.encode()))

    def submission(self, target_id: Id32, coin: ObjectRef) -> SubmitData:
        target = self.devnet.node.state.target(target_id)
        embedding = target.embedding if target else np.zeros(64, np.float32)
        model_id = target.model_ids[0] if target else b"m" * 32
        manifest = Manifest("http://127.0.0.1:9/d", b"d" * 32, 100)
        return SubmitData(target_id, manifest, model_id, embedding, 0.5, (1.0,), coin)


def open_targets(devnet: Running) -> list[Id32]:
    state = devnet.node.state
    return [i for i, t in state.targets() if t.status is TargetStatus.OPEN and t.generation_epoch == state.epoch]


def on(devnet: Running, work: Callable[[SomaClient], Awaitable[None]]) -> None:
    async def main() -> None:
        await work(await devnet.client())

    asyncio.run(main())


def digest_of(effects: Any) -> str:
    return str(effects.V1.transaction_digest)


def test_the_same_bytes_again_give_the_first_effects(devnet: Running) -> None:
    async def work(client: SomaClient) -> None:
        wallet = Wallet(devnet, SOMA)
        signed = wallet.signed(TransferCoin(wallet.coin(), 1, b"\x01" * 32))
        first = await client.execute_transaction(signed)
        again = await client.execute_transaction(signed)
        assert str(again) == str(first)
        assert devnet.node.state.balance(wallet.address) == SOMA - 1 - first.V1.transaction_fee.total_fee

    on(devnet, work)


def test_the_same_bytes_twice_at_once_execute_once(devnet: Running) -> None:
    async def work(client: SomaClient) -> None:
        devnet.server.faults.latency_seconds = 0.2
        wallet, other = Wallet(devnet, SOMA), await devnet.client()
        signed = wallet.signed(TransferCoin(wallet.coin(), 1, b"\x01" * 32))
        first, second = await asyncio.gather(client.execute_transaction(signed), other.execute_transaction(signed))
        assert digest_of(first) == digest_of(second)

    on(devnet, work)


def test_a_digest_is_known_before_sending_and_settles_an_outcome(devnet: Running) -> None:
    async def work(client: SomaClient) -> None:
        wallet = Wallet(devnet, SOMA)
        transaction = TransactionData(TransferCoin(wallet.coin(), 1, b"\x01" * 32), wallet.address, (wallet.coin(),))
        effects = await client.execute_transaction(bytes(wallet.keypair.sign(transaction.encode())))
        assert digest_of(effects) == format_digest(transaction.digest())
        assert (await client.get_transaction(format_digest(transaction.digest()))).V1.status == "Success"

    on(devnet, work)


def test_a_failure_is_a_value(devnet: Running) -> None:
    async def work(client: SomaClient) -> None:
        wallet = Wallet(devnet, SOMA, SOMA)
        target_id = open_targets(devnet)[0]
        for position, status in ((0, "Success"), (1, "TargetNotOpen")):
            coin = devnet.node.state.coins(wallet.address)[1 - position].ref
            effects = await client.execute_transaction(wallet.signed(wallet.submission(target_id, coin), coin))
            assert status in str(effects.V1.status)

    on(devnet, work)


async def _stale(wallet: Wallet, client: SomaClient) -> bytes:
    coin = wallet.coin()
    await client.execute_transaction(wallet.signed(TransferCoin(coin, 1, b"\x01" * 32), coin))
    return wallet.signed(TransferCoin(coin, 2, b"\x01" * 32), coin)


async def _wrong_signature(wallet: Wallet, client: SomaClient) -> bytes:
    signed = bytearray(wallet.signed(TransferCoin(wallet.coin(), 1, b"\x01" * 32)))
    signed[-60] ^= 1
    return bytes(signed)


async def _wrong_sender(wallet: Wallet, client: SomaClient) -> bytes:
    transaction = TransactionData(TransferCoin(wallet.coin(), 1, b"\x01" * 32), wallet.address, (wallet.coin(),))
    return bytes(Keypair.generate().sign(transaction.encode()))


async def _foreign_coin(wallet: Wallet, client: SomaClient) -> bytes:
    other = Wallet(wallet.devnet, SOMA)
    return wallet.signed(TransferCoin(other.coin(), 1, b"\x01" * 32), other.coin())


async def _unknown_target(wallet: Wallet, client: SomaClient) -> bytes:
    return wallet.signed(wallet.submission(b"\x77" * 32, wallet.coin()))


@pytest.mark.parametrize(
    ("make", "code", "text"),
    [
        (_stale, "InvalidArgument", "is not available for consumption, its current version: Version(2)"),
        (_wrong_signature, "InvalidArgument", "Invalid user signature: Signature is not valid"),
        (_wrong_sender, "InvalidArgument", "Invalid user signature: Required Signature from"),
        (_foreign_coin, "InvalidArgument", "Transaction was not signed by the correct sender"),
        (_unknown_target, "Unavailable", "timed out before finality could be reached"),
    ],
)
def test_refusals_as_the_sdk_words_them(
    devnet: Running, make: Callable[[Wallet, SomaClient], Awaitable[bytes]], code: str, text: str
) -> None:
    async def work(client: SomaClient) -> None:
        wallet = Wallet(devnet, SOMA)
        signed = await make(wallet, client)
        balance = devnet.node.state.balance(wallet.address)
        with pytest.raises(RuntimeError, match=f"status: {code}, message: ") as error:
            await client.execute_transaction(signed)
        assert text in str(error.value)
        assert devnet.node.state.balance(wallet.address) == balance

    on(devnet, work)


def test_an_unknown_target_hangs_first(devnet: Running) -> None:
    async def work(client: SomaClient) -> None:
        wallet = Wallet(devnet, SOMA)
        started = time.monotonic()
        with pytest.raises(RuntimeError, match="Could not find the referenced object 0x77"):
            await client.execute_transaction(wallet.signed(wallet.submission(b"\x77" * 32, wallet.coin())))
        assert time.monotonic() - started >= UNKNOWN_SECONDS

    on(devnet, work)


def test_one_coin_version_in_two_transactions_at_once(devnet: Running) -> None:
    async def work(client: SomaClient) -> None:
        devnet.server.faults.latency_seconds = 0.3
        wallet = Wallet(devnet, SOMA)
        coin = wallet.coin()
        clients = [await devnet.client() for _ in range(4)]
        results = await asyncio.gather(
            *(
                other.execute_transaction(wallet.signed(TransferCoin(coin, 1 + n, b"\x01" * 32), coin))
                for n, other in enumerate(clients)
            ),
            return_exceptions=True,
        )
        refused = [str(result) for result in results if isinstance(result, Exception)]
        assert len(refused) == 3
        assert all("status: FailedPrecondition" in text for text in refused)
        assert all("already locked by a different transaction: TransactionDigest(" in text for text in refused)
        # The coin works again afterwards.
        devnet.server.faults.latency_seconds = 0.0
        await client.execute_transaction(wallet.signed(TransferCoin(wallet.coin(), 9, b"\x01" * 32)))

    on(devnet, work)


def test_transactions_wait_side_by_side(devnet: Running) -> None:
    async def work(client: SomaClient) -> None:
        devnet.server.faults.latency_seconds = 0.5
        wallet = Wallet(devnet, *[SOMA] * 6)
        coins = [stored.ref for stored in devnet.node.state.coins(wallet.address)]
        clients = [await devnet.client() for _ in coins]
        started = time.monotonic()
        results = await asyncio.gather(
            *(
                other.execute_transaction(wallet.signed(wallet.submission(target, coin), coin))
                for other, target, coin in zip(clients, open_targets(devnet), coins, strict=False)
            )
        )
        assert [result.V1.status for result in results] == ["Success"] * 6
        # Far below six times the latency, also on a busy machine.
        assert time.monotonic() - started < 2.0

    on(devnet, work)


def test_listings_lag_and_objects_do_not(start: Callable[..., Running]) -> None:
    lagging = start(audit=False, index_lag_seconds=60.0)

    async def work(client: SomaClient) -> None:
        wallet = Wallet(lagging, SOMA)
        coin = wallet.coin()
        effects = await client.execute_transaction(
            wallet.signed(wallet.submission(open_targets(lagging)[0], coin), coin)
        )
        assert (await client.get_object(format_id(coin.object_id))).version == effects.V1.version
        with pytest.raises(RuntimeError, match="NotFound"):
            await client.get_transaction(digest_of(effects))
        assert (await client.list_targets(status="filled")).targets == []
        assert await client.get_balance(wallet.keypair.address()) == 0
        assert await client.list_owned_objects(wallet.keypair.address()) == []

    on(lagging, work)


def test_the_index_shows_a_change_exactly_when_its_lag_is_over() -> None:
    state = genesis(DevnetConfig(models=0), b"\x01" * 32, 0)
    index = Index(lag_seconds=0.3)
    index.load(state, ())
    applied = apply(state, FaucetRequest(0, b"\x02" * 32, 5, 2))
    index.record(10.0, state, 1, applied)
    assert index.owned(10.29, b"\x02" * 32) == []
    assert index.transaction(10.29, applied.digest) is None
    assert [stored.object_id for stored in index.owned(10.31, b"\x02" * 32)] == sorted(applied.object_ids)
    assert index.transaction(10.31, applied.digest) == (applied, 1)


def test_a_full_node_that_goes_on_after_a_lost_reply(devnet: Running) -> None:
    async def work(client: SomaClient) -> None:
        wallet = Wallet(devnet, SOMA)
        signed = wallet.signed(TransferCoin(wallet.coin(), 1, b"\x01" * 32))
        devnet.server.faults.reply_lost = 1
        with pytest.raises(RuntimeError):
            await client.execute_transaction(signed)
        assert devnet.node.state.balance(wallet.address) < SOMA
        # The same bytes again settle it; over a new connection, since a client may be slow to give up its lost one.
        again = await devnet.client()
        assert (await again.execute_transaction(signed)).V1.status == "Success"

    on(devnet, work)


def test_a_stolen_target(devnet: Running) -> None:
    async def work(client: SomaClient) -> None:
        wallet = Wallet(devnet, SOMA)
        devnet.server.faults.target_stolen = 1
        target_id = open_targets(devnet)[0]
        effects = await client.execute_transaction(wallet.signed(wallet.submission(target_id, wallet.coin())))
        assert "TargetNotOpen" in str(effects.V1.status)
        filled = devnet.node.state.target(target_id)
        assert filled is not None
        assert filled.submitter == devnet_key(RIVAL).address

    on(devnet, work)


@pytest.mark.parametrize(
    ("fault", "code"), [("rpc_unavailable", "Unavailable"), ("rpc_exhausted", "ResourceExhausted")]
)
def test_a_busy_node(devnet: Running, fault: str, code: str) -> None:
    async def work(client: SomaClient) -> None:
        devnet.server.faults.update({fault: 1})
        with pytest.raises(RuntimeError, match=f"status: {code}"):
            await client.get_balance("11" * 32)
        assert await client.get_balance("11" * 32) == 0

    on(devnet, work)


def test_a_frozen_node_answers_late(devnet: Running) -> None:
    async def work(client: SomaClient) -> None:
        await client.get_balance("11" * 32)
        devnet.server.faults.update({"freeze_seconds": 0.6})
        started = time.monotonic()
        await client.get_balance("11" * 32)
        assert time.monotonic() - started >= 0.5

    on(devnet, work)


def test_a_late_checkpoint_delays_the_sdk_and_an_ended_stream_breaks_it(devnet: Running) -> None:
    async def work(client: SomaClient) -> None:
        wallet = Wallet(devnet, SOMA, SOMA)
        devnet.server.faults.checkpoint_delay_seconds = 0.6
        started = time.monotonic()
        await client.transfer_coin(wallet.keypair, "0x" + "22" * 32, 0.1)
        assert time.monotonic() - started >= 0.6
        devnet.server.faults.update({"checkpoint_delay_seconds": 0.0, "no_checkpoint": True, "end_streams": 1})
        with pytest.raises(RuntimeError, match="Transaction executed but checkpoint stream had an error"):
            await client.transfer_coin(wallet.keypair, "0x" + "22" * 32, 0.1)

    on(devnet, work)


def test_faults_over_http(devnet: Running) -> None:
    admin = devnet.server.urls.admin
    with httpx.Client(trust_env=False) as http:
        values = {"http_failures": 1, "http_status": 429, "retry_after_seconds": 3}
        reply = http.post(f"{admin}/fault", json=values)
        assert reply.status_code == 200
        assert reply.json().items() >= values.items()
        failed = http.get(f"{devnet.server.urls.rpc}/weights/c64")
        assert (failed.status_code, failed.headers["retry-after"]) == (429, "3")
        assert http.get(f"{devnet.server.urls.rpc}/weights/c64").status_code == 200
        assert http.get(f"{admin}/fault").json()["http_failures"] == 0
        for body in (b"{", b'{"odd": 1}', b'{"latency_seconds": [1]}', b"[]"):
            assert http.post(f"{admin}/fault", content=body).status_code == 400


def test_the_checkpoint_stream_tells_of_new_targets(devnet: Running) -> None:
    """With the feed's mask: digests and changed objects, ids without `0x` (§16)."""

    async def work(client: SomaClient) -> None:
        wallet = Wallet(devnet, SOMA)
        async with grpc.aio.insecure_channel(devnet.server.urls.rpc.removeprefix("http://")) as channel:
            subscribe = channel.unary_stream(
                "/soma.rpc.SubscriptionService/SubscribeCheckpoints",
                request_serializer=pb.SubscribeCheckpointsRequest.SerializeToString,
                response_deserializer=pb.SubscribeCheckpointsResponse.FromString,
            )
            request = pb.SubscribeCheckpointsRequest()
            request.read_mask.paths.extend(
                ["sequence_number", "transactions.digest", "transactions.effects.changed_objects"]
            )
            stream = subscribe(request)
            await stream.initial_metadata()
            coin = wallet.coin()
            effects = await client.execute_transaction(
                wallet.signed(wallet.submission(open_targets(devnet)[0], coin), coin)
            )
            async for message in stream:
                listed = message.checkpoint.transactions
                if listed and listed[0].digest == digest_of(effects):
                    break
            stream.cancel()
        created = [c for c in listed[0].effects.changed_objects if c.id_operation == pb.ChangedObject.OP_CREATED]
        assert len(created) == 1
        assert not listed[0].effects.HasField("status")
        assert not created[0].HasField("object_type")
        assert len(created[0].object_id) == 64
        assert devnet.node.state.target(bytes.fromhex(created[0].object_id)) is not None
        assert created[0].output_owner == pb.Owner(kind=pb.Owner.SHARED, version=1)

    on(devnet, work)


def test_simulation_through_the_sdk(devnet: Running) -> None:
    async def work(client: SomaClient) -> None:
        wallet = Wallet(devnet, SOMA)
        fingerprint = devnet.node.state.fingerprint()
        kind = PayCoins((wallet.coin(),), (5,), (wallet.address,))
        transaction = TransactionData(kind, wallet.address, (wallet.coin(),))
        assert (await client.simulate_transaction(transaction.encode())).V1.status == "Success"
        assert devnet.node.state.fingerprint() == fingerprint

    on(devnet, work)


def test_a_fresh_localnet(start: Callable[..., Running]) -> None:
    """Epoch 0, no model, no target; an epoch change alone brings none."""
    twin = start(models=0, scaled=False)

    async def work(client: SomaClient) -> None:
        assert (await client.get_latest_system_state()).epoch == 0
        assert await client.get_embedding_dim() == 2048
        assert await client.get_active_models() == []
        assert await client.get_targets() == []
        assert await client.advance_epoch() == 1
        assert await client.get_targets() == []

    on(twin, work)


def test_epochs_end_by_the_clock(start: Callable[..., Running]) -> None:
    timed = start(audit=False, epoch_seconds=0.4, **ANY_PORT)

    async def work(client: SomaClient) -> None:
        first = (await client.get_latest_system_state()).epoch
        assert await client.wait_for_next_epoch(timeout=20) > first

    on(timed, work)
    assert timed.node.state.parameters.epoch_duration_ms == 400
