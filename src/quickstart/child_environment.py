"""What processes that we start inherit: everything but secrets. Scorers and the devnet parse what strangers publish."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

OF_OTHERS = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "MODAL_TOKEN_ID",
    "MODAL_TOKEN_SECRET",
)
"""Secrets of tools that we use, under their own names."""


def secret_names() -> frozenset[str]:
    """Variables that hold secrets."""
    from quickstart.settings import settings_table

    return frozenset(row.name for row in settings_table() if row.secret) | frozenset(OF_OTHERS)


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """The same environment, for a child."""
    secret = secret_names()
    return {name: value for name, value in environment.items() if name not in secret}


@contextmanager
def secrets_hidden() -> Iterator[None]:
    """Processes that are started within the block by a library, which passes our environment on, see no secret."""
    hidden = {name: os.environ.pop(name) for name in secret_names() if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)
