"""Commands on a table in processes of their own, which a test stops where it wants, or kills.

They are forked from one process that has imported what they need, so that a new one is ready in no time.
"""

import itertools
import multiprocessing
import os
import signal
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest

from job.errors import JobError
from job.table import commits, files, layout, removal, writer
from job.table.layout import FEATURIZED, Report
from job.table.writer import Writer
from tests.small_tables import rows, writing, written

CHANGES: Final = ("os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir")  # Python's audit events
PHOTOS_PER_TASK: Final = 2

_context: Final = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["pandas", __name__])  # PyArrow looks for pandas


class Command:
    """A running process: what it says is heard, and it goes on from where it stopped when it is told to."""

    def __init__(self, work: Callable[..., None], *arguments: object) -> None:
        self._line, theirs = _context.Pipe()
        self.process = _context.Process(target=_start, args=(work, theirs, *arguments))
        self.process.start()
        theirs.close()

    def heard(self) -> str:
        """Wait for the next thing that it says: where it has stopped, or how it has ended."""
        return str(self._line.recv())

    def go_on(self) -> None:
        """Let it go on from where it stopped."""
        self._line.send("go on")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process.pid
        os.kill(self.process.pid, number)


def _start(work: Callable[..., None], line: Connection, output: str, *arguments: object) -> None:
    tempfile.tempdir = str(Path(output).parent)  # what is killed leaves its temporary files there
    work(line, output, *arguments)


@contextmanager
def commands(work: Callable[..., None], *each: Sequence[object]) -> Iterator[list[Command]]:
    """Start a command with each of some arguments; whatever still runs at the end is killed."""
    started = [Command(work, *arguments) for arguments in each]
    try:
        yield started
    finally:
        for command in started:
            command.process.kill()
            command.process.join()


def run(
    line: Connection, output: str, run_id: str, stops: Sequence[str], seconds: Mapping[str, float]
) -> None:
    """Write a photo of the run's name, commit it and end; stop where it is told.

    ``start`` and ``begun`` are before and after its first commit, ``ending`` and ``ended`` before and after
    the last: between the listing of what may be deleted, and the deletion.
    """

    def stop(at: str) -> None:
        if at in stops:
            line.send(at)
            line.recv()

    patch, put = pytest.MonkeyPatch(), commits.put

    def stopping(*given: Any) -> bool:
        is_last = any(action.get("txn", {}).get("appId") == commits.ENDED for action in given[2])
        stop("ending" if is_last else "")
        landed = put(*given)
        stop("ended" if is_last else "")
        return landed

    patch.setattr(commits, "put", stopping)
    for name, value in seconds.items():
        patch.setattr(writer, name, value)
    stop("start")
    try:
        with writing(output, run_id) as own:
            stop("begun")
            own.commit([written(output, own.number, photo_of(run_id))])
        line.send("done")
    except JobError as error:
        line.send(f"{type(error).__name__}: {error}")


def photo_of(run_id: str) -> str:
    """Return the photo that :func:`run` adds."""
    return f"/photos/new/{run_id}.jpg"


def photos_of(day: int) -> dict[str, str]:
    """Return the photos of a day and their etags: each day one goes, one comes, and some change."""
    return {
        f"/photos/kind {number % 3}/{number:03}.jpg": str((day - number) // 4)
        for number in range(day, day + 12)
    }


def catch_up(line: Connection, output: str, day: int, last: int) -> None:
    """Be a run on the photos of a day, and be killed before so-manieth change of the file system."""
    patch, events = pytest.MonkeyPatch(), itertools.count(1)
    patch.setattr(writer, "WATCH_SECONDS", 0)
    patch.setattr(writer, "POLL_SECONDS", 0.001)
    patch.setattr(writer, "WAVE_SECONDS", 0)

    def die(event: str, _: object) -> None:
        if event in CHANGES and next(events) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(die)
    with writing(output, f"day-{day}") as own:
        wanted = photos_of(day)
        gone = {file: [path for path in etags if path not in wanted] for file, etags in _etags(own).items()}
        removal.remove(own, {file: paths for file, paths in gone.items() if paths})
        reports: list[Report] = []
        with own.waves(lambda: list(reports), lambda: None):
            for number, (file, paths) in enumerate(_tasks(wanted, _etags(own))):
                new = [rows(path, etag=wanted[path]) for path in paths]
                old = [files.rows_without(files.location(output, file), paths)] if file else []
                name = layout.data_path(FEATURIZED, own.number, number, 0)
                made = files.write(output, name, pa.concat_tables([*old, *new]))
                reports.append(Report(number, [made], [file] if file else []))
    line.send("done")


def _etags(own: Writer) -> dict[str, dict[str, str]]:
    """Return the etags of photos, by the table's files."""
    read = {
        path: files.read(files.location(own.output, path), ["path", "etag"]) for path in own.snapshot.files
    }
    return {path: dict(zip(*table.to_pydict().values(), strict=True)) for path, table in read.items()}


def _tasks(
    wanted: Mapping[str, str], known: Mapping[str, Mapping[str, str]]
) -> Iterator[tuple[str, list[str]]]:
    """Yield the photos of each task, with the file whose rows of them are replaced; "" for new photos."""
    changed: defaultdict[str, list[str]] = defaultdict(list)
    for file, etags in known.items():
        for path in (path for path, etag in etags.items() if wanted[path] != etag):
            changed[file].append(path)
    yield from changed.items()
    every = {path for etags in known.values() for path in etags}
    new = iter(path for path in wanted if path not in every)
    while task := list(islice(new, PHOTOS_PER_TASK)):
        yield "", task
