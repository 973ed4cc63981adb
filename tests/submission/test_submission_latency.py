"""Latency, from when targets were born and seen to landed submissions."""

from pathlib import Path

from quickstart.ledger.ledger import Ledger
from quickstart.ledger.records import Fill, Origin, Timing
from quickstart.submission.latency import latency
from quickstart.submission.sightings import KEPT, Sightings

FIRST, SECOND = b"1" * 32, b"2" * 32


def timing(origin: Origin, birth_ms: int | None, *steps: int, target_id: bytes = FIRST) -> Timing:
    return Timing(target_id, origin, birth_ms, *steps)


def test_each_origin_and_step_by_itself() -> None:
    told = latency(
        [
            timing(Origin.OWN, 1_000, 1_002, 1_003, 1_010, 1_410),
            timing(Origin.OWN, 1_000, 1_004, 1_001, 1_020, 1_430),  # matched while it was only expected
            timing(Origin.OTHERS, 1_000, 1_100, 1_101, 1_105, 1_505),
            timing(Origin.LISTED, None, 1_000, 5_000, 5_100, 5_600),
        ]
    )
    assert (told["p50"], told["p95"]) == (430, 4_600)
    assert (told["own"]["count"], told["own"]["p50"], told["own"]["p95"]) == (2, 410, 430)
    steps = {name: step["p95"] for name, step in told["own"]["steps"].items()}
    assert steps == {"known": 4, "matched": 1, "signed": 16, "landed": 410}
    assert told["others"]["steps"]["known"] == {"p50": 100, "p95": 100}
    assert told["listed"]["steps"]["known"] == {"p50": 0, "p95": 0}


def test_a_sighting_gathers_what_is_told_in_any_order() -> None:
    seen = Sightings()
    seen.born(FIRST, 900)
    seen.matched(FIRST, 950)  # not known yet: only expected
    seen.add(FIRST, Origin.OTHERS, 1_000)
    seen.add(FIRST, Origin.LISTED, 2_000)
    seen.matched(FIRST, 1_010)
    seen.matched(FIRST, 3_000)
    sighting = seen.get(FIRST)
    assert sighting is not None
    assert sighting.timing(FIRST, 1_020, 1_400) == timing(Origin.OTHERS, 900, 1_000, 1_010, 1_020, 1_400)
    seen.add(SECOND, Origin.OWN, 1_500)
    seen.born(SECOND, 1_600)
    late = seen.get(SECOND)
    assert late is not None
    assert late.timing(SECOND, 1_700, 1_800).birth_ms == 1_500  # the chain's clock is ahead


def test_only_the_latest_sightings_are_kept() -> None:
    seen, names = Sightings(), [number.to_bytes(32, "big") for number in range(2 * KEPT)]
    for number, name in enumerate(names):
        seen.add(name, Origin.LISTED, number)
        seen.born(name, number)
    assert [seen.get(name) is not None for name in names] == [False] * KEPT + [True] * KEPT


def test_timings_of_fills_are_kept_by_the_ledger(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.add_fills([Fill(FIRST, None, 3, 1, 1, None), Fill(SECOND, None, 4, 1, 1, None)])
    first = timing(Origin.OWN, None, 1, 2, 3, 4)
    second = timing(Origin.OTHERS, 1, 2, 3, 4, 5, target_id=SECOND)
    for one in (first, second, first):
        ledger.add_timing(one)
    assert ledger.timings() == (first, second)
    assert ledger.timings(since_epoch=4) == (second,)
    ledger.close()
