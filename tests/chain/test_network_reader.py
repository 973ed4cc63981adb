"""Reading the network through the real SDK: pages, ids, embeddings once, and addresses where nobody answers."""

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from served_devnet import Served, counted_reader, served

from quickstart.chain.board import changes
from quickstart.chain.client import BULK_THRESHOLD, Endpoints, NetworkReader, advance_epoch, connect, request_faucet
from quickstart.chain.identity import service_info
from quickstart.chain.ids import Id32, format_digest
from quickstart.chain.objects import AddressOwner, TargetStatus
from quickstart.chain.transactions import Kind, Manifest, SubmitData, TransactionData, TransferCoin
from quickstart.devnet.inputs import SignedTransaction
from quickstart.devnet.keys import devnet_key
from quickstart.devnet.state import StoredObject
from quickstart.errors import NetworkError, UnreachableError

SOMA = 1_000_000_000
TARGETS = 40


@pytest.fixture(scope="module")
def devnet() -> Iterator[Served]:
    with served(targets=TARGETS, models=4) as running:
        yield running


def send_as(devnet: Served, name: str, kind: Kind, gas: Any) -> Any:
    key = devnet_key(name)
    transaction = TransactionData(kind, key.address, (gas.ref,))
    applied = devnet.node._apply(SignedTransaction(0, transaction, key.sign(transaction), key.public))
    assert applied.effects.failure is None
    return applied


def fill(devnet: Served, name: str, target_id: Id32) -> None:
    target = devnet.node.state.target(target_id)
    assert target is not None
    (coin,) = devnet.fund(devnet_key(name).address, SOMA)
    manifest = Manifest("http://127.0.0.1:9/d", b"d" * 32, 1024)
    kind = SubmitData(target_id, manifest, target.model_ids[0], target.embedding, 0.5, (1.0,), coin.ref)
    send_as(devnet, name, kind, coin)


def open_ids(devnet: Served) -> set[Id32]:
    state = devnet.node.state
    return {
        target_id
        for target_id, target in state.targets()
        if target.status is TargetStatus.OPEN and target.generation_epoch == state.epoch
    }


def test_a_board_of_more_than_one_page_is_read_whole() -> None:
    with served(targets=1_010, models=1) as large:
        reader, sdk = counted_reader(large)
        board = large.run(reader.board())
        assert board.targets.keys() == open_ids(large)
        assert len(board.targets) == 1_010
        assert sdk.count("list_targets") == 4  # pages end at 1,000: two without embeddings, two with


def test_open_targets_are_the_chain_s(devnet: Served) -> None:
    reader, _ = counted_reader(devnet)
    board = devnet.run(reader.board())
    assert board.targets.keys() == open_ids(devnet)
    for target_id, target in board.targets.items():
        stored = devnet.node.state.target(target_id)
        assert stored is not None
        np.testing.assert_array_equal(target.embedding, stored.embedding)
        assert target.embedding.dtype == np.float32
        assert (target.model_ids, target.reward) == (stored.model_ids, stored.reward)
        assert np.float32(target.distance_threshold) == np.float32(stored.distance_threshold)


def test_parameters_epoch_and_models_are_the_chain_s(devnet: Served) -> None:
    reader, _ = counted_reader(devnet)
    board = devnet.run(reader.board())
    state = devnet.node.state
    for name in state.parameters.__dataclass_fields__:
        assert getattr(board.epoch.parameters, name) == pytest.approx(getattr(state.parameters, name)), name
    assert (board.epoch.number, board.epoch.reward_per_target) == (state.epoch, state.reward_per_target)
    assert board.epoch.distance_threshold == pytest.approx(state.threshold)
    assert board.models.keys() == state.models.keys()
    for model_id, model in board.models.items():
        stored = state.models[model_id]
        assert stored.commitment is not None
        assert model.owner == stored.owner
        assert model.decryption_key == stored.decryption_key
        assert model.stake == stored.stake
        assert model.manifest == replace(stored.commitment.manifest, url=devnet.rpc + stored.commitment.manifest.url)
        np.testing.assert_array_equal(model.embedding, stored.embedding)


