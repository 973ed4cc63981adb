"""Images: pinned Python, the committed hash-locked requirements, our source. Nothing downloads and runs a script."""

from pathlib import Path

import modal

PYTHON = "3.11"
PROJECT = Path(__file__).resolve().parents[3]
"""The checkout; only used where the client builds. In a container it is some folder without the locks."""


def _image(lock: str) -> modal.Image:
    return (
        modal.Image.debian_slim(python_version=PYTHON)
        .pip_install_from_requirements(str(PROJECT / lock), extra_options="--require-hashes --no-deps")
        .env({"PYTHONUNBUFFERED": "1"})
        .add_local_python_source("quickstart")
    )


cpu = _image("requirements.lock")
gpu = _image("requirements-scorer.lock")
