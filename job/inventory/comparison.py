"""Join the listed photos with the table, to find those that are new, changed or missing.

A photo is unchanged if the table holds its path with the same etag and size, processed by this run's network
and decoder. DuckDB joins both sides as streams and spills to disk; features are not read. Without rows in the
table there is no join.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain, islice
from types import TracebackType
from typing import Final, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from job.inventory import database
from job.inventory.database import Database
from job.inventory.folder_listing import ListedFile
from job.storage import store
from job.table import files, layout
from job.table.commits import Snapshot
from job.table.layout import DataFile

FILES_AHEAD: Final = 16  # some 100 KB of columns each

_LISTED: Final = pa.schema(
    {
        "path": pa.string(),
        "bytes": pa.int64(),
        "etag": pa.string(),
        "modified": pa.int64(),  # microseconds since 1970
    }
)
_KNOWN: Final = pa.schema(
    {
        **dict(zip(_LISTED.names, _LISTED.types, strict=True)),
        "current": pa.bool_(),  # processed by this run's network and decoder
        "file": pa.int32(),
    }
)
# Without etags, the time of modification is compared; without both, only the size.
JOIN: Final = """
    CREATE TEMP TABLE difference AS
    SELECT coalesce(listed.path, known.path) AS path, listed.bytes, listed.etag, listed.modified, known.file,
           known.current, listed.path IS NULL AS is_missing, known.path IS NULL AS is_new
    FROM listed FULL JOIN known ON listed.path = known.path
    WHERE listed.path IS NULL OR known.path IS NULL OR NOT (
        known.current
        AND NOT ($retry AND known.file >= $first_rejected)
        AND coalesce(listed.bytes = known.bytes, false)
        AND CASE WHEN coalesce(listed.etag, '') != '' THEN coalesce(listed.etag = known.etag, false)
                 ELSE listed.modified IS NULL OR coalesce(listed.modified = known.modified, false) END)
"""

COUNTS: Final = """
    SELECT count(*) FILTER (NOT is_missing), count(*) FILTER (is_missing),
           count(*) FILTER (is_missing AND NOT current AND file < $first_rejected),
           count(*) FILTER (file >= $first_rejected)
    FROM difference WHERE NOT is_new
"""


class Comparison:
    """A comparison of listed photos with the table; entering its ``with`` block runs the join.

    Parameters
    ----------
    listed : iterable of ListedFile
        The photos, sorted by path.
    snapshot : Snapshot
        The table.
    backbone : str
        Name of this run's network and decoder.
    retry_rejected : bool
        Count rejected photos as changed, even if their files did not change.

    Attributes
    ----------
    known, changed, missing : int
        Photos in the table; of these, those to be processed again, and those that are not listed.
    missing_outdated : int
        Missing featurized photos whose rows come from another network or decoder.
    unchanged, unchanged_rejected : int
        Photos whose rows in the table are up to date, and the rejected ones among these.
    """

    def __init__(
        self,
        listed: Iterable[ListedFile],
        output: str,
        snapshot: Snapshot,
        backbone: str,
        retry_rejected: bool = False,
    ) -> None:
        self._listed, self._output, self._backbone, self._retry = listed, output, backbone, retry_rejected
        featurized, rejected = snapshot.files_of(layout.FEATURIZED), snapshot.files_of(layout.REJECTED)
        self._files, self._first_rejected = [*featurized, *rejected], len(featurized)
        self.known = self.unchanged = sum(file.rows for file in self._files)
        self.unchanged_rejected = sum(file.rows for file in rejected)
        self.changed = self.missing = self.missing_outdated = 0
        self._stack = ExitStack()
        self._database: Database | None = None

    def __enter__(self) -> Self:
        if self.known:
            with ExitStack() as stack:
                self._join(stack)
                self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def new_photos(self) -> Iterator[ListedFile]:
        """Yield the photos that the table does not hold, sorted by path."""
        if self._database is None:
            yield from self._listed
            return
        query = "SELECT path, bytes, etag, modified FROM difference WHERE is_new ORDER BY path"
        for batch in self._rows(query):
            yield from database.photos(batch["path"].to_pylist(), batch)

    def changed_photos(self) -> Iterator[tuple[ListedFile, DataFile]]:
        """Yield the photos to be processed again, each with the data file of its row, sorted by data file."""
        query = """SELECT path, bytes, etag, modified, file FROM difference
                   WHERE NOT is_new AND NOT is_missing ORDER BY file, path"""
        for batch in self._rows(query):
            photos = database.photos(batch["path"].to_pylist(), batch)
            for photo, file in zip(photos, batch["file"].to_pylist(), strict=True):
                yield photo, self._files[file]

    def missing_photos(self) -> Iterator[pa.RecordBatch]:
        """Yield the photos that are not listed: ``path``, ``outcome`` and ``file``, sorted by data file."""
        for batch in self._rows("SELECT path, file FROM difference WHERE is_missing ORDER BY file, path"):
            data_files = [self._files[file] for file in batch["file"].to_pylist()]
            columns = {
                "path": batch["path"],
                "outcome": pa.array([file.outcome for file in data_files], pa.string()),
                "file": pa.array([file.path for file in data_files], pa.string()),
            }
            yield pa.record_batch(columns)

    def _rows(self, query: str) -> Iterator[pa.RecordBatch]:
        if self._database is not None:
            yield from self._database.rows(query)

    def _join(self, stack: ExitStack) -> None:
        self._database = stack.enter_context(database.open_database())
        pool = stack.enter_context(ThreadPoolExecutor(FILES_AHEAD))
        listed = iter(self._listed)
        # A manifest is read and sorted before its first photo comes: in this thread, which signals can end.
        first = list(islice(listed, 1))
        self._database.feed("listed", _LISTED, self._listed_batches(chain(first, listed)))
        self._database.feed("known", _KNOWN, self._known_batches(pool))
        self._database.run(JOIN, {"retry": self._retry, "first_rejected": self._first_rejected})
        [(self.changed, self.missing, self.missing_outdated, rejected)] = self._database.run(
            COUNTS, {"first_rejected": self._first_rejected}
        )
        self.unchanged -= self.changed + self.missing
        self.unchanged_rejected -= rejected

    def _listed_batches(self, photos: Iterator[ListedFile]) -> Iterator[pa.RecordBatch]:
        while block := list(islice(photos, database.ROWS_PER_BATCH)):
            paths, sizes, etags, times, *_ = zip(*block, strict=True)
            yield pa.record_batch([paths, sizes, etags, database.microseconds(times)], schema=_LISTED)

    def _known_batches(self, pool: ThreadPoolExecutor) -> Iterator[pa.RecordBatch]:
        numbered = iter(enumerate(self._files))
        ahead = [pool.submit(self._read, *pair) for pair in islice(numbered, FILES_AHEAD)]
        while ahead:
            yield ahead.pop(0).result()
            ahead += [pool.submit(self._read, *pair) for pair in islice(numbered, 1)]

    def _read(self, number: int, file: DataFile) -> pa.RecordBatch:
        with store.open_columns(files.location(self._output, file.path), file.bytes) as source:
            columns = [*_LISTED.names, "backbone"]
            table = pq.ParquetFile(source, pre_buffer=True).read(columns, use_threads=False)
        current = pc.fill_null(pc.equal(table["backbone"], self._backbone), False)
        columns_read = [*(table[column.name].cast(column.type) for column in _LISTED), current]
        arrays = [column.combine_chunks() for column in columns_read]
        return pa.record_batch([*arrays, pa.repeat(pa.scalar(number, pa.int32()), len(table))], schema=_KNOWN)
