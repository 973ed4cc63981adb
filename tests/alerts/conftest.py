"""The live devnet of the tests of submission."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "submission")]
