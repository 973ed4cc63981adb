"""Engines lead to the same decisions on one board and bank, except where a certified error says they cannot tell."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: install the extra `scorer`")

from quickstart.bank import Bank  # noqa: E402
from quickstart.chain.ids import Id32, blake2b_256  # noqa: E402
from quickstart.data.window import Provenance, Window  # noqa: E402
from quickstart.matching import Candidate, Matcher, Matches, MatchTarget  # noqa: E402
from quickstart.scoring.engine import Engine  # noqa: E402
from quickstart.scoring.numpy_engine import NumpyEngine  # noqa: E402
from quickstart.scoring.torch_engine import TorchEngine  # noqa: E402

pytestmark = pytest.mark.torch

MODELS = ("python64", "c64", "prose64", "markup64")
TARGETS = 150
ALL = 1000

Decisions: TypeAlias = dict[Id32, Matches]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def windows(load_data: Any) -> list[Window]:
    names = [f"win_{kind}_{i}.bin" for kind in ("text", "code", "json") for i in range(6)]
    return [Window.cut(load_data(name), Provenance("golden", name, 0)) for name in names]


@pytest.fixture(scope="module")
def board(load_model: Any) -> list[MatchTarget]:
    """Random targets of three models each, with thresholds from those that most windows meet to those that few do."""
    random = np.random.default_rng(11)
    checksums = [load_model(name).checksum for name in MODELS]
    return [
        MatchTarget(
            blake2b_256(b"target %d" % number),
            random.standard_normal(64).astype(np.float32),
            tuple(checksums[i] for i in random.permutation(len(checksums))[:3]),
            float(np.float32(random.uniform(0.75, 1.05))),
        )
        for number in range(TARGETS)
    ]


def decide(engine: Engine, windows: list[Window], board: list[MatchTarget], folder: Path, load_model: Any) -> Decisions:
    bank = Bank(folder)
    shard = bank.add_windows(windows)
    weights = [load_model(name) for name in MODELS]
    for number, model in enumerate(weights):
        bank.add_scores(shard, engine.score(model, [window.data for window in windows]), created_at=number)
    matcher = Matcher()
    try:
        return dict(matcher.match(bank.view([model.checksum for model in weights]), board, top=ALL))
    finally:
        matcher.close()


@pytest.fixture(scope="module")
def with_numpy(
    windows: list[Window], board: list[MatchTarget], tmp_path_factory: pytest.TempPathFactory, load_model: Any
) -> Decisions:
    return decide(NumpyEngine(), windows, board, tmp_path_factory.mktemp("numpy"), load_model)


def by_window(candidates: tuple[Candidate, ...]) -> dict[tuple[int, int], Candidate]:
    return {(candidate.row, candidate.model_index): candidate for candidate in candidates}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_same_is_sent_outside_the_margins(
    dtype: Any, windows: list[Window], board: list[MatchTarget], with_numpy: Decisions, tmp_path: Path, load_model: Any
) -> None:
    with_torch = decide(TorchEngine("cpu", dtype), windows, board, tmp_path, load_model)
    sent = agreed = 0
    for target in board:
        first, second = with_numpy[target.target_id], with_torch[target.target_id]
        for here, there in ((first, second), (second, first)):
            in_doubt = by_window(there.uncertain)
            for key, candidate in by_window(here.sendable).items():
                sent += 1
                if key in by_window(there.sendable):
                    agreed += 1
                else:
                    assert key in in_doubt, "what one engine sends, the other sends or cannot tell"
                    assert abs(in_doubt[key].distance - candidate.distance) < 0.005
    assert sent > 1000
    assert agreed / sent > (0.99 if dtype == torch.float32 else 0.9)


def test_a_board_with_hits_and_misses(with_numpy: Decisions) -> None:
    """What the comparison above rests on."""
    filled = [bool(matches.sendable) for matches in with_numpy.values()]
    assert 20 < sum(filled) < TARGETS - 20
