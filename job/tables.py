"""The tables as files: named by task and run, written whole, and read back by PyArrow straight into NumPy."""

import io
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from job import store
from job.errors import JobError

ROWS_PER_READ: Final = 512
ROWS_PER_GROUP: Final = 4096  # 20 MB of features: a reader's step
# A file holds the photos of one task, 256 at the most.
FILES_PER_SUM: Final = 200
FILES_PER_MATRIX: Final = 20  # 5,000 photos: 20 MB of CSV for 200 components
# Features hardly ever repeat: a dictionary of them is built only to be thrown away.
REPEATING: Final = ["label", "split", "reason", "backbone", "run_id"]


def part_name(task: int, run_id: str) -> str:
    """Return the name of the file that a task of a run writes."""
    return f"part-{task:06}-{run_id}.parquet"


def parts(location: str, run_id: str) -> dict[int, str]:
    """Return a table's files by the task that wrote them.

    Raises
    ------
    JobError
        If a file is there that no task of this run has written.
    """
    found: dict[int, str] = {}
    for name, _ in store.list_files(location):
        task = name.rpartition("/")[2].removeprefix("part-").split("-")[0]
        if not task.isdigit() or name != store.join(location, part_name(int(task), run_id)):
            raise JobError(f"{name} was not written by this run, which is not committed: run it again")
        found[int(task)] = name
    return found


def parquet(table: pa.Table) -> bytes:
    """Return a table as a Parquet file, compressed with zstd."""
    sink = io.BytesIO()
    repeating = [name for name in table.schema.names if name in REPEATING]
    pq.write_table(table, sink, ROWS_PER_GROUP, compression="zstd", use_dictionary=repeating)
    return sink.getvalue()


def write_empty(location: str, schema: pa.Schema, run_id: str) -> None:
    """Write a table of no rows, which says by its schema what is not in it."""
    store.write_bytes(store.join(location, part_name(0, run_id)), parquet(schema.empty_table()))


class MatrixWriter:
    """Collects one part of the reduced matrix, as Parquet and as CSV.

    Parameters
    ----------
    k : int
        Numbers in a row.
    """

    def __init__(self, k: int) -> None:
        self._numbers = [f"pc_{number}" for number in range(1, k + 1)]
        self._parquet, self._csv = io.BytesIO(), io.BytesIO()
        named = [*store.PCA.names[:3], *self._numbers]
        schema = pa.schema(
            [pa.field(name, pa.string() if name in store.PCA.names else pa.float32()) for name in named]
        )
        self._schema = schema
        self._table = pq.ParquetWriter(
            self._parquet, store.PCA, compression="zstd", use_dictionary=["label", "split"]
        )
        self._lines = pyarrow.csv.CSVWriter(self._csv, schema)

    def write(self, batch: pa.RecordBatch, rows: NDArray[np.float32]) -> None:
        """Add the projections ``(n, k)`` of a batch of n photos."""
        names = [batch.column(name) for name in store.PCA.names[:3]]
        self._table.write_batch(pa.record_batch([*names, vectors(rows)], schema=store.PCA), ROWS_PER_GROUP)
        columns = [pa.array(column) for column in np.ascontiguousarray(rows.T)]
        self._lines.write_batch(pa.record_batch([*names, *columns], schema=self._schema))

    def close(self) -> tuple[bytes, bytes]:
        """Return the Parquet file and the CSV file."""
        self._table.close()
        self._lines.close()
        return self._parquet.getvalue(), self._csv.getvalue()


def shares(files: list[str], tasks: int) -> list[list[str]]:
    """Share files out over tasks, evenly and in order."""
    ends = [len(files) * task // tasks for task in range(tasks + 1)]
    return [files[start:end] for start, end in pairwise(ends)]


def read(files: Iterable[str], names: list[str]) -> Iterator[pa.RecordBatch]:
    """Yield some columns of Parquet files, at most 512 rows at a time."""
    for name in files:
        with store.open_input(name) as source:
            yield from pq.ParquetFile(source).iter_batches(ROWS_PER_READ, columns=names, use_threads=False)


def vectors(rows: NDArray[np.float32]) -> pa.ListArray:
    """Return a matrix ``(n, d)`` as n lists of d numbers, without copying it."""
    offsets = np.arange(0, rows.size + 1, rows.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(rows.reshape(-1)))


def matrix(column: pa.ListArray, width: int) -> NDArray[np.float32]:
    """Return n lists of `width` numbers as a matrix ``(n, width)``, without copying them."""
    flat: NDArray[Any] = column.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(column), width)
