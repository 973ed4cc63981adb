"""Rows of parquet files, wherever they lie: in an order fixed by a plan, and from any row on.

Files are shuffled by the seed, and so are the row groups within each. A column is decoded through a small buffer, a few
rows at a time, so that neither a huge row group nor a huge cell is held whole. Going on opens only the file that the
cursor points into, and decodes that row group from its beginning.
"""

import logging
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from quickstart.data.patience import GivenUpError
from quickstart.data.window import Cursor, SourcePlan
from quickstart.errors import SourceError
from quickstart.units import MIB

log = logging.getLogger(__name__)

BATCH_BYTES = 4 * MIB
LARGEST_BATCH_ROWS = 64
READ_BYTES = 1 * MIB

BROKEN_FILE = "broken file"


class MissingFileError(Exception):
    """A file that was listed cannot be had."""


@dataclass(frozen=True, slots=True)
class FileSet:
    """Files of one version of a data set. `revision`: that version; `open`: a path's content, for pyarrow."""

    revision: str
    paths: Sequence[str]
    open: Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a batch; cells are decoded when asked for. `path`: its file; `name`: its row group and number."""

    batch: pa.RecordBatch
    index: int
    path: str
    name: str

    def value(self, column: str) -> Any:
        """A cell as a Python object; None if the column is not there."""
        place = self.batch.schema.get_field_index(column)
        return None if place < 0 else self.batch.column(place)[self.index].as_py()

    def text(self, column: str) -> memoryview | None:
        """A string cell's UTF-8 bytes, not copied; None if it is null."""
        buffer = self.batch.column(self.batch.schema.get_field_index(column))[self.index].as_buffer()
        return None if buffer is None else memoryview(buffer).cast("B")


def read_rows(
    files: FileSet,
    columns: Sequence[str],
    needed: Sequence[str],
    plan: SourcePlan,
    resume_from: Cursor | None,
    skipped: Counter[str],
) -> Iterator[tuple[Cursor, Row]]:
    """Rows with what goes on at each of them. Files that are missing, broken, or lack a needed column are counted in
    `skipped`, and left out from there on.

    Raises:
        SourceError: no file has the needed columns.
    """
    start = resume_from if resume_from and resume_from["revision"] == files.revision else {}
    if resume_from and not start:
        log.info("other files than before: read from the beginning")
    paths = sorted(files.paths)
    random.Random(plan.seed).shuffle(paths)
    lacking = 0
    for place, path in enumerate(plan.share(paths)):
        if place < start.get("file", 0):
            continue
        here = start if place == start.get("file") else {}
        try:
            with pq.ParquetFile(files.open(path), buffer_size=READ_BYTES, pre_buffer=False) as parquet:
                names = parquet.schema_arrow.names
                if not set(needed) <= set(names):
                    skipped["file without the column"] += 1
                    lacking += 1
                    continue
                wanted = [column for column in columns if column in names]
                groups = list(range(parquet.num_row_groups))
                random.Random(f"{plan.seed}/{path}").shuffle(groups)
                for group in range(here.get("group", 0), len(groups)):
                    first = here.get("row", 0) if group == here.get("group") else 0
                    for number, batch, index in _group_rows(parquet, groups[group], wanted, first):
                        cursor = {"revision": files.revision, "file": place, "group": group, "row": number}
                        yield cursor, Row(batch, index, path, f"{groups[group]}.{number}")
        except MissingFileError:
            skipped["missing file"] += 1
        except (pa.ArrowException, OSError, GivenUpError) as error:
            skipped[BROKEN_FILE] += 1
            log.info("%s skipped: %s", path, error)
    if lacking and lacking == len(plan.share(paths)):
        raise SourceError(f"no file has the column {', '.join(needed)}: the last one has {', '.join(names)}")


def _group_rows(
    parquet: pq.ParquetFile, group: int, columns: Sequence[str], first: int
) -> Iterator[tuple[int, pa.RecordBatch, int]]:
    """Rows of a row group from number `first` on: number, batch, place in the batch."""
    facts = parquet.metadata.row_group(group)
    average = max(1, facts.total_byte_size // max(1, facts.num_rows))
    rows = max(1, min(LARGEST_BATCH_ROWS, BATCH_BYTES // average))
    number = 0
    for batch in parquet.iter_batches(batch_size=rows, row_groups=[group], columns=list(columns), use_threads=False):
        for index in range(max(0, first - number), batch.num_rows):
            yield number + index, batch, index
        number += batch.num_rows
