"""The desk's pure parts: an epoch's end, money without a chain, ages, reviews, the map, Modal's store."""

import json
import socket
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quickstart.chain.board import Board, Epoch, OpenTarget
from quickstart.chain.ids import blake2b_256
from quickstart.chain.lease import Holder
from quickstart.chain.protocol import PARAMETERS
from quickstart.cli.review_text import markdown
from quickstart.cli.status_text import age, span
from quickstart.desk.accounts import Books, ChainAnswer, Costs, accounts
from quickstart.desk.asking import begin, recall, remember, workplace_here
from quickstart.desk.atlas import MOST_POINTS, atlas
from quickstart.desk.health import Health, Reading, Signer, Workplace, next_firing_ms
from quickstart.desk.modal_side import costs, workplace
from quickstart.desk.review import NextDollar, Records, review
from quickstart.errors import SettingsError, UnreachableError
from quickstart.ledger.records import EpochReport, Fate, Fill, FillState, FillSum, Origin, Unfilled
from quickstart.matching import Nearest
from quickstart.profiles import chosen, profile_named, using
from quickstart.submission.epoch_end import KEPT_UNFILLED, EpochEnd
from quickstart.submission.sightings import Sightings

HOUR = 3_600_000
DAY = 24 * HOUR
REWARD, BOND = 12_685_185, 66_560
SHARE = 6_310_881


def name(text: str) -> bytes:
    return blake2b_256(text.encode())


def target(text: str, threshold: float = 1.0) -> OpenTarget:
    return OpenTarget(name(text), np.ones(4, np.float32), (name("m0"), name("m1")), threshold, REWARD, 7)


def epoch_end(open_: list[str], gone: list[str], near: Mapping[str, float], **changes: Any) -> EpochEnd:
    """Targets by name; `near`: how near the bank comes to them, with the second model."""
    board = Board(Epoch(7, 0, PARAMETERS[5], 1.0, REWARD), {}, {name(t): target(t) for t in open_})
    return EpochEnd(
        **{
            "board": board,
            "seen": {name(t): target(t) for t in (*gone, *open_)},
            "seen_count": len(open_) + len(gone),
            "nearest": {name(t): Nearest(distance, 1) for t, distance in near.items()},
            "filled": set(),
            "failed": frozenset(),
            "ended_by": "exhausted",
            **changes,
        }
    )


def test_an_epochs_end_tells_lost_missed_and_far_apart() -> None:
    end = epoch_end(
        open_=["missed", "far", "unknown"],
        gone=["ours", "lost", "too late", "their far one"],
        near={"missed": 0.9, "far": 1.1, "ours": 0.5, "lost": 0.8, "too late": 0.7, "their far one": 1.05},
        filled={name("ours"), name("forgotten")},
        failed=frozenset({name("too late")}),
    )
    report = end.report()
    assert (report.targets_seen, report.fillable, report.filled) == (8, 5, 2)
    assert (report.lost, report.missed) == (2, 1)

    sightings = Sightings()
    sightings.add(name("lost"), Origin.OTHERS, 1_000)
    sightings.born(name("lost"), 900)
    sightings.left(name("lost"), 1_400)
    sightings.left(name("lost"), 9_000)  # only the first time counts
    sightings.add(name("missed"), Origin.LISTED, 1_000)
    sightings.left(name("missed"), 2_000)  # a listing lagged: it is open
    told = {one.target_id: one for one in end.unfilled(sightings)}
    assert {one.target_id: one.fate for one in told.values()} == {
        name("lost"): Fate.LOST,
        name("too late"): Fate.LOST,
        name("missed"): Fate.MISSED,
        name("far"): Fate.FAR,
        name("their far one"): Fate.FAR,
        name("unknown"): Fate.FAR,
    }
    lost = told[name("lost")]
    assert (lost.open_ms, lost.distance, lost.model) == (500, 0.8, name("m1"))
    assert told[name("missed")].open_ms is None
    assert (told[name("unknown")].distance, told[name("unknown")].model) == (None, None)


def test_of_many_targets_those_are_kept_that_tell_most() -> None:
    far = {f"far {number}": 1.0 + (number * 7 % 400) / 1000 for number in range(400)}
    end = epoch_end([*far, "missed", "unknown"], [], {**far, "missed": 0.5})
    kept = end.unfilled(Sightings())
    assert len(kept) == KEPT_UNFILLED
    assert kept[0].target_id == name("missed")
    distances = [one.distance for one in kept[1:]]
    assert distances == sorted(far.values())[: KEPT_UNFILLED - 1]


