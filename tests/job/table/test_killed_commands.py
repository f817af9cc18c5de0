"""Commands in processes of their own: of many at once one writes, and a killed or sleeping one does no harm.

The processes are forked from one that has imported what they need, so that a new one is ready in no time.
"""

import itertools
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any, Final

import pyarrow as pa
import pytest

from job.errors import JobError
from job.table import commits, files, layout, removal, takeover, writer
from job.table.layout import FEATURIZED, Report
from job.table.writer import Writer
from tests.support.tables import LOG, A, B, C, make, photos, rows, snapshot, tree, unnamed, writing, written

NAME: Final = r"run r-\d \(host \S+, process \d+\)"
WATCH_SECONDS: Final = 0.1  # where the job watches for a minute
LONG: Final = {"WATCH_SECONDS": 60.0, "HEARTBEAT_SECONDS": 0.05, "POLL_SECONDS": 0.005}
CHANGES: Final = ("os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir")  # Python's audit events
PHOTOS_PER_TASK: Final = 2

_context: Final = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["pandas", "pytest", "tests.support.tables"])  # PyArrow looks for pandas


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


def photo_of(run_id: str) -> str:
    """Return the photo that :func:`run` adds."""
    return f"/photos/new/{run_id}.jpg"


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

    patch, put = pytest.MonkeyPatch(), commits.write

    def stopping(*given: Any) -> bool:
        is_last = any(action.get("txn", {}).get("appId") == commits.ENDED for action in given[2])
        stop("ending" if is_last else "")
        landed = put(*given)
        stop("ended" if is_last else "")
        return landed

    patch.setattr(commits, "write", stopping)
    for name, value in seconds.items():
        patch.setattr(takeover if hasattr(takeover, name) else writer, name, value)
    stop("start")
    try:
        with writing(output, run_id) as own:
            stop("begun")
            own.commit([written(output, own.number, photo_of(run_id))])
        line.send("done")
    except JobError as error:
        line.send(f"{type(error).__name__}: {error}")


@pytest.fixture(autouse=True)
def seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(takeover, "WATCH_SECONDS", WATCH_SECONDS)
    monkeypatch.setattr(takeover, "POLL_SECONDS", 0.005)


def test_of_eight_commands_on_a_fresh_output_one_writes_and_seven_say_so(tmp_path: Path) -> None:
    output = str(tmp_path / "out")
    each = [(output, f"r-{number}", ("start", "begun"), LONG) for number in range(8)]
    with commands(run, *each) as all_of_them:
        assert {command.heard() for command in all_of_them} == {"start"}
        for command in all_of_them:
            command.go_on()
        said = [command.heard() for command in all_of_them]
        first = said.index("begun")
        sentence = f"OvertakenError: output {output} is being written by run r-{first} (host "
        assert [text.startswith(sentence) for text in said] == [number != first for number in range(8)], said
        all_of_them[first].go_on()
        assert all_of_them[first].heard() == "done"
    assert photos(output) == [photo_of(f"r-{first}")]
    assert unnamed(output) == set()


def test_a_killed_command_is_followed_after_a_while_and_it_is_said(tmp_path: Path) -> None:
    output, said = str(tmp_path), list[str]()
    make(output, A)
    with commands(run, (output, "r-1", ("begun",), {})) as [killed]:
        assert killed.heard() == "begun"
    written(output, 2, B)
    began = time.monotonic()
    with writing(output, "r-2", say=said.append) as own:
        assert time.monotonic() - began >= WATCH_SECONDS
        assert own.number == 3
        own.commit([written(output, own.number, C)])
    first, second = said
    assert re.fullmatch(f"{NAME} has not ended: waiting up to 0 s to see whether it still lives", first)
    assert re.fullmatch(f"took over from {NAME}, which ended without saying so", second)
    assert f"process {killed.process.pid})" in first
    assert photos(output) == [A, C]
    assert unnamed(output) == set()


