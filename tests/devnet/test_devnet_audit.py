"""The audit, from the rule to a bond that is lost; and the scoring service beside it (`soma-protocol` §13)."""

import asyncio
import functools
import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from conftest import QUICK, Running

from quickstart.chain.ids import Id32, blake2b_256, derive_id, format_digest, parse_id
from quickstart.chain.objects import TargetContents, TargetStatus
from quickstart.chain.transactions import ClaimRewards, Manifest, SubmitData, TransactionData
from quickstart.devnet.audit import Verdict, judge
from quickstart.devnet.config import DevnetConfig
from quickstart.devnet.genesis import VALIDATOR, packaged_model
from quickstart.devnet.keys import devnet_key
from quickstart.devnet.scorer import DataProblem, ModelProblem, ModelScore
from quickstart.devnet.server import DevnetServer
from quickstart.scoring.contract import distance
from quickstart.scoring.reference import evaluate
from quickstart.scoring.weights import decrypt, parse_weights

DATA = b"def area(width: int, height: int) -> int:\n    return width * height\n" * 2
BOND = 65 * len(DATA)
NAMES = ("python64", "c64", "prose64", "markup64")
IDS = (b"\x01" * 32, b"\x02" * 32)
TARGET = TargetContents(
    embedding=np.array([1.0, 0.0], np.float32),
    model_ids=IDS,
    distance_threshold=1.0,
    reward=1,
    generation_epoch=1,
    status=TargetStatus.FILLED,
    winning_model=IDS[1],
    winning_distance=0.2,
    winning_loss=(2.0,),
)


def score(loss: float, cosine: float) -> ModelScore:
    return ModelScore(loss, np.array([cosine, np.sqrt(1 - cosine**2)]))


@pytest.mark.parametrize(
    ("answer", "fraud"),
    [
        ([score(3.0, 0.1), score(2.0, 0.8)], None),
        ([score(3.0, 0.1), score(2.019, 0.809)], None),
        ([score(1.9, 0.8), score(2.0, 0.8)], "another model"),
        ([score(2.0, 0.8), score(2.0, 0.8)], "another model"),
        ([score(3.0, 0.1), score(2.0, 0.78)], "the distance is 0.2200"),
        ([score(3.0, 0.1), score(2.03, 0.8)], "the loss is 2.0300"),
        ([ModelProblem("gone"), score(2.0, 0.1)], None),
        (DataProblem("checksum mismatch", may_pass=False), "the data cannot be used: checksum mismatch"),
    ],
    ids=["true", "within tolerance", "winner", "first of equals", "distance", "loss", "no model", "no data"],
)
def test_the_rule(answer: list[ModelScore | ModelProblem] | DataProblem, fraud: str | None) -> None:
    verdict = judge(TARGET, answer)
    assert (verdict.fraud or "").startswith(fraud or "")
    assert (verdict.fraud is None) == (fraud is None)


def test_what_could_not_be_had_is_not_final() -> None:
    assert judge(TARGET, [ModelProblem("down", may_pass=True)]) == Verdict(None, final=False)
    assert not judge(TARGET, DataProblem("down", may_pass=True)).final


@pytest.mark.parametrize("loss", [(), (2.0, 2.0), (float("nan"),)])
def test_odd_losses_are_false(loss: tuple[float, ...]) -> None:
    assert judge(replace(TARGET, winning_loss=loss), [score(3.0, 0.1), score(2.0, 0.8)]).fraud is not None


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """A plain web host for the data, for as long as the block."""
    (folder / "data").write_bytes(DATA)
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/data"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("host")) as url:
        yield url


