"""A model's way onto the chain and into play, with the real SDK on a devnet; and every way it can be cut off."""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import httpx
import numpy as np
import pytest
from live_devnet import SOMA, LiveDevnet, new_wallet
from loopback import Answer, scripted
from model_owner import EMBEDDING, PLAIN, PRODUCT, STAKE, WEIGHTS, Owner, model_owner
from moto.server import ThreadedMotoServer

from quickstart.chain.own_models import Commitment, ModelState, OwnModel
from quickstart.chain.protocol import PARAMETERS
from quickstart.chain.transactions import CreateModel, Manifest
from quickstart.devnet.state import ModelStatus
from quickstart.errors import DataUnreadableError, FundsError, NetworkError, StateError, UnreachableError, UsageError
from quickstart.ledger.ledger import ConflictError
from quickstart.ledger.records import IntentKind, IntentStatus
from quickstart.ledger.writer import LedgerWriter
from quickstart.scoring.weights import decrypt
from quickstart.settings import S3Settings
from quickstart.submission.folder_storage import FolderStorage
from quickstart.submission.s3_storage import S3Storage
from quickstart.submission.storage import Publisher, object_key, public_client
from quickstart.trainer.copies import ModelCopies, due, manifests_of
from quickstart.trainer.office import publish, reveal_due
from quickstart.trainer.publication import (
    Commit,
    Create,
    PublicationDesk,
    commit_fee,
    costs,
    create_fee,
    next_step,
    prepare,
    to_compound,
)
from quickstart.trainer.reveal_desk import RevealDesk
from quickstart.trainer.reveals import Next, Phase
from quickstart.trainer.vault import Release, Vault, backup_name, open_sealed, seal


def test_create_commit_reveal_and_the_books(live: LiveDevnet, tmp_path: Path) -> None:
    with model_owner(live, tmp_path) as owner:
        model_id = live.run(owner.publish())
        model = owner.model()
        assert (model.model_id, model.status, model.stake) == (model_id, ModelStatus.PENDING, STAKE)
        owner.assert_books()
        live.run(owner.autopilot())
        assert owner.model().status is ModelStatus.PENDING  # not in the epoch of the commit
        live.next_epoch()
        desk = live.run(owner.autopilot())
        assert [one.phase for one in desk.statuses] == [Phase.REVEALED]
        revealed = owner.model()
        assert revealed.is_active
        np.testing.assert_array_equal(revealed.embedding, EMBEDDING)
        encrypted = (tmp_path / "published" / object_key(revealed.commitment.manifest.checksum)).read_bytes()
        assert decrypt(encrypted, revealed.decryption_key) == PLAIN
        owner.assert_books()
        assert owner.own.ledger.totals()["stake"] == -STAKE


def test_an_update_is_revealed_too_and_one_a_epoch_is_enough(live: LiveDevnet, tmp_path: Path) -> None:
    with model_owner(live, tmp_path) as owner:
        model_id = live.run(owner.publish())
        live.next_epoch()
        live.run(owner.autopilot())
        with pytest.raises(UsageError, match="is active: give --update"):
            live.run(owner.publish())
        assert live.run(owner.publish(update=True)) == model_id
        with pytest.raises(UsageError, match="revealed in the next"):
            live.run(owner.publish(update=True))
        live.next_epoch()
        desk = live.run(owner.autopilot())
        assert [one.phase for one in desk.statuses] == [Phase.REVEALED]
        assert owner.model().pending_update is None
        assert (
            len({release.key for release in owner.vault.releases()}) == 2
        )  # a key that was revealed is not used again
        owner.assert_books()


def test_two_commits_of_one_model_and_epoch_conflict_before_anything_is_signed(
    live: LiveDevnet, tmp_path: Path
) -> None:
    with model_owner(live, tmp_path) as owner:
        model_id = live.run(owner.publish())
        executed = live.executed()

        async def commit_again() -> None:
            epoch, _ = await owner.own.reader.own_models(owner.own.wallet.address)
            await PublicationDesk(owner.own.outbox).commit(model_id, owner.prepared(), epoch)

        with pytest.raises(ConflictError):
            live.run(commit_again())
        assert live.executed() == executed
        owner.assert_books()


