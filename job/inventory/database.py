"""A database for one question about more rows than the memory holds: they stream in, an answer streams out.

It is DuckDB, which spills to a folder what its memory does not hold; both are gone with the question. What a
stream raises, such as the sentence of a listing, comes out as it is; what DuckDB cannot do is a sentence.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from job.errors import JobError
from job.inventory.folders import ListedFile

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MEMORY: Final = "512MB"  # a run on a list has two databases; ten million photos spill 1.6 GB
THREADS: Final = 2  # each wants its share of the memory: with 32, a sort of eight million photos fails
ROWS_PER_BATCH: Final = 10_000
INTERRUPT_SECONDS: Final = 0.1
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Database:
    """A database in memory; :func:`open_database` makes it."""

    def __init__(self, connection: "DuckDBPyConnection", thread: ThreadPoolExecutor) -> None:
        self._connection, self._thread = connection, thread
        self._failures: list[BaseException] = []

    def feed(self, name: str, columns: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
        """Offer rows as a table of this name, for one question, which pulls them, maybe in other threads."""

        def kept() -> Iterator[pa.RecordBatch]:
            try:
                yield from batches
            except GeneratorExit:
                raise
            except BaseException as error:
                self._failures.append(error)
                raise

        self._connection.register(name, pa.RecordBatchReader.from_batches(columns, kept()))

    def run(self, statement: str, parameters: Mapping[str, object]) -> list[Any]:
        """Run a statement, and return its few rows."""
        answer: list[Any] = self._interruptible(
            lambda: self._connection.execute(statement, dict(parameters)).fetchall()
        )
        return answer

    def rows(self, query: str) -> Iterator[pa.RecordBatch]:
        """Yield the rows of an answer."""
        reader = self._interruptible(lambda: self._connection.sql(query).to_arrow_reader(ROWS_PER_BATCH))
        while (batch := self._interruptible(lambda: next(reader, None))) is not None:
            yield batch

    def _interruptible(self, question: Callable[[], Any]) -> Any:
        """Let another thread ask, for in DuckDB no signal would be seen; here one ends the question."""
        import duckdb  # noqa: PLC0415 (30 MB, which only a question needs)

        answer = self._thread.submit(question)
        try:
            return answer.result()
        except BaseException as error:
            while not answer.done():
                self._connection.interrupt()  # it has no effect on what has not quite begun
                wait([answer], INTERRUPT_SECONDS)
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
    """Open a database, and leave nothing of what it has spilled."""
    import duckdb  # noqa: PLC0415 (as above)

    with tempfile.TemporaryDirectory(prefix="fruits-duckdb-") as folder:
        settings: dict[str, Any] = {
            "memory_limit": MEMORY,
            "threads": THREADS,
            "temp_directory": folder,
            "preserve_insertion_order": False,
        }
        with duckdb.connect(":memory:", config=settings) as connection, ThreadPoolExecutor(1) as thread:
            yield Database(connection, thread)


def microseconds(moments: Iterable[datetime | None]) -> pa.Array:
    """Return moments in microseconds since 1970."""
    # Spans, here and below: Arrow's own objects, or a time zone for each, cost more than all the rest.
    return pa.array([moment and moment - EPOCH for moment in moments], pa.duration("us")).cast(pa.int64())


def photos(paths: Iterable[str], batch: pa.RecordBatch) -> Iterator[ListedFile]:
    """Return photos, of which a batch has ``bytes``, ``etag`` and ``modified``, in microseconds."""
    spans = batch["modified"].cast(pa.duration("us")).to_numpy(zero_copy_only=False).tolist()
    moments = (None if span is None else EPOCH + span for span in spans)
    return map(ListedFile, paths, batch["bytes"].to_pylist(), batch["etag"].to_pylist(), moments)