def fill(text: str, epoch: int, state: FillState = FillState.FILLED) -> Fill:
    return Fill(name(text), None, epoch, REWARD, BOND, name("w"), state)


BOOKS = Books(
    epoch=6,
    fills=(
        FillSum(3, FillState.CLAIMED, REWARD, BOND, 1),
        FillSum(4, FillState.SLASHED, REWARD, BOND, 1),
        FillSum(4, FillState.FILLED, REWARD, BOND, 1),
        FillSum(5, FillState.FILLED, REWARD, BOND, 1),
    ),
    movements={
        3: {"received": 10**9, "fee_base": -1_000, "bond_locked": -BOND},
        4: {"fee_base": -2_000, "fee_operation": -30, "bond_locked": -2 * BOND, "swept": -500},
        5: {"reward_submitter": SHARE, "reward_model": 7, "incentive": 9, "bond_returned": BOND, "fee_value": -4},
        6: {"bond_locked": -BOND, "stake": -1_000, "external": 50},
    },
    stored_bytes=2**30,
)


def answer(epoch: int, **parameters: Any) -> ChainAnswer:
    return ChainAnswer(epoch, 100 * DAY, replace(PARAMETERS[5], **parameters), 5, ())


def test_money_is_told_without_a_chain_and_judged_by_its_epoch_with_one() -> None:
    alone = accounts(BOOKS, None, None)
    assert (alone.earned, alone.claimed, alone.fees, alone.bond_lost) == (SHARE + 16, SHARE, 3_034, BOND)
    assert alone.net == SHARE + 16 - 3_034 - BOND == sum(one.net for one in alone.epochs)
    assert (alone.bond_out, alone.staked, alone.other) == (2 * BOND, 1_000, 10**9 - 450)
    assert (alone.claimable, alone.in_audit) == (SHARE, SHARE)
    assert (alone.chain_balance, alone.difference, alone.gpu_dollars, alone.net_per_dollar) == (None,) * 4
    assert alone.storage_dollars_per_month == 0.023
    assert alone.balance == 10**9 - 450 - 3_034 - 3 * BOND + SHARE + 16 - 1_000

    asked = accounts(BOOKS, answer(7), None)
    assert (asked.claimable, asked.in_audit) == (2 * SHARE, 0)
    assert asked.difference == asked.balance - 5
    assert [one.epoch for one in asked.only(4).epochs] == [4]
    assert (asked.only(4).epochs[0].claimable, asked.only(4).earned) == (SHARE, asked.earned)
    assert accounts(BOOKS, answer(7, target_claimer_incentive_bps=60), None).claimable == 2 * (SHARE - 12_686)


def test_dollars_go_to_the_epoch_that_the_middle_of_the_day_was_in() -> None:
    """Epoch 7 began at the end of day 100; each day is one epoch of the network."""
    days = {"a": (98 * DAY, 2.0), "b": (99 * DAY, 0.5), "c": (100 * DAY, 4.0)}
    told = accounts(BOOKS, answer(7), Costs(days))
    dollars = {one.epoch: one.gpu_dollars for one in told.epochs}
    assert dollars == {3: None, 4: None, 5: 2.0, 6: 0.5, 7: 4.0}
    by_epoch = {one.epoch: one for one in told.epochs}
    assert by_epoch[5].net_per_dollar == (SHARE + 16 - 4) / 2.0
    assert told.gpu_dollars == 6.5
    assert told.net_per_dollar == pytest.approx(sum(by_epoch[epoch].net for epoch in (5, 6, 7)) / 6.5)
    assert accounts(BOOKS, None, Costs(days)).epochs[0].gpu_dollars is None  # nobody knows which day was which


