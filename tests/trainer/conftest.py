"""A devnet, and a wallet with everything that publishing and revealing need."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# The devnet that the submission tests run on is the one that models are committed to.
sys.path.insert(0, str(Path(__file__).parent.parent / "submission"))

from live_devnet import LiveDevnet, running


@pytest.fixture
def live() -> Iterator[LiveDevnet]:
    with running(targets=12, models=2) as devnet:
        yield devnet