def test_embeddings_are_read_once(devnet: Served) -> None:
    reader, sdk = counted_reader(devnet)
    first = devnet.run(reader.board())
    sdk.calls.clear()
    again = devnet.run(reader.board(first.targets))
    assert all(again.targets[target_id] is target for target_id, target in first.targets.items())
    masks = [options["read_mask"] for name, options in sdk.calls if name == "list_targets"]
    assert masks
    assert not any("embedding" in mask for mask in masks)
    assert sdk.count("get_object") == 0


@pytest.mark.parametrize("fills", [1, BULK_THRESHOLD - 1, BULK_THRESHOLD + 2])
def test_a_fill_closes_one_target_and_opens_another(devnet: Served, fills: int) -> None:
    reader, sdk = counted_reader(devnet)
    before = devnet.run(reader.board())
    filled = sorted(before.targets)[:fills]
    for target_id in filled:
        fill(devnet, "filler", target_id)
    sdk.calls.clear()
    after = devnet.run(reader.board(before.targets))
    assert after.targets.keys() == open_ids(devnet)
    assert before.targets.keys() - after.targets.keys() == set(filled)
    fresh = after.targets.keys() - before.targets.keys()
    assert len(fresh) == fills
    assert all(after.targets[kept] is before.targets[kept] for kept in after.targets.keys() & before.targets.keys())
    for target_id in fresh:
        stored = devnet.node.state.target(target_id)
        assert stored is not None
        np.testing.assert_array_equal(after.targets[target_id].embedding, stored.embedding)
        assert after.targets[target_id].model_ids == stored.model_ids
    assert sdk.count("get_object") == (fills if fills < BULK_THRESHOLD else 0)
    assert len(changes(before, after)) == 2 * fills


def test_ids_that_lost_their_leading_zeros_are_whole_again(devnet: Served) -> None:
    """Targets name themselves and their models in a shortened form; one of them is made to show it."""
    state = devnet.node.state
    target_id, target = next((i, t) for i, t in state.targets() if i in open_ids(devnet))
    short = b"\x00\x00\x0a" + bytes(28) + b"\x01"
    models = (b"\x00" * 3 + b"\x01" * 29, *target.model_ids[1:])
    stored = StoredObject.of(
        short, 1, state.objects[target_id].owner, replace(target, model_ids=models), state.objects[target_id].digest
    )
    state.objects[short] = stored
    devnet.node.index._put(short, stored)
    try:
        reader, _ = counted_reader(devnet)
        board = devnet.run(reader.board())
        assert short in board.targets
        assert board.targets[short].model_ids == models
        assert devnet.run(reader.target(short)) is not None
    finally:
        del state.objects[short]
        devnet.node.index._put(short, None)


def test_coins_of_an_owner_on_several_pages(devnet: Served) -> None:
    owner = b"\x61" * 32
    funded = devnet.fund(owner, *range(1, 121))
    reader, _ = counted_reader(devnet)
    assert set(devnet.run(reader.coins(owner))) == set(funded)
    assert devnet.run(reader.coins(b"\x62" * 32)) == ()


def test_one_coin(devnet: Served) -> None:
    reader, _ = counted_reader(devnet)
    key = devnet_key("somebody")
    coin, gas = devnet.fund(key.address, 5 * SOMA, SOMA)
    assert devnet.run(reader.coin(coin.coin_id, key.address)) == coin
    assert devnet.run(reader.coin(b"\x63" * 32, key.address)) is None
    applied = send_as(devnet, "somebody", TransferCoin(coin.ref, None, b"\x64" * 32), gas)
    assert devnet.run(reader.coin(coin.coin_id, key.address)) is None
    moved = devnet.run(reader.coin(coin.coin_id, b"\x64" * 32, applied.effects.version))
    assert moved is not None
    assert (moved.balance, moved.ref.version) == (5 * SOMA, applied.effects.version)
    assert devnet.run(reader.previous_transaction(coin.coin_id)) == applied.digest
    effects = devnet.run(reader.transaction(applied.digest))
    assert effects is not None
    assert (effects.digest, effects.version) == (applied.digest, applied.effects.version)
    assert devnet.run(reader.transaction(b"\x65" * 32)) is None