@dataclass
class Claimant:
    """Makes true claims on a running devnet, and variations of them."""

    devnet: Running
    url: str
    name: str = "claimant"

    def truth(self, target_id: Id32) -> SubmitData:
        """The honest claim: every model of the target scored with the reference."""
        state = self.devnet.node.state
        target = state.target(target_id)
        assert target is not None
        by_id = {_model_id(name): name for name in NAMES}
        evaluations = [_evaluation(by_id[model_id]) for model_id in target.model_ids]
        winner = min(range(len(evaluations)), key=lambda i: evaluations[i].loss)
        best = evaluations[winner]
        coin = self.devnet.call(lambda: state.coins(devnet_key(self.name).address)[-1].ref)
        return SubmitData(
            target_id=target_id,
            manifest=Manifest(self.url, blake2b_256(DATA), len(DATA)),
            model_id=target.model_ids[winner],
            embedding=best.embedding.astype(np.float32),
            distance=float(np.float32(distance(best.embedding, target.embedding))),
            loss=(best.loss,),
            bond_coin=coin,
        )

    def send(self, kind: SubmitData | ClaimRewards) -> None:
        key = devnet_key(self.name)
        node = self.devnet.node
        coin = (
            kind.bond_coin
            if isinstance(kind, SubmitData)
            else self.devnet.call(lambda: node.state.coins(key.address)[-1].ref)
        )
        transaction = TransactionData(kind, key.address, (coin,))
        effects = self.devnet.run(node.submit(transaction, key.sign(transaction), key.public))
        assert effects.failure is None, effects.failure


@functools.cache
def _evaluation(name: str):  # type: ignore[no-untyped-def]
    packaged = packaged_model(name)
    return evaluate(parse_weights(decrypt(packaged.encrypted, packaged.key)), DATA)


def _model_id(name: str) -> Id32:
    return derive_id(blake2b_256(f"quickstart devnet model {name}".encode()), 0)


@pytest.fixture(scope="module")
def devnet(start: Callable[..., Running]) -> Running:
    devnet = start(audit=True)
    address = devnet_key("claimant").address
    for _ in range(4):
        devnet.call(lambda: devnet.node.give(address, 10**9, 1))
    return devnet


def fitting_targets(claimant: Claimant) -> list[Id32]:
    """Open targets that the data fits honestly."""
    state = claimant.devnet.node.state
    found = []
    for target_id, target in sorted(state.targets(), key=lambda item: item[0]):
        is_open = target.status is TargetStatus.OPEN and target.generation_epoch == state.epoch
        if is_open and claimant.truth(target_id).distance <= target.distance_threshold:
            found.append(target_id)
    assert len(found) >= 5, "the board is too hard for this data"
    return found


def test_true_claims_stand_and_false_ones_cost_the_bond(devnet: Running, host: str) -> None:
    claimant = Claimant(devnet, host)
    targets = fitting_targets(claimant)
    truth = {target_id: claimant.truth(target_id) for target_id in targets}

    def wrong_winner(claim: SubmitData) -> SubmitData:
        target = devnet.node.state.target(claim.target_id)
        assert target is not None
        other = next(i for i in target.model_ids if i != claim.model_id)
        return replace(claim, model_id=other)

    variants: list[tuple[str, Callable[[SubmitData], SubmitData]]] = [
        ("true", lambda c: c),
        ("distance", lambda c: replace(c, distance=c.distance - 0.05)),
        ("loss", lambda c: replace(c, loss=(c.loss[0] + 0.2,))),
        ("winner", wrong_winner),
        ("data", lambda c: replace(c, manifest=replace(c.manifest, checksum=b"\x00" * 32))),
        ("embedding is not audited", lambda c: replace(c, embedding=np.ones(64, np.float32))),
    ]
    made: dict[str, Id32] = {}
    for (name, change), target_id in zip(variants, [*targets, *targets], strict=False):
        if target_id in made.values():
            target_id = next(i for i in fitting_targets(claimant) if i not in made.values())
            truth[target_id] = claimant.truth(target_id)
        coin = claimant.truth(target_id).bond_coin
        claimant.send(replace(change(truth[target_id]), bond_coin=coin))
        made[name] = target_id
    devnet.epoch()
    devnet.epoch()
    reported = {name: bool(_target(devnet, target_id).reporters) for name, target_id in made.items()}
    assert reported == {
        "true": False,
        "distance": True,
        "loss": True,
        "winner": True,
        "data": True,
        "embedding is not audited": False,
    }
    validator = devnet_key(VALIDATOR).address
    for name, gain in (("true", 0), ("loss", BOND)):
        before = devnet.call(lambda: devnet.node.state.balance(validator))
        claimant.send(ClaimRewards(made[name]))
        assert devnet.call(lambda: devnet.node.state.balance(validator)) - before == gain