def test_a_missed_first_reveal_leads_to_a_new_model(
    live: LiveDevnet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with model_owner(live, tmp_path) as owner:
        first = live.run(owner.publish())
        live.next_epoch()
        live.next_epoch()
        desk = live.run(owner.autopilot())
        assert [(one.phase, one.leads_to) for one in desk.statuses] == [(Phase.MISSED, Next.NEW_MODEL)]
        assert "half its stake is lost" in caplog.text
        second = live.run(owner.publish())
        assert second != first
        live.next_epoch()
        live.run(owner.autopilot())
        assert live.node.state.models[second].is_active
        owner.assert_books()


def test_a_missed_update_leads_to_the_next(live: LiveDevnet, tmp_path: Path) -> None:
    with model_owner(live, tmp_path) as owner:
        model_id = live.run(owner.publish())
        live.next_epoch()
        live.run(owner.autopilot())
        release = owner.prepared()
        other = owner.prepare(WEIGHTS, EMBEDDING[::-1].copy())
        assert other.key != release.key

        async def update() -> None:
            epoch, _ = await owner.own.reader.own_models(owner.own.wallet.address)
            await PublicationDesk(owner.own.outbox).commit(model_id, other, epoch)

        live.run(update())
        live.next_epoch()
        live.next_epoch()
        desk = live.run(owner.autopilot())
        assert [(one.phase, one.leads_to) for one in desk.statuses] == [(Phase.MISSED, Next.UPDATE)]
        live.run(update())
        live.next_epoch()
        live.run(owner.autopilot())
        np.testing.assert_array_equal(owner.model().embedding, EMBEDDING[::-1])
        owner.assert_books()


# -- cut off at every point


class Killed(BaseException):
    """The process is gone: nothing below catches this."""


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - what is waited for is a fact about another program's state
            await asyncio.sleep(0.005)


async def _cut(work: Any, when: Callable[[], bool]) -> None:
    task = asyncio.create_task(work)
    await until(lambda: when() or task.done())
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _pending(owner: Owner, kind: IntentKind) -> bool:
    return any(intent.kind is kind for intent in owner.own.ledger.pending())


async def before_it_is_sent(owner: Owner, kind: IntentKind, work: Any) -> None:
    """The intent is durable; its only lane is busy, so nothing has been sent."""
    async with owner.own.lane_pool.client():
        await _cut(work, lambda: _pending(owner, kind))


async def while_the_node_works(owner: Owner, kind: IntentKind, work: Any) -> None:
    owner.live.faults.update({"latency_seconds": 0.2})
    await _cut(work, lambda: _pending(owner, kind) and bool(owner.live.node._in_flight))
    owner.live.faults.update({"latency_seconds": 0.0})


async def after_it_was_applied(owner: Owner, kind: IntentKind, work: Any) -> None:
    """The reply is lost, and the process dies before it asks again."""

    def applied() -> bool:
        digests = {intent.digest for intent in owner.own.ledger.pending() if intent.kind is kind}
        if digests:
            owner.live.faults.update({"reply_lost": 5})
        return bool(digests & owner.live.node.state.effects.keys())

    owner.live.faults.update({"latency_seconds": 0.1})
    await _cut(work, applied)
    owner.live.faults.update({"reply_lost": 0, "latency_seconds": 0.0})


KINDS = (IntentKind.CREATE_MODEL, IntentKind.COMMIT, IntentKind.REVEAL)
POINTS = [before_it_is_sent, while_the_node_works, after_it_was_applied]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.value)
@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.__name__)
def test_a_kill_at_any_point_loses_no_key_and_stakes_once(
    live: LiveDevnet, tmp_path: Path, point: Any, kind: IntentKind
) -> None:
    with model_owner(live, tmp_path, lanes=1) as owner:
        if kind is IntentKind.REVEAL:
            live.run(owner.publish())
            live.next_epoch()
            live.run(point(owner, kind, owner.autopilot()))
        else:
            if kind is IntentKind.COMMIT:
                live.run(owner.create())
            live.run(point(owner, kind, owner.publish()))
        assert _pending(owner, kind)
        # Whatever is on the chain, its key can be had: from the disk, and from the bucket alone.
        owner.own.reopen()
        live.run(owner.own.outbox.recover())
        if owner.model().pending_update is None and owner.model().status is ModelStatus.CREATED:
            live.run(owner.publish())
        model = owner.model()
        assert owner.vault.find(model.commitment.key).key_commitment == model.commitment.key
        for file in (tmp_path / "vault").iterdir():
            file.unlink()
        if not model.is_active:
            if model.commitment.epoch == live.node.state.epoch:
                live.next_epoch()
            live.run(owner.autopilot())
        assert owner.model().is_active
        assert owner.model().stake == STAKE
        landed = {kind: owner.own.ledger.counts(kind).get(IntentStatus.LANDED) for kind in KINDS}
        assert landed == dict.fromkeys(KINDS, 1)
        owner.assert_books()


