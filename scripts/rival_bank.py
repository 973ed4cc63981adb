"""Scores the windows that the devnet's rivals own: `uv run python scripts/rival_bank.py` writes `rivals.npz`.

320 windows of Python's own library, other ones than a run cuts by itself, scored with the devnet's four models. They
are kept with the package so that a devnet with rivals starts at once and costs no scoring.
"""

from itertools import islice
from pathlib import Path

import numpy as np

from quickstart.data.folder import python_library
from quickstart.devnet.config import MODEL_NAMES
from quickstart.devnet.genesis import packaged_weights
from quickstart.devnet.rivals import BANK_FILE
from quickstart.scoring.numpy_engine import NumpyEngine
from quickstart.scoring.weights import parse_weights

WINDOWS = 320
SEED = 1_000_003


def main() -> None:
    windows = list(islice(python_library().windows(SEED), WINDOWS))
    engine = NumpyEngine()
    scored = [
        engine.score(parse_weights(packaged_weights(name)), [window.data for window in windows]) for name in MODEL_NAMES
    ]
    target = Path(__file__).resolve().parents[1] / "src" / "quickstart" / "devnet" / BANK_FILE
    np.savez(
        target,
        checksums=np.frombuffer(b"".join(window.checksum for window in windows), np.uint8).reshape(WINDOWS, 32),
        embeddings=np.stack([shard.embeddings for shard in scored]).astype(np.float16),
        losses=np.stack([shard.losses for shard in scored]).astype(np.float32),
    )
    print(f"wrote {target}")


if __name__ == "__main__":
    main()
