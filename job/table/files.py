"""Parquet files of the table: write them, read them, and convert feature columns to NumPy matrices."""

import io
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from job.storage import store
from job.table import layout, schema
from job.table.layout import DataFile

ROWS_PER_READ: Final = 512
ROWS_PER_GROUP: Final = 4096  # 20 MB of features, which a reader loads at a time
# Only these columns get dictionaries: features hardly ever repeat.
REPEATING: Final = ("label", "split", "reason", "backbone", "run_id", "outcome")


def parquet_bytes(table: pa.Table) -> bytes:
    """Return a table as a Parquet file, compressed with zstd."""
    sink = io.BytesIO()
    repeating = [name for name in table.schema.names if name in REPEATING]
    pq.write_table(table, sink, ROWS_PER_GROUP, compression="zstd", use_dictionary=repeating)
    return sink.getvalue()


def write(output: str, path: str, rows: pa.Table) -> DataFile:
    """Write rows, sorted by path, as a new data file; a commit must add it to the table.

    `path` comes from :func:`layout.data_path`, and `rows` have the columns ``schema.PHOTOS``.
    """
    data = parquet_bytes(rows.cast(schema.PHOTOS).sort_by("path"))
    store.write_bytes(location(output, path), data)
    return DataFile(path, len(data), len(rows))


def location(output: str, path: str) -> str:
    """Return the location of a data file."""
    return store.join(output, layout.PHOTOS, path)


def read(source: str, columns: list[str] | None = None) -> pa.Table:
    """Return a Parquet file's rows."""
    return pq.ParquetFile(io.BytesIO(store.read_bytes(source))).read(columns, use_threads=False)


def batches(sources: Iterable[str], columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Yield some columns of Parquet files, at most 512 rows at a time."""
    for source in sources:
        with store.open_input(source) as file:
            yield from pq.ParquetFile(file).iter_batches(ROWS_PER_READ, columns=columns, use_threads=False)


def photo_mask(table: pa.Table, paths: Collection[str]) -> pa.ChunkedArray:
    """Return a Boolean column: True in rows of the given photos."""
    return pc.is_in(table["path"], value_set=pa.array(list(paths), pa.string()))


def rows_without(source: str, paths: Collection[str]) -> pa.Table:
    """Return a file's rows without those of the given photos."""
    rows = read(source)
    return rows.filter(pc.invert(photo_mask(rows, paths)))


def vectors(rows: NDArray[np.float32]) -> pa.ListArray:
    """Return a matrix ``(n, d)`` as n lists of d numbers, without copying it."""
    offsets = np.arange(0, rows.size + 1, rows.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(rows.reshape(-1)))


def matrix(column: pa.ListArray, width: int) -> NDArray[np.float32]:
    """Return n lists of `width` numbers as a matrix ``(n, width)``, without copying them."""
    flat: NDArray[Any] = column.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(column), width)
