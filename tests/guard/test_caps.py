"""Promise 8 in short; that no single decision passes a cap is in `tests/submission/test_loop_decisions.py`."""

from campaign_path import promise


def test_bonds_and_fees_stay_below_their_caps() -> None:
    found = promise("caps").run(0.05, seed=7)
    assert found["lost"] == 0, found
    assert found["fills"] > 0
