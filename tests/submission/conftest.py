"""The devnet that a module's tests share."""

from collections.abc import Iterator

import pytest
from live_devnet import LiveDevnet, running

from quickstart.devnet.faults import Faults


@pytest.fixture(scope="module")
def shared_devnet() -> Iterator[LiveDevnet]:
    with running(targets=60) as live:
        yield live


@pytest.fixture
def live(shared_devnet: LiveDevnet) -> LiveDevnet:
    """The module's devnet, with nothing wrong with it."""
    shared_devnet.faults.update(Faults().as_dict())
    return shared_devnet
