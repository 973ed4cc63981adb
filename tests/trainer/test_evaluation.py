"""What a model would win, which embedding to publish, what a stake buys; where the present models are weak."""

from dataclasses import replace

import numpy as np
import pytest

from quickstart.chain.protocol import PARAMETERS, assign_models
from quickstart.charts import bar_chart, line_chart
from quickstart.trainer.evaluation import (
    OURS,
    Contestant,
    assigned_share,
    by_kind,
    embedding_to_publish,
    expectation,
    mean_direction,
    random_targets,
    won_windows,
)
from quickstart.trainer.niches import Scored, holdings, niches, zlib_nats
from quickstart.units import SHANNONS_PER_SOMA

WIDTH = 32
PARAMETERS_NOW = PARAMETERS[5]
A, B = b"a" * 32, b"b" * 32


def array(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def contestant(losses: np.ndarray, embeddings: np.ndarray, stake: int = 1, seed: int = 0) -> Contestant:
    return Contestant(stake * SHANNONS_PER_SOMA, random_targets(WIDTH, 90 + seed, 1)[0], losses, embeddings)


def test_the_lowest_loss_wins_and_equals_do_not() -> None:
    won = won_windows(array(1, 2, 3), [array(2, 2, 2), array(3, 3, 4)])
    assert won.tolist() == [True, False, False]
    assert won_windows(array(1, 2), []).all()


def test_results_by_kind() -> None:
    results = by_kind(["py", "md", "py"], array(1, 2, 3), [array(2, 1, 2)])
    assert [(r.kind, r.windows, r.won, r.loss, r.best_rival) for r in results] == [
        ("py", 2, 1, 2.0, 2.0),
        ("md", 1, 0, 2.0, 1.0),
    ]
    assert results[0].share == 0.5
    assert by_kind(["py"], array(1), [])[0].best_rival is None


def test_the_embedding_is_the_mean_of_where_it_wins() -> None:
    embeddings = np.eye(4, WIDTH, dtype=np.float32) * array(1, 5, 2, 9)[:, None]
    own = contestant(array(1, 1, 3, 3), embeddings)
    rival = contestant(array(2, 2, 2, 2.5), embeddings)
    published = embedding_to_publish(own, [rival])
    np.testing.assert_allclose(published[:5], [0.5, 0.5, 0, 0, 0])
    assert published.dtype == np.float32
    hopeless = replace(own, losses=array(9, 9, 9, 2.6))
    np.testing.assert_allclose(embedding_to_publish(hopeless, [rival])[:4], [0, 0, 0, 1])
    np.testing.assert_allclose(embedding_to_publish(own, [])[:4], [0.25] * 4)


def test_the_assigned_share_is_what_the_network_s_rule_gives() -> None:
    models = {
        bytes([number]) * 32: (stake, random_targets(WIDTH, number, 1)[0]) for number, stake in ((1, 4), (2, 9), (3, 1))
    }
    own = random_targets(WIDTH, 50, 1)[0]
    targets = random_targets(WIDTH, 0)
    ids = sorted([*models, OURS])
    everybody = {**models, OURS: (4, own)}
    chosen = [
        assign_models(t, ids, [everybody[i][0] for i in ids], np.stack([everybody[i][1] for i in ids]), 2)
        for t in targets
    ]
    share = assigned_share(4, own, models, per_target=2)
    assert share == np.mean([OURS in ids for ids in chosen])
    assert 0.1 < share < 0.9
    assert assigned_share(4, own, models, per_target=4) == 1
    shares = [assigned_share(stake, own, models, per_target=2) for stake in (1, 4, 16, 64)]
    assert shares == sorted(shares)
    assert shares[0] < shares[-1]


def test_expected_reward_of_a_model_that_always_wins_and_of_one_that_never_does() -> None:
    embeddings = random_targets(WIDTH, 5, 30)
    low, high = np.full(30, 1, np.float32), np.full(30, 2, np.float32)
    rivals = {A: contestant(high, embeddings, seed=1), B: contestant(high, embeddings, seed=2)}
    best = expectation(contestant(low, embeddings), rivals, 1.0, 10_000, PARAMETERS_NOW)
    assert (best.assigned, best.won) == (1.0, 1.0)
    assert best.reward_per_epoch == 4_975 * 86_400
    worst = expectation(contestant(high + 1, embeddings), rivals, 1.0, 10_000, PARAMETERS_NOW)
    assert (worst.won, worst.reward_per_epoch) == (0.0, 0)
    half = np.where(np.arange(30) % 2 == 0, low, high + 1).astype(np.float32)
    middling = expectation(contestant(half, embeddings), rivals, 2.0, 10_000, PARAMETERS_NOW)
    assert middling.won == 0.5


def test_where_the_present_models_are_weak() -> None:
    prose = [(b"the quick brown fox jumps over the lazy dog; " * 23)[:1024]] * 3
    noise = [bytes((index * index * 7 + 13 * index) % 251 for index in range(1024))] * 2
    losses = np.array([[1, 1, 1, 4, 4], [2, 2, 2, 3, 5]], np.float32)
    embeddings = np.vstack([np.eye(1, WIDTH)] * 3 + [np.eye(1, WIDTH, 3)] * 2).astype(np.float32)
    scored = Scored(losses, embeddings, ["prose"] * 3 + ["noise"] * 2, prose + noise)
    models = {
        A: (SHANNONS_PER_SOMA, random_targets(WIDTH, 1, 1)[0]),
        B: (9 * SHANNONS_PER_SOMA, random_targets(WIDTH, 2, 1)[0]),
    }
    found = {niche.kind: niche for niche in niches(scored, models, SHANNONS_PER_SOMA, 2)}
    assert (found["prose"].windows, found["prose"].loss, found["prose"].lead) == (3, 1.0, 1.0)
    assert (found["noise"].loss, found["noise"].lead) == (3.5, 1.0)
    assert found["prose"].zlib == pytest.approx(zlib_nats(prose[0]), abs=1e-9)
    assert found["prose"].nearby + found["noise"].nearby == pytest.approx(1)
    assert sum(niche.assigned for niche in found.values()) > 0
    rich, poor = holdings(scored, [A, B], models, per_target=1)
    assert (rich.model_id, poor.model_id) == (B, A)
    assert rich.assigned + poor.assigned == pytest.approx(1)
    assert (poor.won, rich.won) == (0.8, pytest.approx(0.2))


def test_directions_have_no_length() -> None:
    rows = np.array([[2, 0], [0, 0.5]], np.float32)
    np.testing.assert_allclose(mean_direction(rows), [0.5, 0.5])


def test_plots_are_documents_that_escape_their_words() -> None:
    from xml.etree import ElementTree

    lines = line_chart("a < b", "step", "loss", {"one & two": [(0, 3.0), (10, 1.0)], "none": []})
    bars = bar_chart("kinds", "nats", {"<py>": {"ours": 1.0, "theirs": 2.0}, "md": {"ours": 0.0}})
    for document in (lines, bars, line_chart("empty", "", "", {}), bar_chart("empty", "", {})):
        root = ElementTree.fromstring(document)
        assert root.tag.endswith("svg")
    heights = [float(e.attrib["height"]) for e in ElementTree.fromstring(bars).iter() if e.tag.endswith("rect")][1:]
    assert heights == [pytest.approx(heights[1] / 2), heights[1], 0.0, 0.0]
    (points,) = [
        e.attrib["points"] for e in ElementTree.fromstring(lines).iter() if e.attrib.get("stroke") == "#1f6feb"
    ]
    (x1, y1), (x2, y2) = (map(float, point.split(",")) for point in points.split())
    assert x1 < x2 and y1 < y2  # falling on the page
