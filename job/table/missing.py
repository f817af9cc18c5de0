"""The list of known photos that the last run did not find, for people to look at before they prune.

Each command that changes it writes it anew under its own number, and the highest number counts: a command
that was overtaken, and wakes, changes nothing. The others are deleted at the end of a command.
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
    place = sweep.missing_list(output)
    return files.read(place) if place else schema.MISSING.empty_table()


def write(writer: Writer, listed: Iterable[pa.RecordBatch]) -> None:
    """Write the list; a first one that is empty is not written."""
    sink, rows = io.BytesIO(), 0
    with pq.ParquetWriter(sink, schema.MISSING, compression="zstd") as file:
        for batch in listed:
            file.write_batch(batch.select(schema.MISSING.names).cast(schema.MISSING))
            rows += len(batch)
    if rows or sweep.missing_list(writer.output):
        place = store.join(writer.output, layout.MISSING, f"{writer.number:09}.parquet")
        store.write_bytes(place, sink.getvalue())
