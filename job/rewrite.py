"""A table's file with some of its rows replaced or taken out: read whole, and written whole in its own place.

A reader sees the file as it was or as it is, so no photo is ever missing or there twice. What is done twice,
as when Spark runs a task again, leaves what doing it once would.
"""

import io
from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from job import store, tables


def replace(location: str, paths: Collection[str], rows: pa.Table) -> None:
    """Take the rows of some photos out of a file, and put others in.

    Parameters
    ----------
    location : str
        A Parquet file with a column ``path``.
    paths : collection of str
        Photos whose rows go; those that are not there are no error.
    rows : pyarrow.Table
        What comes, with the file's columns.
    """
    whole = read(location)
    kept = whole.filter(pc.invert(_of(whole, paths)))
    made = pa.concat_tables([kept, rows.cast(whole.schema)])
    store.write_bytes(location, tables.parquet(made.sort_by("path")))


def drop(location: str, paths: Collection[str]) -> pa.Table:
    """Take the rows of some photos out of a file, and return them."""
    whole = read(location)
    chosen = _of(whole, paths)
    found = whole.filter(chosen)
    if len(found):
        store.write_bytes(location, tables.parquet(whole.filter(pc.invert(chosen))))
    return found


def rows_of(location: str, paths: Collection[str], columns: list[str] | None = None) -> pa.Table:
    """Return the rows of some photos in a file."""
    wanted = None if columns is None else ["path", *columns]
    whole = read(location, wanted)
    return whole.filter(_of(whole, paths))


def read(location: str, columns: list[str] | None = None) -> pa.Table:
    """Return a Parquet file's rows, which are of one file and not of a folder's."""
    with store.open_input(location) as source:
        return pq.ParquetFile(io.BytesIO(source.read())).read(columns, use_threads=False)


def _of(table: pa.Table, paths: Collection[str]) -> pa.ChunkedArray:
    return pc.is_in(table["path"], value_set=pa.array(list(paths), pa.string()))
