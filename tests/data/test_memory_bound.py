"""No source holds a whole file: what a process of its own holds in memory at most, looked at every few milliseconds."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quickstart.units import GIB, MIB

READ = """
import itertools, sys
from quickstart.data.sources import open_source
from quickstart.data.filters import FilterCounts, Filters, usable_windows
from quickstart.data.window import SourcePlan
from quickstart.settings import Settings
source = open_source(sys.argv[1], Settings(_env_file=None))
found = list(itertools.islice(source.windows(SourcePlan(1)), int(sys.argv[2])))
list(usable_windows(iter(found[:300]), Filters(set()), FilterCounts()))
print(len(found), len({window.provenance.path for window in found}))
"""
LONGEST_SECONDS = 120.0
LOOK_EVERY_SECONDS = 0.005


def read(name: str, windows: int) -> tuple[int, int, int]:
    """Windows, files, and peak bytes of a process that reads them."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    line = [sys.executable, "-c", READ, name, str(windows)]
    peak, started = 0, time.monotonic()
    with subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, text=True) as process:
        watched = psutil.Process(process.pid)
        try:
            while process.poll() is None:
                peak = max(peak, watched.memory_info().rss)
                assert time.monotonic() - started < LONGEST_SECONDS
                time.sleep(LOOK_EVERY_SECONDS)
        except psutil.Error:
            process.wait(LONGEST_SECONDS)  # it ended while it was looked at
        finally:
            process.kill()
        told, _ = process.communicate()
    assert process.returncode == 0
    found, files = map(int, told.split())
    return found, files, peak


@pytest.fixture
def huge(tmp_path: Path) -> Path:
    """Two gigabytes of which little is on the disk, and a line of 40 MB."""
    with (tmp_path / "sparse.bin").open("wb") as file:
        file.truncate(2 * GIB)
    with (tmp_path / "line.txt").open("wb") as file:
        for number in range(40):
            file.write(b"%07d words and no end " % number * (MIB // 25))
    return tmp_path


def test_a_folder_with_a_huge_file_and_a_huge_line(huge: Path) -> None:
    found, files, peak = read(f"dir:{huge}", 300)
    assert (found, files) == (300, 2)
    assert peak < 300 * MIB


@pytest.mark.parametrize("name", ["sparse.bin", "line.txt"])
def test_one_huge_file_of_lines(huge: Path, name: str) -> None:
    found, _, peak = read(f"text-lines:{huge / name}", 300)
    assert found == 300
    assert peak < 300 * MIB


def test_a_huge_row_group_with_huge_cells(tmp_path: Path) -> None:
    """340 MB of text in one row group, eight cells of it 40 MB long."""
    long, short = "forty megabytes of one line, " * (40 * MIB // 29), "a row of three kilobytes\n" * 120
    schema = pa.schema([("text", pa.large_string())])
    with pq.ParquetWriter(tmp_path / "rows.parquet", schema, compression="zstd", use_dictionary=False) as writer:
        block = pa.array([short] * 1_500 + [long] * 2, pa.large_string())
        writer.write_table(pa.table([pa.chunked_array([block] * 4)], schema), row_group_size=10**9)
    assert pq.ParquetFile(tmp_path / "rows.parquet").num_row_groups == 1
    found, _, peak = read(f"parquet:{tmp_path}/rows.parquet", 10_000)
    assert found == 10_000
    assert peak < 600 * MIB
