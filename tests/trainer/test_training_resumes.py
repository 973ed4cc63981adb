"""Training goes on as if it had not stopped, learns, and keeps what it must."""

import resource
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: install the extra `scorer`")

from quickstart.data.folder import FolderSource, python_library  # noqa: E402
from quickstart.data.window import SourcePlan  # noqa: E402
from quickstart.errors import SourceError, StateError, UsageError  # noqa: E402
from quickstart.scoring.engine import Architecture  # noqa: E402
from quickstart.trainer.batches import Position, TrainingStream, held_out_windows, is_held_out  # noqa: E402
from quickstart.trainer.checkpoints import Checkpoints  # noqa: E402
from quickstart.trainer.metrics import read_metrics  # noqa: E402
from quickstart.trainer.model import TrainableModel  # noqa: E402
from quickstart.trainer.plan import TrainingPlan, learning_rate  # noqa: E402
from quickstart.trainer.training import Training  # noqa: E402

pytestmark = pytest.mark.torch

SMALL = Architecture(width=16, layers=1, feed_forward=16, heads=4)
PLAN = TrainingPlan(steps=100, batch_sequences=1, warmup_steps=5, checkpoint_every=25, keep=2)
SHORT = TrainingPlan(steps=12, batch_sequences=1, warmup_steps=2, checkpoint_every=3, keep=2)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty files of text that can be learnt."""
    root = tmp_path_factory.mktemp("text")
    for number in range(60):
        words = " ".join(f"{name} {number} is {number * step % 97};" for step, name in enumerate(["red", "blue"] * 60))
        (root / f"{number}.txt").write_text(words)
    return root


def run(folder: Path, out: Path, plan: TrainingPlan = PLAN, *, until: int | None = None, seed: int = 0) -> Training:
    training = Training(plan, TrainableModel(SMALL, seed=seed), [FolderSource(folder)], out)
    training.run(lambda: training.step == until, lambda report: None)
    return training


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Training, Path]:
    out = tmp_path_factory.mktemp("whole")
    return run(folder, out), out


@pytest.fixture(scope="module")
def short(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return run(folder, tmp_path_factory.mktemp("short"), SHORT).model.export()


def test_twice_fifty_steps_are_a_hundred_bit_for_bit(
    whole: tuple[Training, Path], folder: Path, tmp_path: Path
) -> None:
    run(folder, tmp_path, until=50)
    again = run(folder, tmp_path, seed=99)  # the checkpoint decides, not the fresh model's numbers
    assert again.step == 100
    assert again.model.export() == whole[0].model.export()
    losses = [[record["loss"] for record in read_metrics(out / "metrics.jsonl")] for out in (tmp_path, whole[1])]
    assert losses[0] == losses[1]


def test_a_crash_between_checkpoints_repeats_steps_and_nothing_else(short: bytes, folder: Path, tmp_path: Path) -> None:
    training = Training(SHORT, TrainableModel(SMALL), [FolderSource(folder)], tmp_path)

    def die() -> bool:
        if training.step == 7:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        training.run(die, lambda report: None)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')
    again = run(folder, tmp_path, SHORT)
    assert again.model.export() == short
    assert [record["step"] for record in read_metrics(tmp_path / "metrics.jsonl")] == list(range(1, 13))


def test_it_learns(whole: tuple[Training, Path]) -> None:
    losses = [record["loss"] for record in read_metrics(whole[1] / "metrics.jsonl")]
    assert np.mean(losses[:5]) > 5
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 1


def test_the_last_k_are_kept_and_damaged_ones_passed_over(
    short: bytes, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(folder, tmp_path, SHORT, until=9)
    older, newest = sorted((tmp_path / "checkpoints").iterdir())
    assert (older.name[:14], newest.name[:14]) == ("step-000000006", "step-000000009")
    damaged = bytearray(newest.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    newest.write_bytes(damaged)
    (tmp_path / "checkpoints" / "draft.tmp").write_bytes(b"cut off")
    again = run(folder, tmp_path, SHORT)
    assert "damaged" in caplog.text
    assert again.model.export() == short


@pytest.mark.parametrize("room", [0, 1 << 16])
def test_a_disk_that_ends_within_a_checkpoint_is_told_as_such(tmp_path: Path, room: int) -> None:
    """torch then says that its archive has gone wrong, and not why."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(StateError, match="File too large"):
            Checkpoints(tmp_path, keep=2).save(1, {"model": torch.zeros(1 << 16)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_accumulation_gives_the_step_of_the_larger_batch(folder: Path, tmp_path: Path) -> None:
    exports = []
    for batch, accumulation in ((4, 1), (2, 2)):
        plan = TrainingPlan(steps=3, batch_sequences=batch, accumulation=accumulation, warmup_steps=1)
        training = run(folder, tmp_path / str(batch), plan)
        exports.append(training.model.encoder.layers[0].pwff.linear_inner.weight.detach())
    torch.testing.assert_close(exports[0], exports[1], rtol=0, atol=2e-5)


def test_bfloat16_trains_too(folder: Path, tmp_path: Path) -> None:
    losses = []
    for bfloat16 in (False, True):
        plan = TrainingPlan(steps=3, batch_sequences=2, warmup_steps=1, bfloat16=bfloat16, checkpointing=bfloat16)
        run(folder, tmp_path / str(bfloat16), plan)
        losses.append([record["loss"] for record in read_metrics(tmp_path / str(bfloat16) / "metrics.jsonl")])
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.01)
    assert losses[0] != losses[1]


def test_another_run_s_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    run(folder, tmp_path, TrainingPlan(steps=1, batch_sequences=1))
    with pytest.raises(UsageError, match="another seed"):
        run(folder, tmp_path, TrainingPlan(steps=2, batch_sequences=1, seed=4))


def test_the_schedule_warms_up_and_comes_down() -> None:
    plan = TrainingPlan(steps=1000, learning_rate=1.0, warmup_steps=100)
    rates = [learning_rate(plan, 64, step) for step in range(1000)]
    assert rates[0] == 0.01
    assert rates[99] == max(rates) == 1.0
    assert rates[99:] == sorted(rates[99:], reverse=True)
    assert rates[-1] == pytest.approx(0.1)
    assert learning_rate(TrainingPlan(steps=1), 64, 0) == 3e-3
    assert learning_rate(TrainingPlan(steps=1), 2048, 0) == pytest.approx(1.95e-4, rel=0.01)


def test_a_stream_goes_on_from_any_position_and_over_the_end(folder: Path) -> None:
    sources = [FolderSource(folder), python_library()]
    stream = TrainingStream(sources, seed=3)
    taken, positions = [], []
    for _ in range(300):
        positions.append(stream.position)
        taken.append(stream.take(1)[0].checksum)
    assert stream.position.passes[0] > 0  # the small folder began anew
    assert positions[0] == Position(0, (0, 0), (None, None))
    for at in (1, 17, 120, 299):
        again = TrainingStream(sources, 3, positions[at])
        assert [window.checksum for window in again.take(300 - at)] == taken[at:]
    assert taken[:100] != [window.checksum for window in TrainingStream(sources, 4).take(100)]


def test_what_is_held_out_is_never_trained_on() -> None:
    library = python_library()
    kept = held_out_windows([library], 40, seed=0)
    assert len(kept) == 40
    paths = {window.provenance.path for window in kept}
    trained = {window.provenance.path for window in TrainingStream([library], 0).take(400)}
    assert paths.isdisjoint(trained)
    share = np.mean([is_held_out(window) for window in islice(library.windows(SourcePlan()), 1000)])
    assert 0.02 < share < 0.09


def test_sources_that_are_too_small_are_refused(tmp_path: Path) -> None:
    (tmp_path / "1.txt").write_text("one file with some words in it " * 100)
    with pytest.raises(SourceError, match="too few files"):
        held_out_windows([FolderSource(tmp_path)], 4, 0)
    (tmp_path / "1.txt").write_bytes(bytes(4096))
    with pytest.raises(SourceError, match="no window to train on"):
        TrainingStream([FolderSource(tmp_path)], 0).take(1)
