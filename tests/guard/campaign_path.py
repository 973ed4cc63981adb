"""The promises' functions, which the campaign runs long and these tests run short."""

from importlib import import_module
from typing import Any


def promise(name: str) -> Any:
    """The module of `tests/campaign/promises` of that name."""
    return import_module(f"tests.campaign.promises.{name}")