def test_a_read_waits_for_a_node_that_lags_behind(devnet: Served) -> None:
    """The version asked for appears while the reader waits for it."""
    reader, _ = counted_reader(devnet)
    key = devnet_key("laggard")
    (coin,) = devnet.fund(key.address, SOMA)

    async def both() -> Any:
        waiting = asyncio.create_task(reader.coin(coin.coin_id, key.address, coin.ref.version + 1))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        send_as(devnet, "laggard", TransferCoin(coin.ref, 7, b"\x66" * 32), coin)
        return await waiting

    found = devnet.run(both())
    assert found is not None
    assert found.ref.version > coin.ref.version
    assert AddressOwner(key.address) == devnet.node.state.objects[coin.coin_id].owner


def test_passing_trouble_is_tried_again(devnet: Served) -> None:
    reader, _ = counted_reader(devnet)
    devnet.server.faults.update({"rpc_unavailable": 1, "rpc_exhausted": 1})
    assert len(devnet.run(reader.board()).targets) == TARGETS


def test_lasting_trouble_is_an_error_with_the_address(devnet: Served) -> None:
    reader, _ = counted_reader(devnet)
    devnet.server.faults.update({"rpc_unavailable": 100})
    with pytest.raises(NetworkError, match=devnet.rpc):
        devnet.run(reader.coins(b"\x61" * 32))
    devnet.server.faults.update({"rpc_unavailable": 0})


def test_the_chain_is_known_by_its_id(devnet: Served) -> None:
    info = devnet.run(service_info(devnet.rpc))
    assert info.chain_id == format_digest(devnet.node.state.chain_id)
    assert info.chain == "localnet"


def test_nobody_answers() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"  # bound, but nobody listens

        async def first_read() -> None:
            await NetworkReader(await connect(Endpoints(url)), url).board()

        for attempt in (first_read, lambda: service_info(url)):
            with pytest.raises(UnreachableError, match=rf"{url}.*uv run devnet"):
                asyncio.run(attempt())  # type: ignore[arg-type]


def test_claimable_targets_fills_and_services() -> None:
    with served(targets=12, models=1) as small:
        owner = devnet_key("filler").address
        targets = sorted(open_ids(small))
        fill(small, "filler", targets[0])
        fill(small, "other", targets[1])
        reader, _ = counted_reader(small)
        assert small.run(reader.claimable()) == ()
        assert small.run(reader.fills_of(owner)) == (targets[0],)

        async def services() -> tuple[int, int]:
            urls = small.server.urls
            sdk = await connect(Endpoints(urls.rpc, urls.faucet, urls.scoring, urls.admin), with_services=True)
            given = await request_faucet(sdk, b"\x67" * 32, urls.faucet)
            return given, await advance_epoch(sdk, urls.admin)

        assert small.run(services()) == (2 * SOMA, 2)
        assert small.node.state.balance(b"\x67" * 32) == 2 * SOMA
        claimable = small.run(reader.claimable())
        assert len(claimable) == 12  # expired: ten of the first and both replacements
        assert {target.submitter for target in claimable} == {None}
        small.run(small.node.advance_epoch())
        claimable = small.run(reader.claimable())
        by_submitter = {target.submitter: target for target in claimable}
        assert by_submitter[owner].target_id == targets[0]
        assert by_submitter[owner].bond == 66_560
        assert by_submitter[owner].reward == 12_685_185
        assert len(claimable) == 12 + 2 + 12
