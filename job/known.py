"""What an output holds already: the photos of ``features`` and ``rejected``, in order of their paths.

The comparison with what is listed walks through both in step, so that neither is ever held whole. Each file
is in order of its paths, and read only when the listing has come to its first; of the features themselves
nothing is read.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from operator import attrgetter
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from job import store
from job.store import Stored

FILES_AHEAD: Final = 16  # of some 100 KB of columns each
COLUMNS: Final = ["path", "etag", "bytes", "modified"]
SCHEMA: Final = pa.schema(
    [
        *(store.LISTED.field(name) for name in COLUMNS),
        pa.field("good", pa.bool_()),  # in features; else in rejected
        pa.field("current", pa.bool_()),  # made by the network and the decoder of this run
        pa.field("file", pa.string()),  # "features/part-….parquet"
    ]
)


class _File(NamedTuple):
    first: str  # its first path
    name: str
    stored: Stored
    good: bool


class Known:
    """The photos of an output's tables.

    Parameters
    ----------
    output : str
        The output's location.
    backbone : str
        The name of this run's network: rows of another are not `current`.

    Attributes
    ----------
    features, rejected : list of Stored
        The tables' files as they were when this was made.
    """

    def __init__(self, output: str, backbone: str) -> None:
        self._output, self._backbone = output.rstrip("/"), backbone
        self.features = list(store.list_stored(store.join(output, store.FEATURES_TABLE), ".parquet"))
        self.rejected = list(store.list_stored(store.join(output, store.REJECTED_TABLE), ".parquet"))

    def steps(self) -> "Steps":
        """Return the photos, to be taken step by step."""
        return Steps(self._files(), self._read)

    def _files(self) -> list[_File]:
        stored = [(one, True) for one in self.features] + [(one, False) for one in self.rejected]
        with ThreadPoolExecutor(FILES_AHEAD) as pool:
            firsts = list(pool.map(_first_path, [one for one, _ in stored]))
        files = (
            _File(first, one.location.removeprefix(f"{self._output}/"), one, good)
            for (one, good), first in zip(stored, firsts, strict=True)
            if first is not None
        )
        return sorted(files, key=attrgetter("first", "name"))

    def _read(self, file: _File) -> pa.Table:
        """Return the photos of a file, in order of their paths."""
        columns = [*COLUMNS, "backbone"] if file.good else COLUMNS
        with store.open_columns(file.stored.location, file.stored.bytes) as source:
            table = pq.ParquetFile(source, pre_buffer=True).read(columns, use_threads=False)
        rows = len(table)
        current = pc.fill_null(pc.equal(table["backbone"], self._backbone), False) if file.good else None
        whole = {
            **{name: table[name] for name in COLUMNS},
            "good": _same(file.good, rows),
            "current": _same(True, rows) if current is None else current,
            "file": _same(file.name, rows),
        }
        found = pa.table(whole, schema=SCHEMA)
        paths = found["path"].combine_chunks()
        in_order = rows < 2 or pc.all(pc.less(paths[:-1], paths[1:])).as_py()
        return found if in_order else found.sort_by("path")


class Steps:
    """The photos of many files, each in order of its paths, to be taken in steps of ascending paths."""

    def __init__(self, files: list[_File], read: Any) -> None:
        self._waiting, self._read = deque(files), read
        self._ahead: deque[Future[pa.Table]] = deque()
        self._open: list[pa.Table] = []
        self._pool = ThreadPoolExecutor(FILES_AHEAD)

    def until(self, last: str) -> pa.Table:
        """Return what is known up to a path, that path with it; in no order."""
        while self._waiting and self._waiting[0].first <= last:
            self._open.append(self._next())
        taken = []
        rest = []
        for table in self._open:
            end = _rows_until(table["path"], last)
            if end:
                taken.append(table[:end])
            if end < len(table):
                rest.append(table[end:])
        self._open = rest
        return pa.concat_tables(taken).combine_chunks() if taken else SCHEMA.empty_table()

    def rest(self) -> Iterator[pa.Table]:
        """Yield all that is left, in ascending steps."""
        while self._open or self._waiting:
            lasts = [str(table["path"][-1]) for table in self._open]
            yield self.until(min(lasts) if lasts else self._waiting[0].first)

    def close(self) -> None:
        """Read no further."""
        self._pool.shutdown(cancel_futures=True)

    def _next(self) -> pa.Table:
        while len(self._ahead) < min(FILES_AHEAD, len(self._waiting)):
            self._ahead.append(self._pool.submit(self._read, self._waiting[len(self._ahead)]))
        self._waiting.popleft()
        return self._ahead.popleft().result()


def _first_path(stored: Stored) -> str | None:
    """Return the first path in a file, from its statistics; None if it has no rows."""
    with store.open_columns(stored.location, stored.bytes) as source:
        file = pq.ParquetFile(source)
        groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
        paths = [group.column(0).statistics for group in groups if group.num_rows]
        if not paths:
            return None
        if all(known is not None and known.has_min_max for known in paths):
            return str(min(known.min for known in paths))
        # Of a path of more than some thousand bytes there are no statistics.
        batches = file.iter_batches(columns=["path"], use_threads=False)
        return str(min(chain.from_iterable(batch.column(0).to_pylist() for batch in batches)))


def _rows_until(paths: pa.ChunkedArray, last: str) -> int:
    """Return how many of some ascending paths are not after `last`."""
    if str(paths[-1]) <= last:
        return len(paths)
    low, high = 0, len(paths) - 1
    while low < high:
        middle = (low + high) // 2
        if str(paths[middle]) <= last:
            low = middle + 1
        else:
            high = middle
    return low


def _same(value: object, rows: int) -> pa.Array:
    return pa.repeat(pa.scalar(value), rows)
