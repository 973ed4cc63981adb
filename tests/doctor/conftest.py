"""Makes the stand-ins for Modal, hub and devnet importable by the tests beside this file."""

import sys
from pathlib import Path

for folder in ("support", "submission", "edges"):
    sys.path.insert(0, str(Path(__file__).parents[1] / folder))
