"""One thread of linear algebra per test process: the suite runs one process per core already.

With two each, the four threads wait for one another and the golden cases take three times as long.
"""

import os

import pytest

LONG_FOLDERS = ("modal", "reliability", "cli", "guard", "submission", "trainer")

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that no process is left with one of them when the other has nothing more to do."""
    folders = [item.path.relative_to(item.config.rootpath).parts[1] for item in items]
    ranks = [LONG_FOLDERS.index(folder) if folder in LONG_FOLDERS else len(LONG_FOLDERS) for folder in folders]
    items[:] = [item for _, item in sorted(zip(ranks, items, strict=True), key=lambda pair: pair[0])]
