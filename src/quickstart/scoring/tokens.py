"""Bytes as the model sees them: ids, positions and targets (`soma-protocol` §13, design.md's evaluation
contract).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quickstart.scoring.contract import EOS, PAD, SEQUENCE_TOKENS


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """n sequences of 1,024 tokens: `ids`, `positions` and `targets`, each int64 (n, 1024).

    Ids are the bytes, then one EOS if the last sequence has room, then PAD. Positions are byte offsets in the
    whole data; EOS and PAD positions all hold the offset after the last byte. Targets are the ids of a
    sequence shifted left by one, PAD last.
    """

    ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    targets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)


def tokenize(data: bytes) -> Tokens:
    """Cuts data of any length into sequences.

    Raises:
        ValueError: the data is empty; the network cannot score it either.
    """
    if not data:
        raise ValueError("empty data cannot be scored")
    length = len(data)
    sequences = -(-length // SEQUENCE_TOKENS)
    flat = np.full(sequences * SEQUENCE_TOKENS, PAD, np.int64)
    flat[:length] = np.frombuffer(data, np.uint8)
    if length < len(flat):
        flat[length] = EOS
    ids = flat.reshape(sequences, SEQUENCE_TOKENS)
    positions = np.minimum(np.arange(len(flat)), length).reshape(ids.shape)
    targets = np.full_like(ids, PAD)
    targets[:, :-1] = ids[:, 1:]
    return Tokens(ids, positions, targets)
