"""DuckDB for one query: its memory is bounded, and no file or thread of it stays."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest

from job.errors import DataError, JobError, UsageError
from job.inventory import database
from tests.support.listings import bytes_in, temporary

ROWS: Final = pa.schema({"path": pa.string()})
ENDLESS: Final = "SELECT count(*) FROM rows, range(1000000000000) AS numbers WHERE numbers.range % 7 = 3"


@pytest.fixture
def spilled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return temporary(tmp_path, monkeypatch)


def batches(count: int, failure: BaseException | None = None) -> Iterator[pa.RecordBatch]:
    """Yield `count` batches of long, unordered paths, then raise `failure`."""
    for number in range(count):
        paths = [f"/{row * 7919 % 10_007:05}/{number:05}/{'long ' * 40}" for row in range(1_000)]
        yield pa.record_batch([paths], schema=ROWS)
    if failure is not None:
        raise failure


@pytest.mark.parametrize("query", ["SELECT * FROM rows", "SELECT * FROM rows ORDER BY path"])
@pytest.mark.parametrize(
    "failure", [UsageError("its own"), OSError("x"), DataError("x"), KeyboardInterrupt()]
)
def test_an_error_of_the_stream_is_raised_unchanged(
    spilled: Path, query: str, failure: BaseException
) -> None:
    with pytest.raises(type(failure)) as caught, database.open_database() as connection:
        connection.feed("rows", ROWS, batches(30, failure))
        list(connection.rows(query))
    assert caught.value is failure
    with pytest.raises(type(failure)) as caught, database.open_database() as connection:
        connection.feed("rows", ROWS, batches(30, failure))
        connection.run("CREATE TABLE answer AS SELECT * FROM rows WHERE path != $no", {"no": ""})
    assert caught.value is failure
    assert list(spilled.iterdir()) == []


def test_overflow_is_spilled_to_disk_and_deleted_afterwards(
    spilled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "MEMORY", "64MB")
    monkeypatch.setattr(database, "THREADS", 1)
    with database.open_database() as connection:
        connection.feed("rows", ROWS, batches(300))
        rows = connection.rows("SELECT path FROM rows ORDER BY path")
        first = next(rows)["path"].to_pylist()
        assert first == sorted(first)
        assert len(first) == database.ROWS_PER_BATCH
        assert bytes_in(spilled) > 2**20
    assert list(spilled.iterdir()) == []


def test_a_query_without_memory_and_disk_is_refused_and_tmpdir_is_named(
    spilled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "MEMORY", "1MB")
    with (
        pytest.raises(
            JobError, match=r"^the photos cannot be put in order \(.*\): let TMPDIR name"
        ) as caught,
        database.open_database() as connection,
    ):
        connection.feed("rows", ROWS, batches(100))
        list(connection.rows("SELECT * FROM rows ORDER BY path"))
    assert "\n" not in str(caught.value)
    assert list(spilled.iterdir()) == []


def test_a_wrong_query_raises_duckdbs_own_error() -> None:
    with pytest.raises(Exception, match="does not exist") as caught, database.open_database() as connection:
        list(connection.rows("SELECT * FROM rowz"))
    assert not isinstance(caught.value, JobError)


def interrupted(folder: Path, program: str) -> str:
    """Run a program, send it SIGINT once it is ready, and return what it prints afterwards."""
    command = [sys.executable, "-c", program, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            child.send_signal(signal.SIGINT)
            return child.communicate(timeout=30)[0]
        finally:
            child.kill()


QUERYING: Final = """
import os, sys, tempfile
import pyarrow as pa
from job.inventory import database
tempfile.tempdir = sys.argv[1]
rows = pa.schema({"path": pa.string()})

def first_rows():
    yield pa.record_batch([["/a"]], schema=rows)
    print("ready", flush=True)

threads = len(os.listdir("/proc/self/task"))
try:
    with database.open_database() as connection:
        connection.feed("rows", rows, first_rows())
        QUERY
except KeyboardInterrupt:
    print("interrupted", len(os.listdir("/proc/self/task")) - threads, os.listdir(sys.argv[1]))
"""


@pytest.mark.parametrize("query", ["connection.run(sql, {})", "list(connection.rows(sql))"])
def test_an_interruption_ends_a_long_query_and_its_threads(tmp_path: Path, query: str) -> None:
    assert interrupted(tmp_path, QUERYING.replace("QUERY", query.replace("sql", repr(ENDLESS)))) == (
        "interrupted 0 []\n"
    )


def test_an_interruption_while_a_query_is_handed_to_its_thread_ends_it_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(KeyboardInterrupt), database.open_database() as connection:
        submit = connection._thread.submit

        def interrupted_submit(query: Any) -> None:
            monkeypatch.undo()
            submit(query)
            raise KeyboardInterrupt

        monkeypatch.setattr(connection._thread, "submit", interrupted_submit)
        connection.run("SELECT sum(a.range + b.range) FROM range(10_000_000) a, range(10_000_000) b", {})


# An endless listing; and an endless query of a manifest, before it yields a photo.
LISTINGS: Final = (
    """
def listing():
    for number in itertools.count():
        if number == 30_000:
            print("ready", flush=True)
        yield listed(f"/{number:09}")
""",
    """
def first_rows():
    yield pa.record_batch([["/a"]], schema=rows)
    print("ready", flush=True)

def listing():
    with database.open_database() as connection:
        connection.feed("rows", rows, first_rows())
        yield from connection.rows(QUERY)
""",
)
COMPARING: Final = """
import itertools, os, sys, tempfile
import pyarrow as pa
from job.inventory import database
from job.inventory.comparison import Comparison
from tests.support.listings import NETWORK, ONE, known, listed
tempfile.tempdir = sys.argv[1]
table = known(sys.argv[1] + "/out", {ONE: ["/a"]})
rows = pa.schema({"path": pa.string()})
LISTING
try:
    with Comparison(listing(), sys.argv[1] + "/out", table, NETWORK):
        pass
except KeyboardInterrupt:
    print("interrupted", os.listdir(sys.argv[1]))
"""


@pytest.mark.parametrize("listing", LISTINGS, ids=["a listing", "a manifest"])
def test_an_interruption_ends_a_long_comparison(tmp_path: Path, listing: str) -> None:
    program = COMPARING.replace("LISTING", listing.replace("QUERY", repr(ENDLESS)))
    assert interrupted(tmp_path, program) == "interrupted ['out']\n"


FIRST_RUN: Final = """
from tests.support.listings import make, take
make(folder / "in", "1.jpg")
assert take(folder / "in", to=folder / "out")[0].photos == 1
"""
HELP: Final = """
from job.main import main
try:
    main(["--help"])
except SystemExit:
    pass
"""


@pytest.mark.parametrize("program", [FIRST_RUN, HELP], ids=["a first listing", "--help"])
def test_duckdb_and_deltalake_are_loaded_only_where_they_are_needed(tmp_path: Path, program: str) -> None:
    print_loaded = "print({'duckdb', 'deltalake', 'tensorflow'} & set(sys.modules))"
    script = f"import sys; from pathlib import Path; folder = Path(sys.argv[1])\n{program}\n{print_loaded}"
    command: list[Any] = [sys.executable, "-c", script, tmp_path]
    assert subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.endswith("set()\n")
