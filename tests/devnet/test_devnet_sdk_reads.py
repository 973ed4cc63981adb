"""What the unmodified SDK reads from a devnet (`soma-protocol` §5, §6, §8, §9)."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import httpx
import pytest
from conftest import Running
from soma_sdk import Keypair, SomaClient

from quickstart.chain.ids import format_digest, format_id, parse_id
from quickstart.devnet.genesis import genesis, packaged_model
from quickstart.devnet.targets import direction


@pytest.fixture(scope="module")
def devnet(start: Callable[..., Running]) -> Running:
    return start(audit=False)


def on(devnet: Running, work: Callable[[SomaClient], Awaitable[None]]) -> None:
    async def main() -> None:
        await work(await devnet.client())

    asyncio.run(main())


def test_what_a_node_says_about_itself(devnet: Running) -> None:
    async def work(client: SomaClient) -> None:
        assert await client.get_chain_identifier() == "localnet"
        assert await client.get_server_version() == "soma-node/0.1.19"
        await client.check_api_version()
        assert await client.get_protocol_version() == 5
        assert await client.get_architecture_version() == 1
        assert await client.get_embedding_dim() == 64
        assert await client.get_model_min_stake() == 10**9
        assert await client.scoring_health() is True

    on(devnet, work)


def test_system_state_and_epochs(devnet: Running) -> None:
    async def work(client: SomaClient) -> None:
        state = await client.get_latest_system_state()
        assert state.epoch == devnet.node.state.epoch
        assert state.parameters.submission_bond_per_byte == 65
        assert (await client.get_epoch()).epoch == state.epoch
        started = devnet.node.state.epoch_start_ms
        assert await client.get_next_epoch_timestamp() == started + 86_400_000
        assert await client.get_following_epoch_timestamp() == started + 2 * 86_400_000
        latest = await client.get_latest_checkpoint()
        assert (await client.get_checkpoint_summary(0)).data.sequence_number == 0
        assert latest.data.epoch == state.epoch

    on(devnet, work)


def test_models_and_their_weights(devnet: Running) -> None:
    async def work(client: SomaClient) -> None:
        models = await client.get_active_models()
        assert len(models) == 4
        assert {model.stake for model in models} == {1000.0}
        manifests = await client.get_model_manifests([model.model_id for model in models])
        published = {
            format_digest(packaged_model(n).manifest.checksum) for n in ("python64", "c64", "prose64", "markup64")
        }
        assert {manifest.checksum for manifest in manifests} == published
        weights = await client.fetch_model(models[0].model_id)
        assert len(weights) == 408_120

    on(devnet, work)


def test_targets_page_by_page(devnet: Running) -> None:
    async def work(client: SomaClient) -> None:
        targets = await client.get_targets()
        assert len(targets) == 100
        assert {target.status for target in targets} == {"open"}
        assert targets[0].distance_threshold == pytest.approx(1.2828427)
        seen, token, pages = [], None, 0
        while True:
            page = await client.list_targets(limit=30, page_token=token)
            seen += [target.id for target in page.targets]
            pages += 1
            token = page.next_page_token
            if not token:
                break
        assert pages == 4
        assert [parse_id(i) for i in seen] == sorted(parse_id(target.id) for target in targets)

    on(devnet, work)


def test_ids_in_targets_are_shortened(devnet: Running) -> None:
    """Some id of a hundred starts with a zero nibble on any devnet; this one's seed is fixed."""

    async def work(client: SomaClient) -> None:
        targets = await client.get_targets()
        ids = [target.id for target in targets]
        assert any(len(i) < 66 for i in ids)
        assert {parse_id(i) for i in ids} == {i for i, _ in devnet.node.state.targets()}

    on(devnet, work)


def test_a_target_is_an_object_whose_bytes_the_sdk_knows(devnet: Running) -> None:
    async def work(client: SomaClient) -> None:
        for target in (await client.get_targets())[:3]:
            stored = devnet.node.state.objects[parse_id(target.id)]
            # The SDK decodes the contents and computes the digest itself.
            assert (await client.get_object(format_id(stored.object_id))).digest == format_digest(stored.digest)

    on(devnet, work)


