"""Spark with Delta Lake as a reader of Delta tables, in a process of its own.

The suite's own session knows no Delta Lake: :mod:`tests.delta_reader` has one. Its jars come from Maven
Central through Spark's Ivy; where they cannot be had a test is skipped, but never in CI.
"""

import json
import os
import pickle
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import pytest

PROGRAM: Final = Path(__file__).with_name("delta_reader.py")
# What Ivy says of a package that it does not get: no description of it, or no jar.
LACKING: Final = re.compile(r"\[(?:unresolved dependency|download failed): ([^\s:\]]+)", re.IGNORECASE)


@dataclass(frozen=True)
class Report:
    """What a reader saw: snapshots read, their versions, reads that lost a file to a sweep, violations."""

    snapshots: int
    versions: list[int]
    swept: int
    violations: list[str]


class Reader:
    """A running reader, and the file of its errors."""

    def __init__(self, process: "subprocess.Popen[bytes]", errors: IO[bytes]) -> None:
        assert process.stdin
        assert process.stdout
        self._process, self._errors = process, errors
        self._orders, self._answers = process.stdin, process.stdout

    def answer(self) -> Any:
        """Return its next answer; raise AssertionError with its last words if it has died."""
        try:
            return pickle.load(self._answers)
        except EOFError:
            code = self._process.wait()
        self._errors.seek(0)
        words = self._errors.read().decode(errors="replace")
        if packages := {*LACKING.findall(words)}:
            _skip_or_fail(packages)
        raise AssertionError(f"the reader has ended, exit code {code}: {words[-3000:]}")

    def stop(self) -> Report:
        """End a reader that :func:`reading` has started, once it has read the newest version once more."""
        self._orders.close()
        return Report(**self.answer())


def read(location: str | Path, columns: Sequence[str], endpoint: str | None = None) -> list[dict[str, Any]]:
    """Return the rows of a table's newest version, in no order; timestamps are in UTC and say so.

    Parameters
    ----------
    location : str or Path
        An absolute path, or ``s3a://bucket/prefix``; credentials are in the environment.
    columns : sequence of str
        What to read.
    endpoint : str, optional
        The URL of S3; without it ``AWS_ENDPOINT_URL`` in the environment says it.
    """
    with _started("read", location, columns, endpoint) as reader:
        rows: list[dict[str, Any]] = reader.answer()
    return rows


@contextmanager
def reading(location: str | Path, always: Sequence[str], endpoint: str | None = None) -> Iterator[Reader]:
    """Read a table, which exists, again and again while the block runs, each time its newest version.

    The block begins when a first snapshot has been read; :meth:`Reader.stop` in it returns the report. A
    violation is a path that is in a snapshot twice, a path of `always` that is not in it, or a snapshot that
    still is the newest although one of its files is gone. A file swept while an older one is read is none.
    """
    with _started("watch", location, always, endpoint) as reader:
        assert reader.answer() == "ready"
        yield reader


@contextmanager
def _started(task: str, location: str | Path, names: Sequence[str], endpoint: str | None) -> Iterator[Reader]:
    environment = {name: os.environ[name] for name in os.environ if not name.startswith(("PYSPARK", "SPARK"))}
    environment |= {"TZ": "UTC"} | ({"AWS_ENDPOINT_URL": endpoint} if endpoint else {})
    # -P: what lies beside the program is not to be imported.
    command = [sys.executable, "-P", str(PROGRAM), task, str(location)]
    pipe = subprocess.PIPE
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        (Path(folder) / "errors").open("w+b") as errors,
        subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=errors, env=environment, cwd=folder
        ) as process,
    ):
        try:
            assert process.stdin
            process.stdin.write(json.dumps([*names]).encode() + b"\n")
            process.stdin.flush()
            yield Reader(process, errors)
        finally:
            process.kill()  # its JVM ends with it


def _skip_or_fail(packages: set[str]) -> None:
    reason = f"Maven Central does not give {', '.join(sorted(packages))}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