@pytest.mark.parametrize("step", ["upload", "verify", "vault", "backup"])
def test_a_kill_before_the_commit_is_signed_leaves_nothing_on_the_chain(
    live: LiveDevnet, tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Disk, host or process fail at each step of the preparation; the next run goes on, with a key that was kept."""
    with model_owner(live, tmp_path) as owner:
        executed = live.executed()

        def dying(*arguments: object, **options: object) -> str:
            raise Killed

        if step in ("upload", "backup"):
            monkeypatch.setattr(owner.storage, "put_file" if step == "upload" else "put", dying)
        if step == "verify":
            monkeypatch.setattr(owner.storage, "public_url", lambda checksum: "http://127.0.0.1:9/nothing")
        if step == "vault":
            (tmp_path / "vault").write_text("in the way")
        expected: tuple[type[BaseException], ...] = (Killed, DataUnreadableError, StateError)
        with pytest.raises(expected):
            live.run(owner.publish())
        assert live.executed() == executed
        monkeypatch.undo()
        if step == "vault":
            (tmp_path / "vault").unlink()
        kept = [release.key for release in owner.vault.releases()]
        live.run(owner.publish())
        after = [release.key for release in owner.vault.releases()]
        assert len(after) == 1
        assert after == (kept or after)
        live.next_epoch()
        live.run(owner.autopilot())
        assert owner.model().is_active
        owner.assert_books()


def test_a_reveal_that_fails_for_a_while_is_tried_again(live: LiveDevnet, tmp_path: Path) -> None:
    with model_owner(live, tmp_path) as owner:
        live.run(owner.publish())
        live.next_epoch()
        live.faults.update({"reply_lost": 2, "rpc_unavailable": 1})
        desk = live.run(owner.autopilot())
        assert [one.phase for one in desk.statuses] == [Phase.REVEALED]
        assert owner.own.ledger.counts(IntentKind.REVEAL) == {IntentStatus.LANDED: 1}
        owner.assert_books()


def test_without_its_key_a_reveal_is_an_error_and_not_the_end(
    live: LiveDevnet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with model_owner(live, tmp_path) as owner:
        live.run(owner.publish())
        (sealed,) = (tmp_path / "vault").iterdir()
        content = sealed.read_bytes()
        sealed.unlink()
        backup = tmp_path / "published" / object_key(backup_name(owner.own.wallet.secret, bytes.fromhex(sealed.stem)))
        assert backup.read_bytes() == content
        backup.unlink()
        live.next_epoch()
        desk = live.run(owner.autopilot())
        assert "its key is neither in the state folder nor in the bucket" in caplog.text
        assert desk.open == 0
        sealed.write_bytes(b"damaged")
        backup.write_bytes(content)
        live.run(owner.autopilot())
        assert owner.model().is_active
        assert sealed.read_bytes() == content


@pytest.fixture
def bucket() -> Iterator[S3Settings]:
    """An empty one."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    options = {"aws_access_key_id": "id", "aws_secret_access_key": "s", "region_name": "us-east-1"}
    with closing(boto3.client("s3", endpoint_url=url, **options)) as admin:
        admin.create_bucket(Bucket="windows")
    yield S3Settings("windows", "id", "s", url, f"{url}/windows")
    server.stop()


def test_a_publication_that_is_run_again_is_kept_in_a_bucket_too(bucket: S3Settings, tmp_path: Path) -> None:
    """A bucket takes nothing again that it has by name and size, and no seal of a release is like another."""
    wallet, folder = new_wallet(), tmp_path / "vault"
    with public_client() as client:

        def kept(release: Release | None = None) -> tuple[Release, bytes]:
            """What a run with a new storage keeps, and its seal on the disk, which is what anybody reads."""
            with closing(S3Storage(bucket)) as storage:
                vault, publisher = Vault(folder, wallet, storage, client), Publisher(storage, client)
                if release is None:
                    release = prepare(PRODUCT, 64, vault, publisher, tmp_path / "scratch")
                else:
                    vault.keep(release)
                (file,) = folder.iterdir()
                backup = storage.public_url(backup_name(wallet.secret, release.key_commitment))
                assert client.get(backup).content == file.read_bytes()
                return release, file.read_bytes()

        first, sealed = kept()
        again, sealed_again = kept()
        assert again.is_like(first) and sealed_again == sealed
        (file,) = folder.iterdir()
        for there in (b"damaged", seal(replace(first, weights=bytes(32)), wallet.secret)):
            file.write_bytes(there)
            assert kept(first)[1] not in (there, sealed)


def test_a_seal_opens_for_its_wallet_and_commitment_only(live: LiveDevnet, tmp_path: Path) -> None:
    with model_owner(live, tmp_path) as owner:
        release = owner.prepared()
    secret = owner.own.wallet.secret
    sealed = seal(release, secret)
    assert release.key not in sealed
    assert release.key.hex().encode() not in sealed
    opened = open_sealed(sealed, secret, release.key_commitment)
    assert (opened.key, opened.manifest, opened.weights) == (release.key, release.manifest, release.weights)
    np.testing.assert_array_equal(opened.embedding, release.embedding)
    assert release.key.hex() not in repr(release)
    for wrong in (
        (sealed[:-1] + b"\x00", secret, release.key_commitment),
        (sealed, bytes(32), release.key_commitment),
        (sealed, secret, bytes(32)),
        (b"", secret, release.key_commitment),
    ):
        with pytest.raises(StateError, match="damaged or another wallet's"):
            open_sealed(*wrong)


# -- what is refused


def test_weights_and_embeddings_that_cannot_be_a_model_are_refused(live: LiveDevnet, tmp_path: Path) -> None:
    with model_owner(live, tmp_path) as owner:
        (damaged := tmp_path / "damaged").write_bytes(b"no weights")
        for weights, embedding, width, words in (
            (damaged, EMBEDDING, 64, "cannot be published"),
            (tmp_path / "nothing", EMBEDDING, 64, "cannot be published"),
            (WEIGHTS, EMBEDDING, 2048, "the model has width 64, the network's targets 2048"),
            (WEIGHTS, EMBEDDING[:63], 64, "64 finite numbers"),
            (WEIGHTS, EMBEDDING * np.float32("nan"), 64, "64 finite numbers"),
            (WEIGHTS, EMBEDDING * 0, 64, "64 finite numbers"),
        ):
            with pytest.raises(UsageError, match=words):
                owner.prepare(weights, embedding, width)
        assert list(owner.vault.releases()) == []


def test_too_little_money_is_refused_before_anything_is_signed(live: LiveDevnet, tmp_path: Path) -> None:
    with model_owner(live, tmp_path, 2 * SOMA, SOMA) as owner:
        executed = live.executed()
        with pytest.raises(FundsError, match="are needed"):
            live.run(owner.publish())
        assert live.executed() == executed
        owner.assert_books()


def test_a_stake_may_come_from_several_coins(live: LiveDevnet, tmp_path: Path) -> None:
    with model_owner(live, tmp_path, 3 * SOMA, 3 * SOMA, SOMA) as owner:
        live.run(owner.publish())
        assert owner.model().stake == STAKE
        owner.assert_books()


def test_stake_can_be_added(live: LiveDevnet, tmp_path: Path) -> None:
    with model_owner(live, tmp_path) as owner:
        model_id = live.run(owner.publish())

        async def add() -> None:
            epoch, _ = await owner.own.reader.own_models(owner.own.wallet.address)
            await PublicationDesk(owner.own.outbox).stake(model_id, 2 * SOMA, epoch)

        live.run(add())
        assert owner.model().stake == STAKE + 2 * SOMA
        owner.assert_books()


def test_the_chain_s_refusal_is_told(live: LiveDevnet, tmp_path: Path) -> None:
    with model_owner(live, tmp_path) as owner:

        async def stake_too_little() -> None:
            epoch, _ = await owner.own.reader.own_models(owner.own.wallet.address)
            await PublicationDesk(owner.own.outbox).create(SOMA - 1, 0, epoch, owner.prepared())

        with pytest.raises(NetworkError, match="ModelMinStakeNotMet"):
            live.run(stake_too_little())
        owner.assert_books()


def test_what_a_publication_does_first() -> None:
    created = OwnModel(b"c" * 32, ModelState.CREATED, 10, create_epoch=3)
    active = OwnModel(b"a" * 32, ModelState.ACTIVE, 10, revealed_key=b"k" * 32)
    lost = OwnModel(b"i" * 32, ModelState.INACTIVE, 5)
    assert next_step([], 3, update=False) == Create()
    assert next_step([lost], 3, update=False) == Create()
    assert next_step([lost, created], 3, update=False) == Commit(created.model_id)
    assert next_step([lost, active], 3, update=True) == Commit(active.model_id)
    with pytest.raises(UsageError, match="no active model to update"):
        next_step([lost], 3, update=True)


def test_what_it_costs_and_what_can_be_lost() -> None:
    parameters = PARAMETERS[5]
    first = costs(Create(), SOMA, parameters, update=False)
    assert (first.stake, first.fees, first.at_risk) == (SOMA, 500_000 + 1_900 + 2 * 1_600, SOMA // 2)
    again = costs(Commit(b"a" * 32), 0, parameters, update=True)
    assert (again.total, again.at_risk) == (3_200, 0)


def test_a_wallet_without_coins_says_so_and_reveals_once_it_has_one(
    live: LiveDevnet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with model_owner(live, tmp_path) as owner:
        live.run(owner.publish())
        live.next_epoch()
        (coin,) = owner.own.outbox.pool.idle
        owner.own.outbox.pool.drop(coin.coin_id)

        async def penniless_then_not() -> RevealDesk:
            desk = owner.desk()
            await desk.look()
            assert (desk.due, desk.open) == ((), 0)
            owner.own.outbox.pool.adopt(coin)
            assert desk.open == 1
            (reveal,) = desk.due
            attempt = desk.begin(reveal)
            assert (desk.due, owner.own.outbox.pool.reserved) == ((), {coin.coin_id})
            await attempt
            return desk

        desk = live.run(penniless_then_not())
        assert caplog.text.count("no coin is left") == 1
        assert (desk.open, desk.due) == (0, ())
        assert owner.model().is_active
        owner.assert_books()


# -- what a command does around it


def test_what_is_compounded_leaves_room_for_fees() -> None:
    parameters = PARAMETERS[5]
    keep = SOMA
    for balance in (keep, keep + 3_500, keep + 3_501, 2 * SOMA, 7 * SOMA + 12_345):
        amount = to_compound(100 * SOMA, 0, 100, balance, keep, parameters)
        rest = balance - amount - create_fee(amount, parameters) - commit_fee(parameters)
        assert rest >= keep or amount == 0
        more = amount + 2  # fees are rounded down: one may be left over
        assert balance - more - create_fee(more, parameters) - commit_fee(parameters) < keep, (balance, amount)
    assert to_compound(10, 2, 50, 9 * SOMA, keep, parameters) == 3
    assert to_compound(10, 9, 50, 9 * SOMA, keep, parameters) == 0


def test_what_changed_during_the_upload_is_seen_before_anything_is_signed(live: LiveDevnet, tmp_path: Path) -> None:
    """Another program with the same key makes a model meanwhile: a second stake would be one too many."""
    with model_owner(live, tmp_path) as owner:
        (extra,) = live.fund(owner.own.wallet.address, 2 * SOMA)

        class Slow(FolderStorage):
            def put_file(self, path: Path, checksum: bytes, *, again: bool = False) -> str:
                live.act_as(owner.own.wallet, CreateModel(SOMA, 0, PARAMETERS[5].model_architecture_version), extra)
                return super().put_file(path, checksum, again=again)

        owner.storage = Slow(tmp_path / "published", owner.storage.public_url(b"").partition("/windows")[0])
        owner.publisher = Publisher(owner.storage, owner.client)
        with pytest.raises(UsageError, match="changed while the weights were uploaded"):
            live.run(publish(owner.office(), PRODUCT, **OPTIONS))
        assert owner.own.ledger.counts(IntentKind.CREATE_MODEL) == {}
        assert len(list(owner.vault.releases())) == 1


OPTIONS: dict[str, Any] = {
    "stake": STAKE,
    "commission_bps": 1_000,
    "update": False,
    "keep": 0,
    "confirm": lambda quote: None,
}


# -- where a key is, and what says that it is nowhere


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (Answer(404), None),
        (Answer(403), None),
        (Answer(500), UnreachableError),
        (Answer(429), UnreachableError),
        (Answer(301, headers={"location": "http://127.0.0.1:9/"}), UnreachableError),
        (Answer(200, b"x" * ((1 << 20) + 1)), UnreachableError),
        (Answer(200, b"cut off", {"Content-Length": "60"}, cut=3), UnreachableError),
        (Answer(200, b"damaged"), StateError),
    ],
    ids=lambda value: str(getattr(value, "status", "")),
)
def test_a_key_is_gone_only_where_the_bucket_says_so(tmp_path: Path, answer: Answer, found: Any) -> None:
    with scripted(answer) as host, httpx.Client(trust_env=False) as client:
        vault = Vault(tmp_path / "vault", new_wallet(), FolderStorage(tmp_path, host.url), client)
        if found is None:
            assert vault.find(b"k" * 32) is None
        else:
            with pytest.raises(found):
                vault.find(b"k" * 32)


def test_a_reveal_waits_for_a_bucket_that_is_away_and_needs_no_disk(
    live: LiveDevnet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with model_owner(live, tmp_path) as owner:
        live.run(owner.publish())
        live.next_epoch()
        shutil.rmtree(tmp_path / "vault")
        there, owner.storage = owner.storage, FolderStorage(tmp_path / "published", "http://127.0.0.1:9")
        desk = live.run(owner.autopilot())
        assert (desk.open, owner.model().is_active) == (1, False)
        assert "the backup of a key cannot be asked for" in caplog.text
        owner.storage = there
        (tmp_path / "vault").write_text("nothing can be written here")
        live.run(owner.autopilot())
        assert owner.model().is_active
        assert "cannot be written" in caplog.text
        owner.assert_books()


# -- the public copy of the weights


def test_what_others_must_be_able_to_read_and_when_it_is_read() -> None:
    first, second = (Manifest(f"http://127.0.0.1/{name}", name.encode() * 32, 10) for name in "ab")
    pending = Commitment(b"k" * 32, b"e" * 32, second, 4)
    live_one = OwnModel(b"l" * 32, ModelState.ACTIVE, 10, pending=pending, manifest=first)
    lost = OwnModel(b"i" * 32, ModelState.INACTIVE, 5)
    assert manifests_of([lost, live_one]) == (first, second)
    hour = 3_600_000
    assert due([first], {}, 10**12) == (first,)
    assert due([first], {first.url: (10**12, True)}, 10**12 + 6 * hour - 1) == ()
    assert due([first], {first.url: (10**12, True)}, 10**12 + 6 * hour) == (first,)
    assert due([first], {first.url: (10**12, False)}, 10**12 + hour // 12) == (first,)
    assert due([first], {first.url: (10**12, True)}, 10**12 - 1) == (first,)  # a clock was set


def test_weights_that_others_cannot_read_are_an_alarm_until_they_can(live: LiveDevnet, tmp_path: Path) -> None:
    with model_owner(live, tmp_path) as owner:
        now = 10**12
        copies = ModelCopies(owner.client, LedgerWriter(owner.own.ledger), lambda: now)

        def open_alarms() -> list[str]:
            return [alarm.message for alarm in owner.own.ledger.alarms() if alarm.cleared_ms is None]

        async def look() -> None:
            """What `uv run reveal` does."""
            office = replace(owner.office(), reveals=owner.desk(copies))
            await reveal_due(office, wait=False)
            await office.reveals.close()

        live.run(owner.publish())
        live.run(look())
        assert open_alarms() == []
        commitment = owner.model().commitment
        assert commitment is not None
        path = tmp_path / "published" / object_key(commitment.manifest.checksum)
        whole = path.read_bytes()
        for content in (whole[:-1], None):
            path.unlink()
            if content is not None:
                path.write_bytes(content)
            now += 6 * 3_600_000
            live.run(look())
            (message,) = open_alarms()
            assert commitment.manifest.url in message and "stake" in message
            path.write_bytes(whole)
            now += 300_000
            live.run(look())
            assert open_alarms() == []
        path.unlink()
        now += 6 * 3_600_000
        live.run(look())
        assert open_alarms()
        live.run(copies.check(()))  # its model is out of play
        assert open_alarms() == []
