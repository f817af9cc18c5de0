"""Lists of paths beside the table, for people to check: ``missing`` and ``skipped``.

``missing`` holds the photos of the table that the last run did not list, ``skipped`` the files that it did
not take for photos. Each command writes a list under its own number, and the highest number is valid: so a
command that was overtaken cannot change it. Older lists are deleted at the end of a command.
"""

import io
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.parquet as pq

from job.storage import store
from job.table import files, schema, sweep
from job.table.writer import Writer


def read(output: str, name: str) -> pa.Table:
    """Return a list: ``path``, and the photo's ``outcome`` or the ``kind`` of the skipped file."""
    location = sweep.newest_list(output, name)
    return files.read(location) if location else schema.LISTS[name].empty_table()


def write(writer: Writer, name: str, batches: Iterable[pa.RecordBatch]) -> None:
    """Write a list; an empty one only if it replaces another."""
    columns = schema.LISTS[name]
    sink, rows = io.BytesIO(), 0
    with pq.ParquetWriter(sink, columns, compression="zstd") as file:
        for batch in batches:
            file.write_batch(batch.select(columns.names).cast(columns))
            rows += len(batch)
    if rows or sweep.newest_list(writer.output, name):
        store.write_bytes(sweep.list_location(writer.output, name, writer.number), sink.getvalue())