def test_what_is_known_has_an_age_and_what_is_not_a_last_time() -> None:
    assert Reading("chain", 5_000, 1).age_ms(8_000) == 3_000
    assert Reading("chain", 9_000, 1).age_ms(8_000) == 0
    silent: Reading[int] = Reading("chain", None, None, "no answer")
    assert (silent.known, silent.age_ms(1)) == (False, None)
    for now, firing in ((0, 3), (3 * HOUR - 1, 3), (3 * HOUR, 27), (26 * HOUR, 27), (28 * HOUR, 51)):
        assert next_firing_ms(now) == firing * HOUR
    assert [span(ms) for ms in (900, 119_000, 150_000, 5 * HOUR, 3 * DAY)] == ["1 s", "119 s", "2 min", "5 h", "3 days"]
    assert (age(None), age(1_000)) == ("never", "1 s ago")


@pytest.mark.parametrize(
    ("here", "modal", "bucket", "who"),
    [
        (Workplace(), None, None, None),
        (Workplace("submit here"), Workplace("fc-1 on Modal"), None, "submit here"),
        (Workplace(), Workplace("fc-1 on Modal"), Signer("a laptop", 0, 9_000), "fc-1 on Modal"),
        (Workplace(), None, Signer("a laptop", 0, 9_000), "a laptop"),
        (Workplace(), None, Signer("a laptop that died", 0, -21_000), None),
    ],
)
def test_who_signs_is_whoever_is_seen_alive(
    here: Workplace, modal: Workplace | None, bucket: Signer | None, who: str | None
) -> None:
    silent: Reading[Any] = Reading("chain", None, None, "no answer")
    health = Health(
        now_ms=10_000,
        here=Reading("lease", 10_000, here),
        modal=None if modal is None else Reading("Modal", 10_000, modal),
        bucket=Reading("bucket", 10_000, bucket),
        chain=silent,
        queue=silent,
        alarms=silent,
    )
    assert health.at_work == who
    assert set(health.sources) == {"here", "bucket", "chain", "queue", "alarms"} | ({"modal"} if modal else set())


class Store(dict[str, Any]):
    def put(self, key: str, value: Any, *, skip_if_exists: bool = False) -> bool:
        raise AssertionError("the desk changes nothing")


def test_what_modals_store_tells() -> None:
    store = Store(
        {
            "progress": ("fc-1", "epoch 3"),
            "gpu-call/a": "fc-2",
            "gpu-call/b": "fc-3",
            "spent/2026-11-22": {"seconds": 100.0, "alive": {}},
            "spent/2026-11-23": {"seconds": 50.0, "alive": {}},
        }
    )
    busy = workplace(store, "fc-1", 77, 4 * HOUR)
    assert (busy.at_work, busy.progress, busy.gpu_calls) == ("fc-1 on Modal", "epoch 3", 2)
    assert (busy.last_ms, busy.next_ms, busy.stopped) == (77, 27 * HOUR, None)
    assert workplace(store, "fc-9", None, 0).progress is None  # another run told it
    stopped = workplace(Store(disarmed="since yesterday by me"), None, None, 0)
    assert (stopped.at_work, stopped.next_ms, stopped.stopped) == (None, None, "since yesterday by me")
    days = costs(store, 0.01).gpu_by_day
    assert {day: dollars for day, (_, dollars) in days.items()} == {"2026-11-22": 1.0, "2026-11-23": 0.5}
    assert days["2026-11-23"][0] - days["2026-11-22"][0] == DAY


def test_nobody_waits_for_what_does_not_answer(tmp_path: Path) -> None:
    never = threading.Event()
    with pytest.raises(UnreachableError, match="no answer within 0 s"):
        begin(never.wait, 0.05)()
    never.set()

    def refuse() -> int:
        raise SettingsError("no token")

    with pytest.raises(SettingsError, match="no token"):
        begin(refuse)()
    assert begin(lambda: 5)() == 5
    with using(profile_named("second")):
        asked = begin(chosen)
    assert asked().name == "second", "the profile chosen where it was begun"
    with pytest.raises(SystemExit):
        begin(sys.exit)()

    remember(tmp_path, {"modal": 1, "chain/a": 2})
    remember(tmp_path, {"chain/a": 3})
    assert recall(tmp_path) == {"modal": 1, "chain/a": 3}
    (tmp_path / "desk.json").write_text("[1]")
    assert recall(tmp_path) == {}
    remember(tmp_path / "nowhere", {"modal": 1})
    assert workplace_here(tmp_path / "lease").last_ms is None
    gone = Holder(999_999_999, socket.gethostname(), "submit", 12.5)
    (tmp_path / "lease").write_text(json.dumps(asdict(gone)))
    killed = workplace_here(tmp_path / "lease")
    assert (killed.at_work, killed.last_ms) == (None, 12_500)