@pytest.mark.parametrize("at", ["begun", "ending", "ended"])
def test_a_command_that_was_stopped_and_overtaken_does_no_harm_when_it_wakes(tmp_path: Path, at: str) -> None:
    output = str(tmp_path)
    make(output, A)
    with commands(run, (output, "r-1", (at,), {})) as [sleeper]:
        assert sleeper.heard() == at
        sleeper.signal(signal.SIGSTOP)
        with writing(output, "r-2") as own:
            left = [*photos(output), B]
            own.commit([written(output, own.number, *left)], list(own.snapshot.files))  # wanted until its end
            not_yet = written(output, own.number, C, task=1)
            before = tree(output)
            sleeper.signal(signal.SIGCONT)
            sleeper.go_on()
            ending = sleeper.heard()
            sleeper.process.join()
            if at == "ended":
                assert ending == "done"
                before.pop(f"{LOG}/{commits.LAST_CHECKPOINT}")  # it may write a checkpoint
            else:
                overtaken = f"OvertakenError: run r-1 may not write to output {output} any more: "
                assert re.fullmatch(
                    f"{overtaken}{NAME} has taken it over; start again when it has ended", ending
                )
            assert before.items() <= tree(output).items()
            own.commit([not_yet])
    assert photos(output) == sorted([*left, C])
    assert (photo_of("r-1") in left) == (at != "begun")
    assert unnamed(output) == set()


def photos_of(day: int) -> dict[str, str]:
    """Return the photos of a day and their etags: each day one goes, one comes, and some change."""
    return {
        f"/photos/kind {number % 3}/{number:03}.jpg": str((day - number) // 4)
        for number in range(day, day + 12)
    }


def catch_up(line: Connection, output: str, day: int, last: int) -> None:
    """Be a run on the photos of a day, and be killed before so-manieth change of the file system."""
    patch, events = pytest.MonkeyPatch(), itertools.count(1)
    patch.setattr(takeover, "WATCH_SECONDS", 0)
    patch.setattr(takeover, "POLL_SECONDS", 0.001)
    patch.setattr(writer, "COMMIT_SECONDS", 0)

    def die(event: str, _: object) -> None:
        if event in CHANGES and next(events) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(die)
    with writing(output, f"day-{day}") as own:
        wanted = photos_of(day)
        gone = {file: [path for path in etags if path not in wanted] for file, etags in _etags(own).items()}
        removal.remove_photos(own, {file: paths for file, paths in gone.items() if paths})
        known = _etags(own)
        changed = {
            file: [path for path, etag in etags.items() if wanted[path] != etag]
            for file, etags in known.items()
        }
        new = sorted(wanted.keys() - {path for etags in known.values() for path in etags})
        parts = [new[start : start + PHOTOS_PER_TASK] for start in range(0, len(new), PHOTOS_PER_TASK)]
        tasks = [
            *((file, paths) for file, paths in changed.items() if paths),
            *(("", part) for part in parts),
        ]
        reports: list[Report] = []
        with own.committing_reports(lambda: list(reports), lambda: None):
            for number, (file, paths) in enumerate(tasks):
                made_now = [rows(path, etag=wanted[path]) for path in paths]
                stay = [files.rows_without(files.location(output, file), paths)] if file else []
                name = layout.data_path(FEATURIZED, own.number, number, 0)
                made = files.write(output, name, pa.concat_tables([*stay, *made_now]))
                reports.append(Report(number, [made], [file] if file else [], len(paths), 0.0))
    line.send("done")


def _etags(own: Writer) -> dict[str, dict[str, str]]:
    """Return the etags of photos, by the table's files."""
    read = {
        path: files.read(files.location(own.output, path), ["path", "etag"]) for path in own.snapshot.files
    }
    return {path: dict(zip(*table.to_pydict().values(), strict=True)) for path, table in read.items()}


def test_killed_thirty_times_at_any_moment_a_table_becomes_what_it_would_have_been(tmp_path: Path) -> None:
    output, draw, codes = str(tmp_path), Random(7), list[int | None]()
    for day in range(30):
        with commands(catch_up, (output, day, draw.randrange(1, 70))) as [command]:
            command.process.join()
            codes.append(command.process.exitcode)
    assert codes.count(-signal.SIGKILL) > 20
    with commands(catch_up, (output, 30, 0)) as [command]:
        assert command.heard() == "done"
        command.process.join()
    found = pa.concat_tables(files.read(files.location(output, path)) for path in snapshot(output).files)
    wanted = pa.concat_tables(rows(path, etag=etag) for path, etag in photos_of(30).items())
    assert found.sort_by("path").equals(wanted.sort_by("path"))
    assert unnamed(output) == set()
