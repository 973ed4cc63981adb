"""Sums that the database keeps, against the rows they are of; and pages of submissions whose work has a bound."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_values import intent, name, settle

from quickstart.errors import StateError
from quickstart.ledger import schema
from quickstart.ledger.browsing import PAGE_ROWS, STEP_ROWS, Place, State, Wanted, page
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.records import Fill, FillState, Movement

WRITES = st.one_of(
    st.tuples(st.just("move"), st.integers(0, 5), st.sampled_from(("fee_base", "stake")), st.integers(-9, 9)),
    st.tuples(st.just("fill"), st.integers(0, 5), st.integers(1, 2), st.integers(1, 2)),
    st.tuples(st.just("mark"), st.integers(0, 5), st.sampled_from(FillState)),
)


def check(ledger: Ledger, path: Path) -> None:
    """Everything that is read from sums is what the rows add up to."""
    with closing(sqlite3.connect(path)) as database:
        money = database.execute("SELECT epoch, item, SUM(amount) FROM movements GROUP BY 1, 2").fetchall()
        fills = database.execute(
            "SELECT epoch, state, reward, bond, COUNT(*) FROM fills GROUP BY 1, 2, 3, 4"
        ).fetchall()
    assert {(epoch, item): total for epoch, items in ledger.movements().items() for item, total in items.items()} == {
        (epoch, item): total for epoch, item, total in money
    }
    assert sorted((one.epoch, one.state.value, one.reward, one.bond, one.count) for one in ledger.fill_sums()) == fills
    assert ledger.totals() == {
        item: sum(total for _, other, total in money if other == item) for item in {item for _, item, _ in money}
    }
    assert sum(ledger.fill_counts().values()) == sum(one.count for one in ledger.fill_sums())
    assert ledger.bond_outstanding() == sum(bond * count for _, state, _, bond, count in fills if state == "filled")
    for epoch in range(4):
        assert ledger.fees(epoch) == -sum(total for at, item, total in money if at == epoch and item == "fee_base")


@given(writes=st.lists(st.tuples(WRITES, st.booleans()), max_size=30))
@settings(max_examples=25, deadline=None)
def test_sums_are_what_the_rows_add_up_to(tmp_path_factory: pytest.TempPathFactory, writes: list[object]) -> None:
    path = tmp_path_factory.mktemp("sums") / "ledger.sqlite"
    with closing(Ledger(path)) as ledger:
        for (kind, number, *rest), undone in writes:  # type: ignore[misc]

            def write(into: Ledger, kind=kind, number=number, rest=rest) -> None:  # type: ignore[no-untyped-def]
                key = name(f"{number}")
                if kind == "move":
                    into.move(key, [Movement(rest[0], rest[1])], number % 3)
                elif kind == "fill":
                    into.add_fills([Fill(key, key, number % 3, rest[0], rest[1], None)])
                else:
                    into.mark_fill(key, rest[0])

            try:
                with ledger._transaction():
                    write(ledger)
                    if undone:
                        raise KeyError(kind)
            except KeyError:
                pass
        check(ledger, path)


def test_a_ledger_of_before_gets_its_sums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.sqlite"
    before = next(at for at, migration in enumerate(schema.MIGRATIONS) if "CREATE TABLE fill_sums" in migration)
    with monkeypatch.context() as patch, closing(sqlite3.connect(path)) as database:
        patch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:before])
        schema._migrate(database)
        for number in range(9):
            database.execute("INSERT INTO movements VALUES (?, 'fee_base', -7, ?)", (name(f"{number}"), number % 2))
            row = (name(f"{number}"), number % 2, 5, number % 3, ("filled", "slashed")[number % 2])
            database.execute("INSERT INTO fills (target_id, epoch, reward, bond, state) VALUES (?, ?, ?, ?, ?)", row)
        database.commit()
    with pytest.raises(StateError, match="brings it up to date"):
        Ledger(path, read_only=True)
    with closing(Ledger(path)) as ledger:
        ledger.mark_fill(name("2"), FillState.CLAIMED)
        check(ledger, path)
        assert ledger.totals() == {"fee_base": -63}


def test_a_reader_sees_one_moment_and_cannot_write(tmp_path: Path) -> None:
    path = tmp_path / "ä ?#.sqlite"
    with pytest.raises(StateError, match="cannot be read"):
        Ledger(path, read_only=True)
    assert not path.exists()
    with closing(Ledger(path)) as ledger, closing(Ledger(path, read_only=True)) as reader:
        assert reader.totals() == {}
        ledger.move(name("a"), [Movement("stake", -1)], 1)
        assert (reader.totals(), reader.movements()) == ({}, {})
        with pytest.raises(StateError):
            reader.move(name("b"), [Movement("stake", -1)], 1)
        with closing(Ledger(path, read_only=True)) as later:
            assert later.totals() == {"stake": -1}


def test_a_search_goes_on_where_it_was_cut_short(tmp_path: Path) -> None:
    """Every search stops after one step, and what one page left out begins the next."""
    everything, path = 2 * STEP_ROWS + 300, tmp_path / "ledger.sqlite"
    wanted = {17, STEP_ROWS - 1, STEP_ROWS, everything - 5} | set(range(900, 900 + PAGE_ROWS + 9))
    with closing(Ledger(path)) as ledger:

        def add(into: Ledger, number: int) -> None:
            details = {"provenance": {"path": "needle" if number in wanted else "hay"}}
            into.record(intent(f"{number}", f"t{number}", epoch=number // 1000, details=details))
            if number == 17:
                settle(into, f"{number}")

        ledger.group([lambda into, number=number: add(into, number) for number in range(everything)])
        moments = iter(range(10_000))

        def clock() -> float:
            return float(next(moments))

        found, at, cut = list[bytes](), None, 0
        while True:
            got = page(ledger, Wanted(text="Needle"), at, clock=clock)
            found += [sent.digest for sent in got.rows]
            assert len(got.rows) <= PAGE_ROWS
            cut += got.cut_short
            if (at := got.older) is None:
                break
            assert Place.parse(str(at)) == at
        assert found == [name(f"{number}") for number in sorted(wanted, reverse=True)]
        assert cut == 1
        (one,) = page(ledger, Wanted(state=State.LANDED), clock=lambda: 0.0).rows
        assert one.digest == name("17")
