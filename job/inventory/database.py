"""A temporary DuckDB database, to sort and join more rows than fit in memory.

Rows stream in and results stream out; DuckDB spills to a temporary folder. Errors of an input stream, such as
a listing's, are raised unchanged; DuckDB's own become one sentence.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from job.errors import JobError
from job.inventory.folder_listing import ListedFile

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MEMORY: Final = "512MB"  # a run with a manifest has two databases; ten million photos spill 1.6 GB
THREADS: Final = 2  # each needs a share of the memory: with 32, sorting eight million photos fails
ROWS_PER_BATCH: Final = 10_000
INTERRUPT_SECONDS: Final = 0.1
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Database:
    """A database in memory, from :func:`open_database`."""

    def __init__(self, connection: "DuckDBPyConnection", thread: ThreadPoolExecutor) -> None:
        self._connection, self._thread = connection, thread
        self._failures: list[BaseException] = []

    def feed(self, name: str, columns: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
        """Register a stream as a table for one query, which may read it in other threads."""

        def guarded() -> Iterator[pa.RecordBatch]:
            try:
                yield from batches
            except GeneratorExit:
                raise
            except BaseException as error:
                self._failures.append(error)
                raise

        self._connection.register(name, pa.RecordBatchReader.from_batches(columns, guarded()))

    def run(self, statement: str, parameters: Mapping[str, object]) -> list[Any]:
        """Run a statement, and return its few rows."""
        rows: list[Any] = self._interruptible(
            lambda: self._connection.execute(statement, dict(parameters)).fetchall()
        )
        return rows

    def rows(self, query: str) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query in batches."""
        reader = self._interruptible(lambda: self._connection.sql(query).to_arrow_reader(ROWS_PER_BATCH))
        while (batch := self._interruptible(lambda: next(reader, None))) is not None:
            yield batch

    def _interruptible(self, query: Callable[[], Any]) -> Any:
        """Run a query in a thread, as DuckDB would block signals; an exception here interrupts it."""
        import duckdb  # noqa: PLC0415 (30 MB, which only a query needs)

        try:
            return self._thread.submit(query).result()
        except BaseException as error:
            # The query may run though its future is not known: the interruption may have come in `submit`.
            query_ended = self._thread.submit(int)
            while not wait([query_ended], INTERRUPT_SECONDS).done:
                self._connection.interrupt()  # without effect on a query that has not yet started
            if self._failures:
                raise self._failures[0] from None
            if isinstance(error, duckdb.OperationalError | OSError):
                reason = str(error).splitlines()[0]
                raise JobError(
                    f"the photos cannot be put in order ({reason}): let TMPDIR name a folder with more room"
                ) from None
            raise


@contextmanager
def open_database() -> Iterator[Database]:
    """Open a database, and delete its spilled files at the end."""
    import duckdb  # noqa: PLC0415 (as above)

    with tempfile.TemporaryDirectory(prefix="fruits-duckdb-") as folder:
        settings: dict[str, Any] = {
            "memory_limit": MEMORY,
            "threads": THREADS,
            "temp_directory": folder,
            "preserve_insertion_order": False,
        }
        with duckdb.connect(":memory:", config=settings) as connection, ThreadPoolExecutor(1) as thread:
            thread.submit(int).result()  # an interruption while it starts must not leave a query running
            yield Database(connection, thread)


def microseconds(times: Iterable[datetime | None]) -> pa.Array:
    """Return times in microseconds since 1970."""
    # Durations, here and below: Arrow's timestamps with time zones would take most of the time.
    return pa.array([time and time - EPOCH for time in times], pa.duration("us")).cast(pa.int64())


def photos(paths: Iterable[str], batch: pa.RecordBatch) -> Iterator[ListedFile]:
    """Return photos from a batch of ``bytes``, ``etag`` and ``modified`` (microseconds since 1970)."""
    durations = batch["modified"].cast(pa.duration("us")).to_numpy(zero_copy_only=False).tolist()
    times = (None if duration is None else EPOCH + duration for duration in durations)
    return map(ListedFile, paths, batch["bytes"].to_pylist(), batch["etag"].to_pylist(), times)
