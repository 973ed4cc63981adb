"""Images: pinned Python, the committed hash-locked requirements, our source. Nothing downloads and runs a script."""

from pathlib import Path

import modal

PYTHON = "3.11"
PROJECT = Path(__file__).resolve().parents[3]
"""The checkout; only used where the client builds. In a container it is some folder without the locks."""


def _image(lock: str, threads: int) -> modal.Image:
    """`threads`: of numerical libraries. A container sees all cores of its host, and is billed for those it uses."""
    limits = {f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "OPENBLAS", "MKL")}
    return (
        modal.Image.debian_slim(python_version=PYTHON)
        .pip_install_from_requirements(str(PROJECT / lock), extra_options="--require-hashes --no-deps")
        .env({"PYTHONUNBUFFERED": "1", **limits})
        .add_local_python_source("quickstart")
    )


cpu = _image("requirements.lock", 1)
gpu = _image("requirements-scorer.lock", 2)

_PACKAGE = Path(__file__).resolve().parents[1]
_PAGE = _PACKAGE / "dashboard"
page = _image("requirements-dashboard.lock", 1)
for _folder in ("templates", "static"):  # what is no Python does not come with the source
    page = page.add_local_dir(_PAGE / _folder, f"/root/quickstart/dashboard/{_folder}")

trial = gpu.add_local_dir(_PACKAGE / "devnet" / "weights", "/root/quickstart/devnet/weights")
