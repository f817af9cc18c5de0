"""Commands in their own processes: one of many writes, and a killed or sleeping one does no harm.

The processes are forked from one that has imported the modules they need, so that they start quickly.
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
    """A process that stops at chosen steps, sends a message there, and waits for permission to go on."""

    def __init__(self, work: Callable[..., None], *arguments: object) -> None:
        self._connection, child_end = _context.Pipe()
        self.process = _context.Process(target=_start, args=(work, child_end, *arguments))
        self.process.start()
        child_end.close()

    def receive(self) -> str:
        """Wait for its next message, which names the step where it stopped, or how it ended."""
        return str(self._connection.recv())

    def go_on(self) -> None:
        """Let the process go on."""
        self._connection.send("go on")

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        assert self.process.pid
        os.kill(self.process.pid, number)


def _start(work: Callable[..., None], connection: Connection, output: str, *arguments: object) -> None:
    tempfile.tempdir = str(Path(output).parent)  # killed processes leave temporary files there
    work(connection, output, *arguments)


@contextmanager
def commands(work: Callable[..., None], *argument_lists: Sequence[object]) -> Iterator[list[Command]]:
    """Start a command for each list of arguments, and kill those that run at the end."""
    started = [Command(work, *arguments) for arguments in argument_lists]
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
    connection: Connection, output: str, run_id: str, stops: Sequence[str], seconds: Mapping[str, float]
) -> None:
    """Write and commit a photo named after the run, and stop at the given steps.

    The steps ``start`` and ``begun`` come before and after the first commit, ``ending`` and ``ended`` before
    and after the last, which stands between the listing of unneeded files and their deletion.
    """

    def stop(step: str) -> None:
        if step in stops:
            connection.send(step)
            connection.recv()

    patch, write = pytest.MonkeyPatch(), commits.write

    def write_and_stop(*arguments: Any) -> bool:
        is_last = any(action.get("txn", {}).get("appId") == commits.ENDED for action in arguments[2])
        stop("ending" if is_last else "")
        landed = write(*arguments)
        stop("ended" if is_last else "")
        return landed

    patch.setattr(commits, "write", write_and_stop)
    for name, value in seconds.items():
        patch.setattr(takeover if hasattr(takeover, name) else writer, name, value)
    stop("start")
    try:
        with writing(output, run_id) as owner:
            stop("begun")
            owner.commit([written(output, owner.number, photo_of(run_id))])
        connection.send("done")
    except JobError as error:
        connection.send(f"{type(error).__name__}: {error}")


@pytest.fixture(autouse=True)
def seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(takeover, "WATCH_SECONDS", WATCH_SECONDS)
    monkeypatch.setattr(takeover, "POLL_SECONDS", 0.005)


def test_one_of_eight_commands_on_a_new_output_writes_and_seven_are_refused(tmp_path: Path) -> None:
    output = str(tmp_path / "out")
    argument_lists = [(output, f"r-{number}", ("start", "begun"), LONG) for number in range(8)]
    with commands(run, *argument_lists) as eight:
        assert {command.receive() for command in eight} == {"start"}
        for command in eight:
            command.go_on()
        messages = [command.receive() for command in eight]
        first = messages.index("begun")
        sentence = f"OvertakenError: output {output} is being written by run r-{first} (host "
        assert [message.startswith(sentence) for message in messages] == [
            number != first for number in range(8)
        ], messages
        eight[first].go_on()
        assert eight[first].receive() == "done"
    assert photos(output) == [photo_of(f"r-{first}")]
    assert unnamed(output) == set()


def test_the_next_command_waits_for_a_killed_one_and_takes_over(tmp_path: Path) -> None:
    output, messages = str(tmp_path), list[str]()
    make(output, A)
    with commands(run, (output, "r-1", ("begun",), {})) as [killed]:
        assert killed.receive() == "begun"
    written(output, 2, B)
    began = time.monotonic()
    with writing(output, "r-2", say=messages.append) as owner:
        assert time.monotonic() - began >= WATCH_SECONDS
        assert owner.number == 3
        owner.commit([written(output, owner.number, C)])
    first, second = messages
    assert re.fullmatch(f"{NAME} has not ended: waiting up to 0 s to see whether it still lives", first)
    assert re.fullmatch(f"took over from {NAME}, which ended without saying so", second)
    assert f"process {killed.process.pid})" in first
    assert photos(output) == [A, C]
    assert unnamed(output) == set()


@pytest.mark.parametrize("step", ["begun", "ending", "ended"])
def test_an_overtaken_command_does_no_harm_when_it_wakes(tmp_path: Path, step: str) -> None:
    output = str(tmp_path)
    make(output, A)
    with commands(run, (output, "r-1", (step,), {})) as [sleeper]:
        assert sleeper.receive() == step
        sleeper.signal(signal.SIGSTOP)
        with writing(output, "r-2") as owner:
            committed = [*photos(output), B]
            # The replaced files stay until this command ends.
            owner.commit([written(output, owner.number, *committed)], list(owner.snapshot.files))
            uncommitted = written(output, owner.number, C, task=1)
            before = tree(output)
            sleeper.signal(signal.SIGCONT)
            sleeper.go_on()
            message = sleeper.receive()
            sleeper.process.join()
            if step == "ended":
                assert message == "done"
                before.pop(f"{LOG}/{commits.LAST_CHECKPOINT}")  # it may write a checkpoint
            else:
                overtaken = f"OvertakenError: run r-1 may not write to output {output} any more: "
                assert re.fullmatch(
                    f"{overtaken}{NAME} has taken it over; start again when it has ended", message
                )
            assert before.items() <= tree(output).items()
            owner.commit([uncommitted])
    assert photos(output) == sorted([*committed, C])
    assert (photo_of("r-1") in committed) == (step != "begun")
    assert unnamed(output) == set()


def photos_of(day: int) -> dict[str, str]:
    """Return a day's photos and their etags: each day one is added, one is deleted, and some change."""
    return {
        f"/photos/kind {number % 3}/{number:03}.jpg": str((day - number) // 4)
        for number in range(day, day + 12)
    }


def catch_up(connection: Connection, output: str, day: int, nth_change: int) -> None:
    """Run a day's photos; kill the run before its nth file-system change."""
    patch, events = pytest.MonkeyPatch(), itertools.count(1)
    patch.setattr(takeover, "WATCH_SECONDS", 0)
    patch.setattr(takeover, "POLL_SECONDS", 0.001)
    patch.setattr(writer, "COMMIT_SECONDS", 0)

    def die(event: str, _: object) -> None:
        if event in CHANGES and next(events) == nth_change:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(die)
    with writing(output, f"day-{day}") as owner:
        etags_of_day = photos_of(day)
        deleted = {
            file: [path for path in etags if path not in etags_of_day]
            for file, etags in _etags(owner).items()
        }
        removal.remove_photos(owner, {file: paths for file, paths in deleted.items() if paths})
        known_etags = _etags(owner)
        changed = {
            file: [path for path, etag in etags.items() if etags_of_day[path] != etag]
            for file, etags in known_etags.items()
        }
        new = sorted(etags_of_day.keys() - {path for etags in known_etags.values() for path in etags})
        parts = [new[start : start + PHOTOS_PER_TASK] for start in range(0, len(new), PHOTOS_PER_TASK)]
        tasks = [
            *((file, paths) for file, paths in changed.items() if paths),
            *(("", part) for part in parts),
        ]
        reports: list[Report] = []
        with owner.committing_reports(lambda: list(reports), lambda: None):
            for number, (file, paths) in enumerate(tasks):
                new_rows = [rows(path, etag=etags_of_day[path]) for path in paths]
                kept_rows = [files.rows_without(files.location(output, file), paths)] if file else []
                name = layout.data_path(FEATURIZED, owner.number, number, 0)
                new_file = files.write(output, name, pa.concat_tables([*kept_rows, *new_rows]))
                reports.append(Report(number, [new_file], [file] if file else [], len(paths), 0.0))
    connection.send("done")


def _etags(owner: Writer) -> dict[str, dict[str, str]]:
    """Return the etags of photos, by the table's files."""
    tables = {
        path: files.read(files.location(owner.output, path), ["path", "etag"])
        for path in owner.snapshot.files
    }
    return {path: dict(zip(*table.to_pydict().values(), strict=True)) for path, table in tables.items()}


def test_a_table_whose_commands_are_killed_thirty_times_becomes_complete(tmp_path: Path) -> None:
    output, generator, codes = str(tmp_path), Random(7), list[int | None]()
    for day in range(30):
        with commands(catch_up, (output, day, generator.randrange(1, 70))) as [command]:
            command.process.join()
            codes.append(command.process.exitcode)
    assert codes.count(-signal.SIGKILL) > 20
    with commands(catch_up, (output, 30, 0)) as [command]:
        assert command.receive() == "done"
        command.process.join()
    actual = pa.concat_tables(files.read(files.location(output, path)) for path in snapshot(output).files)
    expected = pa.concat_tables(rows(path, etag=etag) for path, etag in photos_of(30).items())
    assert actual.sort_by("path").equals(expected.sort_by("path"))
    assert unnamed(output) == set()
