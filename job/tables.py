"""The tables as files: named by task and run, written whole, and read back by PyArrow straight into NumPy."""

import io
from collections.abc import Iterable, Iterator
from itertools import count, pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from job import store
from job.backbone import FEATURES
from job.pca import Pca
from job.store import Stored

ROWS_PER_READ: Final = 512
ROWS_PER_GROUP: Final = 4096  # 20 MB of features: a reader's step
FILES_PER_SUM: Final = 50  # of a thousand photos each: ten seconds
FILES_PER_MATRIX: Final = 20
# Features hardly ever repeat: a dictionary of them is built only to be thrown away.
REPEATING: Final = ["label", "split", "reason", "backbone", "run_id", "model_id"]


def part_name(task: int, attempt: str) -> str:
    """Return the name of the file that a task of a run writes."""
    return f"part-{task:06}-{attempt}.parquet"


def attempt(run_id: str, files: Iterable[Stored]) -> str:
    """Return what this run's files are named after: its id, and a number if an earlier run had that id too.

    Kubernetes starts a driver that has died again with the same arguments: it must not write the same names.
    """
    names = [file.location for file in files]
    for number in count(1):
        found = run_id if number == 1 else f"{run_id}.{number}"
        if not any(name.endswith(f"-{found}.parquet") for name in names):
            return found
    raise AssertionError


def parts(files: Iterable[Stored], attempt: str) -> dict[int, str]:
    """Return those of a table's files that an attempt at a run has written, by its tasks."""
    found: dict[int, str] = {}
    for file in files:
        task = file.location.rpartition("/")[2].removeprefix("part-").split("-")[0]
        if task.isdigit() and file.location.endswith(f"/{part_name(int(task), attempt)}"):
            found[int(task)] = file.location
    return found


def replaced(output: str, attempt: str, file: str) -> str:
    """Return where the features are kept that an attempt has replaced in ``features/…``."""
    return store.join(output, store.REPLACED, attempt, file.rpartition("/")[2])


def matrix_names(file: str, model_id: str) -> tuple[str, str]:
    """Return the names in ``pca`` and ``pca_csv`` of what a model makes of a file of features."""
    stem = f"{file.rpartition('/')[2].removesuffix('.parquet')}.{model_id}"
    return f"{store.PCA_TABLE}/{stem}.parquet", f"{store.PCA_CSV_TABLE}/{stem}.csv"


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
    model_id : str
        The model that made them.
    """

    def __init__(self, k: int, model_id: str) -> None:
        self._model_id = model_id
        self._numbers = [f"pc_{number}" for number in range(1, k + 1)]
        self._parquet, self._csv = io.BytesIO(), io.BytesIO()
        named = [*store.PCA.names[:3], *self._numbers]
        schema = pa.schema(
            [pa.field(name, pa.string() if name in store.PCA.names else pa.float32()) for name in named]
        )
        self._schema = schema
        self._table = pq.ParquetWriter(
            self._parquet, store.PCA, compression="zstd", use_dictionary=["label", "split", "model_id"]
        )
        self._lines = pyarrow.csv.CSVWriter(self._csv, schema)

    def write(self, batch: pa.RecordBatch, rows: NDArray[np.float32]) -> None:
        """Add the projections ``(n, k)`` of a batch of n photos."""
        names = [batch.column(name) for name in store.PCA.names[:3]]
        model = pa.repeat(pa.scalar(self._model_id), len(rows))
        batch = pa.record_batch([*names, vectors(rows), model], schema=store.PCA)
        self._table.write_batch(batch, ROWS_PER_GROUP)
        columns = [pa.array(column) for column in np.ascontiguousarray(rows.T)]
        self._lines.write_batch(pa.record_batch([*names, *columns], schema=self._schema))

    def close(self) -> tuple[bytes, bytes]:
        """Return the Parquet file and the CSV file."""
        self._table.close()
        self._lines.close()
        return self._parquet.getvalue(), self._csv.getvalue()


def project(file: str, output: str, model: Pca, model_id: str) -> int:
    """Write the matrix of one file of features, as Parquet and as CSV, and return its rows."""
    made, rows = MatrixWriter(model.k, model_id), 0
    for batch in read([file], [*store.PCA.names[:3], "features"]):
        reduced = model.project(matrix(batch.column("features"), FEATURES))
        made.write(batch, reduced)
        rows += len(reduced)
    for name, data in zip(matrix_names(file, model_id), made.close(), strict=True):
        store.write_bytes(store.join(output, name), data)
    return rows


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