RECORDS = Records(
    epoch=4,
    report=EpochReport(4, 1.0, 200, 60, 2, 1, 0, "exhausted"),
    fills=(fill("b", 4, FillState.SLASHED), fill("c", 4)),
    submissions={},
    timings={},
    unfilled=(
        Unfilled(name("x"), 4, Fate.LOST, 1.0, REWARD, 0.9, name("m"), 40, name("them"), name("n")),
        Unfilled(name("y"), 4, Fate.LOST, 1.0, REWARD, 0.8, name("m"), 60, name("them"), name("m")),
        Unfilled(name("z"), 4, Fate.FAR, 1.0, REWARD, 1.2, name("n")),
        Unfilled(name("0"), 4, Fate.FAR, 1.0, REWARD),
    ),
)


def plan_of(*pieces: tuple[str, float], coverage: float = 0.3) -> dict[str, Any]:
    return {"pieces": [{"shard": s, "gain": g} for s, g in pieces], "coverage": coverage, "seconds": 12.5}


def test_a_dollar_brings_the_gain_of_its_shards_once_for_all_their_models() -> None:
    told = review(RECORDS, PARAMETERS[5], plan_of(("a", 0.02), ("a", 0.02), ("b", 0.03))).next_dollar
    assert told == NextDollar(12.5, 3, 0.3, pytest.approx(0.05), pytest.approx(10.0), pytest.approx(10 * SHARE, abs=1))
    full = review(RECORDS, PARAMETERS[5], plan_of(("a", 0.5), coverage=0.9)).next_dollar
    assert full is not None and full.gain == pytest.approx(0.1)
    assert review(RECORDS, PARAMETERS[5], None).next_dollar is None


def test_a_review_counts_by_taker_model_and_source() -> None:
    told = review(RECORDS, PARAMETERS[5], plan_of())
    assert [(taker.targets, taker.open_ms) for taker in told.takers] == [(2, 40.0)]
    assert {(one.model, one.lost, one.far) for one in told.models} == {(name("m"), 2, 0), (name("n"), 0, 1)}
    (source,) = told.sources
    assert (source.fills, source.false_claims, source.paid, source.to_come, source.bond_lost) == (2, 1, 0, SHARE, BOND)
    text = markdown(told, "0x1")
    assert [told.count(fate) for fate in (Fate.LOST, Fate.MISSED, Fate.FAR)] == [2, 0, 140]
    assert "140 out of reach of the bank." in text and "and 138 more." in text
    assert "2 lost: somebody else was faster." in text
    assert "0.200" in text and "no safe window" in text
    assert "Nothing: all windows worth it are scored (30.0% of new targets are within reach)." in text


def test_the_map_shows_the_plane_in_which_directions_differ_most() -> None:
    random = np.random.default_rng(3)
    axes = np.linalg.qr(random.standard_normal((12, 3)))[0].T
    angles = random.uniform(0, 2 * np.pi, 200)
    circle = (np.cos(angles)[:, None] * axes[0] + 0.5 * np.sin(angles)[:, None] * axes[1]).astype(np.float32)
    circle *= random.uniform(0.1, 9.0, (200, 1)).astype(np.float32)  # lengths do not matter
    unit = circle / np.linalg.norm(circle, axis=1)[:, None]
    picture = atlas(
        {"ring": circle, "none": np.zeros((0, 12), np.float32), "no direction": np.zeros((3, 12), np.float32)}
    )
    assert sum(picture.shares) == pytest.approx(1.0, abs=1e-5)
    assert {group: len(points) for group, points in picture.points.items()} == {
        "ring": 200,
        "none": 0,
        "no direction": 0,
    }
    points = picture.points["ring"]
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    assert distances == pytest.approx(np.linalg.norm(unit[:, None] - unit[None], axis=2), abs=1e-4)
    again = atlas({"ring": circle})
    assert again.points["ring"] == pytest.approx(points, abs=1e-5)
    many = atlas({"many": random.standard_normal((5 * MOST_POINTS, 4)).astype(np.float32)})
    assert len(many.points["many"]) == MOST_POINTS
    assert atlas({"one": circle[:1]}).points["one"].tolist() == [[0.0, 0.0]]