def test_coins_are_listed_in_ascending_balance(devnet: Running) -> None:
    async def work(client: SomaClient) -> None:
        keypair = Keypair.generate()
        devnet.fund(keypair, 30, 10, 20)
        objects = await client.list_owned_objects(keypair.address())
        balances = [
            int.from_bytes(bytes((await client.get_object(o.id)).data.contents)[32:], "little") for o in objects
        ]
        assert balances == [10, 20, 30]
        assert await client.get_balance(keypair.address()) == pytest.approx(60e-9)
        # The SDK stops at its limit; the node goes on from the token.
        assert len(await client.list_owned_objects(keypair.address(), limit=2)) == 2

    on(devnet, work)


def test_faucet(devnet: Running) -> None:
    async def work(client: SomaClient) -> None:
        keypair = Keypair.generate()
        reply = await client.request_faucet(keypair.address())
        assert reply.status == "Success"
        assert [coin.amount for coin in reply.coins_sent] == [2_000_000_000]
        assert await client.get_balance(keypair.address()) == 2.0

    on(devnet, work)


READ_ERRORS: list[tuple[str, Callable[[SomaClient], Awaitable[object]], str]] = [
    ("object", lambda c: c.get_object("0x1234"), "status: NotFound"),
    ("transaction", lambda c: c.get_transaction(format_digest(bytes(32))), "status: NotFound"),
    ("checkpoint", lambda c: c.get_checkpoint_summary(10**9), "status: NotFound"),
    ("status", lambda c: c.list_targets(status="odd"), "invalid status_filter: 'odd'"),
    ("token", lambda c: c.list_targets(page_token="ab"), "status: InvalidArgument"),
    ("faucet", lambda c: c.request_faucet("xyz"), "Invalid address"),
]


@pytest.mark.parametrize(("what", "call", "text"), READ_ERRORS, ids=[row[0] for row in READ_ERRORS])
def test_read_errors(devnet: Running, what: str, call: Callable[[SomaClient], Awaitable[object]], text: str) -> None:
    async def work(client: SomaClient) -> None:
        with pytest.raises(RuntimeError) as error:
            await call(client)
        assert text in str(error.value)

    on(devnet, work)


def test_the_page_ends_at_512_kib(start: Callable[..., Running]) -> None:
    """62 of 100 targets of width 2048 fit; a mask without embeddings gives all."""
    wide = start(width=2048, models=0, scaled=False, audit=False)
    make_targets(wide, 2048)

    async def work(client: SomaClient) -> None:
        assert len(await client.get_targets()) == 62
        first = await client.list_targets()
        second = await client.list_targets(page_token=first.next_page_token)
        assert (len(first.targets), len(second.targets)) == (62, 38)
        light = await client.list_targets(read_mask="id,status,reward_pool,model_ids")
        assert len(light.targets) == 100

    on(wide, work)


def make_targets(devnet: Running, width: int) -> None:
    """Gives an empty chain four active models of its width, and crosses a boundary."""

    def work() -> None:
        donor = genesis(replace(devnet.node.config, models=4, width=64), b"\x01" * 32, 0)
        for model_id, model in donor.models.items():
            devnet.node.state.models[model_id] = replace(model, embedding=direction(1, width))

    devnet.call(work)
    devnet.epoch()


def test_the_proxy_and_ranges(devnet: Running) -> None:
    base = devnet.server.urls.rpc
    with httpx.Client(trust_env=False) as http:
        whole = http.get(f"{base}/weights/c64")
        assert whole.status_code == 200
        assert whole.content == packaged_model("c64").encrypted
        part = http.get(f"{base}/weights/c64", headers={"range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, whole.content[10:20])
        assert part.headers["content-range"] == "bytes 10-19/408120"
        tail = http.get(f"{base}/weights/c64", headers={"range": "bytes=408110-"})
        assert (tail.status_code, len(tail.content)) == (206, 10)
        assert http.get(f"{base}/weights/c64", headers={"range": "bytes=408120-"}).status_code == 416
        assert http.head(f"{base}/weights/c64").headers["content-length"] == "408120"
        model_id = next(iter(devnet.node.state.models))
        assert len(http.get(f"{base}/model/{format_id(model_id)}").content) == 408_120
        assert http.get(f"{base}/data/0x12").status_code == 400
        missing = http.get(f"{base}/data/0x{'12' * 32}")
        assert missing.status_code == 502
        assert missing.text.startswith("Failed to fetch from validators")
        assert http.get(f"{base}/weights/other").status_code == 404
