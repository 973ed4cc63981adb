"""Transactions the SDK builds itself: one row per rule and error text (`soma-protocol` §7.1, §11)."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from conftest import Running
from soma_sdk import Keypair, SomaClient

from quickstart.chain.ids import format_digest, format_id, parse_id
from quickstart.devnet.state import ModelStatus

SOMA = 10**9
URL = "http://127.0.0.1:9/data"
DATA = b"d" * 100


@pytest.fixture(scope="module")
def devnet(start: Callable[..., Running]) -> Running:
    return start(audit=False)


@dataclass
class Desk:
    """A client, a funded key, and an open target."""

    devnet: Running
    client: SomaClient
    key: Keypair
    target: Any

    def submit(self, **changes: Any) -> Awaitable[Any]:
        values = {
            "keypair": self.key,
            "target": self.target.id,
            "data": DATA,
            "model": self.target.model_ids[0],
            "embedding": self.target.embedding,
            "distance": 0.5,
        } | changes
        return self.client.submit_data(
            values["keypair"],
            values["target"],
            values["data"],
            URL,
            values["model"],
            values["embedding"],
            values["distance"],
            [0.5],
        )

    def poor(self, balance: int) -> Keypair:
        key = Keypair.generate()
        if balance:
            self.devnet.fund(key, balance)
        return key


def at_desk(devnet: Running, work: Callable[[Desk], Awaitable[None]]) -> None:
    async def main() -> None:
        client = await devnet.client()
        key = Keypair.generate()
        devnet.fund(key, 50 * SOMA, 50 * SOMA)
        target = (await client.get_targets())[0]
        await work(Desk(devnet, client, key, target))

    asyncio.run(main())


def failure(label: str, variant: str) -> str:
    return rf"^Transaction failed: {label} failed \(digest: \w+\): Failure \{{ error: {variant} \}}$"


async def other_model(desk: Desk) -> str:
    models = await desk.client.get_active_models()
    assigned = {parse_id(i) for i in desk.target.model_ids}
    return next(m.model_id for m in models if parse_id(m.model_id) not in assigned)


async def not_in_target(d: Desk) -> Any:
    return await d.submit(model=await other_model(d))


async def not_open(d: Desk) -> Any:
    await d.submit()
    return await d.submit()


async def expired(d: Desk) -> Any:
    d.devnet.epoch()
    return await d.submit()


async def claim_too_early(d: Desk) -> Any:
    await d.submit()
    return await d.client.claim_rewards(d.key, d.target.id)


async def claim_open(d: Desk) -> Any:
    return await d.client.claim_rewards(d.key, d.target.id)


async def claim_twice(d: Desk) -> Any:
    d.devnet.epoch()
    await d.client.claim_rewards(d.key, d.target.id)
    return await d.client.claim_rewards(d.key, d.target.id)


async def report(d: Desk) -> Any:
    return await d.client.report_submission(d.key, d.target.id)


async def small_stake(d: Desk) -> Any:
    return await d.client.create_model(d.key, 500, 0.5)


async def high_commission(d: Desk) -> Any:
    return await d.client.create_model(d.key, 10_001, 2.0)


async def somebody_elses_model(d: Desk) -> Any:
    return await d.client.set_model_commission_rate(d.key, (await d.client.get_active_models())[0].model_id, 5)


async def too_much(d: Desk) -> Any:
    return await d.client.transfer_coin(d.key, "0x" + "22" * 32, 1000.0)


NUMBER, ID = r"\d+", "0x[0-9a-f]{64}"
FAILURES: list[tuple[Callable[[Desk], Awaitable[Any]], str, str]] = [
    (not_in_target, "SubmitData", rf"ModelNotInTarget {{ model_id: {ID}, target_id: {ID} }}"),
    (lambda d: d.submit(embedding=[1.0, 2.0]), "SubmitData", r"EmbeddingDimensionMismatch { expected: 64, actual: 2 }"),
    (lambda d: d.submit(distance=1.9), "SubmitData", r"DistanceExceedsThreshold { score: SomaTensor.*"),
    (
        lambda d: d.submit(data=b"z" * 1_048_577),
        "SubmitData",
        r"DataExceedsMaxSize { size: 1048577, max_size: 1048576 }",
    ),
    (lambda d: d.submit(keypair=d.poor(5000)), "SubmitData", r"InsufficientBond { required: 6500, provided: 4000 }"),
    (lambda d: d.submit(keypair=d.poor(900)), "SubmitData", "InsufficientGas"),
    (not_open, "SubmitData", "TargetNotOpen"),
    (expired, "SubmitData", rf"TargetExpired {{ generation_epoch: {NUMBER}, current_epoch: {NUMBER} }}"),
    (claim_too_early, "ClaimRewards", rf"AuditWindowOpen {{ fill_epoch: {NUMBER}, current_epoch: {NUMBER} }}"),
    (claim_open, "ClaimRewards", "TargetNotFilled"),
    (claim_twice, "ClaimRewards", "InputObjectDeleted"),
    (report, "ReportSubmission", "NotAValidator"),
    (small_stake, "CreateModel", "ModelMinStakeNotMet"),
    (high_commission, "CreateModel", "ModelCommissionRateTooHigh"),
    (somebody_elses_model, ".*", "NotModelOwner"),
    (too_much, "TransferCoin", "InsufficientCoinBalance"),
]


@pytest.mark.parametrize(
    ("call", "label", "variant"), FAILURES, ids=[row[2].split()[0] + f"-{i}" for i, row in enumerate(FAILURES)]
)
def test_failures_as_the_sdk_words_them(
    devnet: Running, call: Callable[[Desk], Awaitable[Any]], label: str, variant: str
) -> None:
    async def work(desk: Desk) -> None:
        with pytest.raises(
            RuntimeError,
            match=failure(label, variant.replace("{", r"\{").replace("}", r"\}").replace(r"\{64\}", "{64}")),
        ):
            await call(desk)

    at_desk(devnet, work)


def test_no_coin_at_all(devnet: Running) -> None:
    async def work(desk: Desk) -> None:
        with pytest.raises(RuntimeError, match=r"^Data error: No available coin for address [0-9a-f]{64} \(excluded 0"):
            await desk.submit(keypair=Keypair.generate())

    at_desk(devnet, work)


def test_a_submission_and_its_views(devnet: Running) -> None:
    async def work(desk: Desk) -> None:
        effects = await desk.submit()
        fee = effects.V1.transaction_fee
        assert effects.V1.status == "Success"
        assert (fee.base_fee, fee.operation_fee, fee.value_fee) in [(1000, 1500, 0), (1000, 1200, 0)]
        filled = await desk.client.list_targets(
            status="filled",
            submitter=desk.key.address(),
            read_mask="id,submitter,bond_amount,winning_model_id,data_url",
        )
        (mine,) = filled.targets
        assert parse_id(mine.id) == parse_id(desk.target.id)
        assert parse_id(mine.submitter) == parse_id(desk.key.address())
        assert (mine.bond_amount, mine.data_url) == (6500, URL)
        stored = devnet.node.state.objects[parse_id(desk.target.id)]
        assert (await desk.client.get_object(format_id(stored.object_id))).digest == format_digest(stored.digest)
        again = await desk.client.get_transaction(effects.V1.transaction_digest)
        assert again.V1.status == "Success"

    at_desk(devnet, work)


def test_claimable_lists_own_fills_and_everybodys_expired_targets(devnet: Running) -> None:
    async def work(desk: Desk) -> None:
        await desk.submit()
        devnet.epoch()
        claimable = await desk.client.get_targets(claimable=True, limit=1000)
        assert {target.status for target in claimable} == {"claimable"}
        assert parse_id(desk.target.id) not in {parse_id(target.id) for target in claimable}
        devnet.epoch()
        mine = await desk.client.get_targets(claimable=True, submitter=desk.key.address())
        assert [parse_id(target.id) for target in mine] == [parse_id(desk.target.id)]
        effects = await desk.client.claim_rewards(desk.key, desk.target.id)
        assert effects.V1.status == "Success"

    at_desk(devnet, work)


def test_payments_and_merging(devnet: Running) -> None:
    async def work(desk: Desk) -> None:
        effects = await desk.client.pay_coins(desk.key, ["22" * 32, "34" * 32], [0.25, 0.5])
        assert effects.V1.status == "Success"
        assert await desk.client.get_balance("34" * 32) == 0.5
        assert (await desk.client.merge_coins(desk.key)).V1.status == "Success"
        assert len(await desk.client.list_owned_objects(desk.key.address())) == 2

    at_desk(devnet, work)


def test_a_models_life_through_the_sdk(devnet: Running) -> None:
    async def work(desk: Desk) -> None:
        client, key = desk.client, desk.key
        model_id = await client.create_model(key, 500, 2.0)
        weights, secret = SomaClient.encrypt_weights(b"W" * 1000)
        embedding = np.linspace(-1, 1, 64).tolist()
        await client.commit_model(key, model_id, URL, weights, secret, embedding)
        with pytest.raises(RuntimeError, match=r"RevealModel failed .*ModelRevealEpochMismatch"):
            await client.reveal_model(key, model_id, secret, embedding)
        devnet.epoch()
        with pytest.raises(RuntimeError, match="ModelEmbeddingCommitmentMismatch"):
            await client.reveal_model(key, model_id, secret, embedding[::-1])
        with pytest.raises(RuntimeError, match="ModelDecryptionKeyCommitmentMismatch"):
            await client.reveal_model(key, model_id, format_digest(b"x" * 32), embedding)
        await client.reveal_model(key, model_id, secret, embedding)
        assert model_id in {model.model_id for model in await client.get_active_models()}
        assert (await client.add_stake_to_model(key, model_id, 1.0)).V1.status == "Success"
        assert devnet.node.state.models[parse_id(model_id)].pending_stake == SOMA
        assert (await client.set_model_commission_rate(key, model_id, 7)).V1.status == "Success"
        # Gone again, so that other tests find the four models they know.
        assert (await client.deactivate_model(key, model_id)).V1.status == "Success"
        assert devnet.node.state.models[parse_id(model_id)].status is ModelStatus.INACTIVE

    at_desk(devnet, work)


def test_advance_epoch_and_waiting_for_it(devnet: Running) -> None:
    async def work(desk: Desk) -> None:
        waiting = asyncio.ensure_future((await devnet.client()).wait_for_next_epoch(timeout=20))
        # The wait starts from whatever epoch it reads first: go on until it has seen one end.
        while not waiting.done():
            epoch = devnet.node.state.epoch
            assert await desk.client.advance_epoch() == epoch + 1
            await asyncio.wait({waiting}, timeout=0.3)
        assert waiting.result() <= devnet.node.state.epoch

    at_desk(devnet, work)
