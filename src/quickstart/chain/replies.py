"""What a node sends is a stranger's: a reply that is none is an error of one kind, an item that is none is left out."""

import logging
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from quickstart.chain.board import OpenTarget
from quickstart.chain.ids import format_id
from quickstart.errors import NetworkError

log = logging.getLogger(__name__)

MALFORMED = (AttributeError, LookupError, TypeError, ValueError, ArithmeticError, struct.error)
"""What reading a value raises that is not of the expected shape."""


@contextmanager
def reply_of(url: str) -> Iterator[None]:
    """Reads a reply within the block.

    Raises:
        NetworkError: it is not what a node of a known version sends.
    """
    try:
        yield
    except MALFORMED as error:
        told = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise NetworkError(f"{url} sends a reply that this program cannot read ({told}); update the program") from error


def usable(target: OpenTarget, width: int) -> bool:
    """Whether a target can be matched: a direction of the right width, models, and finite numbers."""
    embedding = target.embedding
    fits = embedding.shape == (width,) and bool(np.isfinite(embedding).all()) and bool(embedding.any())
    fine = fits and math.isfinite(target.distance_threshold) and target.reward >= 0 and bool(target.model_ids)
    if not fine:
        log.warning("target %s is left out: it is none that can be filled", format_id(target.target_id))
    return fine