def _target(devnet: Running, target_id: Id32) -> TargetContents:
    target = devnet.node.state.target(target_id)
    assert target is not None
    return target


@pytest.mark.parametrize("forced", ["fraud", "honest"])
def test_a_verdict_can_be_forced(devnet: Running, host: str, forced: str) -> None:
    claimant = Claimant(devnet, host)
    claim = claimant.truth(fitting_targets(claimant)[0])
    if forced == "honest":
        claim = replace(claim, loss=(claim.loss[0] + 1,))
    claimant.send(claim)
    devnet.server.faults.audit_verdict = forced
    devnet.epoch()
    devnet.epoch()
    devnet.server.faults.audit_verdict = ""
    assert bool(_target(devnet, claim.target_id).reporters) is (forced == "fraud")


def test_a_restart_audits_what_was_left_even_if_the_host_is_gone(
    server_loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    """The first node downloads the data and ends; the second one finds it in the state folder."""
    config = DevnetConfig(**{**QUICK, "state": tmp_path / "state"})

    def served() -> Running:
        server = DevnetServer(config)
        asyncio.run_coroutine_threadsafe(server.start(), server_loop).result(30)
        return Running(server, server_loop)

    first = served()
    first.call(lambda: first.node.give(devnet_key("claimant").address, 10**9, 1))
    with serving(tmp_path) as url:
        claimant = Claimant(first, url)
        claim = claimant.truth(fitting_targets(claimant)[0])
        claimant.send(claim)
        first.run(first.node.auditor.verdicts(first.node.state, first.node.state.epoch))
    fingerprint = first.call(first.node.state.fingerprint)
    first.run(first.server.stop())
    second = served()
    assert second.call(second.node.state.fingerprint) == fingerprint
    second.epoch()
    second.epoch()
    assert not _target(second, claim.target_id).reporters
    second.run(second.server.stop())


def test_data_that_nobody_serves_is_fraud(devnet: Running) -> None:
    claimant = Claimant(devnet, "http://127.0.0.1:9/nothing")
    data = b"never published" * 10
    truth = claimant.truth(fitting_targets(claimant)[0])
    claim = replace(truth, manifest=Manifest(claimant.url, blake2b_256(data), len(data)))
    claimant.send(claim)
    devnet.epoch()
    devnet.epoch()
    assert _target(devnet, claim.target_id).reporters == {devnet_key(VALIDATOR).address}


def test_the_scoring_service_gives_the_references_answer(devnet: Running, host: str) -> None:
    async def main() -> None:
        client = await devnet.client()
        target = (await client.get_targets())[0]
        manifests = await client.get_model_manifests(target)
        reply = await client.score(host, manifests, target.embedding, data=DATA, seed=0)
        by_id = {_model_id(name): name for name in NAMES}
        evaluations = [_evaluation(by_id[parse_id(i)]) for i in target.model_ids]
        winner = min(range(len(evaluations)), key=lambda i: evaluations[i].loss)
        assert reply.winner == winner
        assert list(reply.loss_score) == pytest.approx([evaluations[winner].loss], abs=1e-6)
        np.testing.assert_allclose(list(reply.embedding), evaluations[winner].embedding, atol=1e-6)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"models": []}, "Client specified an invalid argument"),
        ({"target": []}, "Client specified an invalid argument|cannot be empty"),
        ({"checksum": "abc"}, "Client specified an invalid argument"),
        ({"checksum": format_digest(bytes(32))}, "Internal error.*Runtime competition error: .*checksum mismatch"),
        (
            {"url": "http://127.0.0.1:9/x", "checksum": format_digest(b"\x01" * 32)},
            "Internal error.*Runtime competition error: Blob error",
        ),
    ],
)
def test_what_the_scoring_service_refuses(devnet: Running, host: str, change: dict[str, object], text: str) -> None:
    async def main() -> None:
        client = await devnet.client()
        target = (await client.get_targets())[0]
        values = {
            "url": host,
            "models": await client.get_model_manifests(target),
            "target": target.embedding,
            "checksum": format_digest(blake2b_256(DATA)),
        } | change
        with pytest.raises((RuntimeError, ValueError), match=text):
            await client.score(
                values["url"], values["models"], values["target"], data_checksum=values["checksum"], data_size=len(DATA)
            )

    asyncio.run(main())
