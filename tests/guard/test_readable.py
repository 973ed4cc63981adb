"""Promise 6 in short: every way in which a public copy can fail, on a simulated clock."""

from campaign_path import promise

from quickstart.ledger.records import Fill, Published
from quickstart.submission.custody import AGAIN_AFTER_MS, CHECK_EVERY_MS, copies_of, due

NOW = 1_800_000_000_000


def copy(name: str, verified_ms: int = 0, url: str = "u") -> Published:
    return Published(name.encode(), url, 1024, verified_ms)


def fill(window: str, url: str | None) -> Fill:
    return Fill(window.encode() + b"t", None, 1, 1, 1, window.encode(), url=url)


def test_a_fill_rests_on_the_copy_it_names() -> None:
    copies = [copy("a", url="old"), copy("a", url="new"), copy("b"), copy("c", url="x"), copy("c", url="y")]
    assert copies_of([fill("a", "old"), fill("c", None)], copies) == (copies[0], copies[3], copies[4])


def test_copies_are_due_after_six_hours_and_failing_ones_every_five_minutes() -> None:
    old, fresh, ahead = copy("old", NOW - CHECK_EVERY_MS), copy("fresh", NOW - CHECK_EVERY_MS + 1), copy("x", NOW + 1)
    never = copy("never")
    assert due([fresh, old, ahead, never], {}, NOW) == (never, old, ahead)
    tried = {(b"old", "u"): NOW - AGAIN_AFTER_MS + 1, (b"never", "u"): NOW - AGAIN_AFTER_MS}
    assert due([old, never], tried, NOW) == (never,)


def test_what_bonds_rest_on_stays_readable_or_is_told_of() -> None:
    found = promise("readable").run(1, seed=3)
    assert found["lost"] == 0, found
    assert found["faults"] == 11
    assert found["alarms"] == 9  # what was lost or damaged in the bucket was put back, without one
    assert found["recovered"] == 11
    assert found["checks"] > 8 * 11
