"""The list of photos in the table that the last run did not list, for people to check before they prune.

Each command writes the list under its own number, and the highest number is valid: so a command that was
overtaken cannot change it. Older lists are deleted at the end of a command.
"""

import io
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.parquet as pq

from job.storage import store
from job.table import files, layout, schema, sweep
from job.table.writer import Writer


def read(output: str) -> pa.Table:
    """Return the list: ``path`` and ``outcome``."""
    location = sweep.missing_list(output)
    return files.read(location) if location else schema.MISSING.empty_table()


def write(writer: Writer, missing: Iterable[pa.RecordBatch]) -> None:
    """Write the list; an empty one only if it replaces another."""
    sink, rows = io.BytesIO(), 0
    with pq.ParquetWriter(sink, schema.MISSING, compression="zstd") as file:
        for batch in missing:
            file.write_batch(batch.select(schema.MISSING.names).cast(schema.MISSING))
            rows += len(batch)
    if rows or sweep.missing_list(writer.output):
        location = store.join(writer.output, layout.MISSING, f"{writer.number:09}.parquet")
        store.write_bytes(location, sink.getvalue())
