"""Images: pinned Python, the committed hash-locked requirements, our source. Nothing downloads and runs a script."""

from pathlib import Path

import modal
from modal.file_pattern_matcher import NON_PYTHON_FILES

BYTECODE = ["**/__pycache__"]
PYTHON = "3.11"
PROJECT = Path(__file__).resolve().parents[3]
"""The checkout; only used where the client builds. In a container it is some folder without the locks."""


def _image(lock: str, threads: int, *, with_data: bool = False) -> modal.Image:
    """`threads`: of numerical libraries. A container sees all cores of its host, and is billed for those it uses.
    `with_data`: what lies between our modules too, such as the embedded network's models.
    """
    limits = {f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "OPENBLAS", "MKL")}
    return (
        modal.Image.debian_slim(python_version=PYTHON)
        .pip_install_from_requirements(str(PROJECT / lock), extra_options="--require-hashes --no-deps")
        .env({"PYTHONUNBUFFERED": "1", **limits})
        .add_local_python_source("quickstart", ignore=BYTECODE if with_data else NON_PYTHON_FILES)
    )


cpu = _image("requirements.lock", 1)
gpu = _image("requirements-scorer.lock", 2)
trial = _image("requirements-scorer.lock", 2, with_data=True)
