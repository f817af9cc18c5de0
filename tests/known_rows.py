"""Tables of an output as earlier runs may have left them: rows in files, in any order, without a run."""

import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from job import store, tables
from job.backbone import FEATURES
from job.walk import Listed

NOON: Final = datetime(2026, 11, 21, 12, tzinfo=UTC)
NETWORK: Final = "network-1"


class Row(NamedTuple):
    """What is known of a photo; its network counts in ``features`` only."""

    path: str
    etag: str | None = "e"
    bytes: int = 5
    modified: datetime | None = NOON
    backbone: str | None = NETWORK
    reason: str = "truncated"


def listed(path: str, etag: str = "e", size: int = 5, modified: datetime | None = NOON) -> Listed:
    """Return a photo as it is listed: the one that a row of that path is of."""
    return Listed(path, size, etag, modified)


def table(file: str, rows: Sequence[Row], features: NDArray[np.float32] | None = None) -> pa.Table:
    """Return rows as the table that a file's name begins with has them."""
    schema = store.FEATURES if file.startswith(store.FEATURES_TABLE) else store.REJECTED
    columns = {name: [getattr(row, name, None) for row in rows] for name in schema.names}
    if features is not None:
        columns["features"] = tables.vectors(features)
    return pa.table(columns, schema=schema)


def write(
    output: str, file: str, rows: Sequence[Row | str], features: NDArray[np.float32] | None = None
) -> None:
    """Write rows, or paths of rows, in the order given, into a file of an output (``features/…``)."""
    whole = [row if isinstance(row, Row) else Row(row) for row in rows]
    store.write_bytes(store.join(output, file), tables.parquet(table(file, whole, features)))


def write_in_groups(output: str, file: str, rows: Sequence[Row], size: int) -> None:
    """Write rows in row groups of a size."""
    sink = io.BytesIO()
    pq.write_table(table(file, rows), sink, size)
    store.write_bytes(store.join(output, file), sink.getvalue())


def drawn(rows: int, seed: int = 0) -> NDArray[np.float32]:
    """Return features ``(rows, 1280)``."""
    return np.random.default_rng(seed).normal(3, 2, (rows, FEATURES)).astype(np.float32)
