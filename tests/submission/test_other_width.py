"""A network whose targets no model can reach is refused in one line."""

from dataclasses import replace

import numpy as np
import pytest

from quickstart.chain.board import ActiveModel, Board, Epoch, OpenTarget
from quickstart.chain.protocol import PARAMETERS
from quickstart.chain.transactions import Manifest
from quickstart.errors import UsageError
from quickstart.submission.opening import refuse_other_width


def board(target_width: int, *model_widths: int) -> Board:
    epoch = Epoch(1, 0, replace(PARAMETERS[5], target_embedding_dim=target_width), 1.05, 1)
    target = OpenTarget(b"t" * 32, np.ones(target_width, np.float32), (b"m" * 32,), 1.05, 1, 1)
    models = {
        bytes([n]) * 32: ActiveModel(
            bytes([n]) * 32, b"o" * 32, Manifest("https://h", b"c" * 32, 1), b"k" * 32, np.ones(width, np.float32), 1
        )
        for n, width in enumerate(model_widths)
    }
    return Board(epoch, models, {target.target_id: target})


def test_both_widths_are_named() -> None:
    with pytest.raises(UsageError, match=r"http://h have width 64, its models \[32, 128\].*--rpc-url"):
        refuse_other_width(board(64, 128, 32, 128), "http://h")


def test_no_model_at_all() -> None:
    with pytest.raises(UsageError, match="its models do not exist"):
        refuse_other_width(board(64), "http://h")


@pytest.mark.parametrize("widths", [(64,), (128, 64)])
def test_one_model_of_the_width_is_enough(widths: tuple[int, ...]) -> None:
    refuse_other_width(board(64, *widths), "http://h")


def test_a_network_without_targets_yet_is_not_refused() -> None:
    empty = replace(board(64), targets={})
    refuse_other_width(empty, "http://h")
