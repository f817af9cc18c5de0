"""One command at a time writes to an output: it has a number, and every commit of its makes sure of it.

A command begins by committing the next number, and ends by committing that this number has ended. Between the
two, a thread of its commits what its workers report, wave by wave, and at least every 20 seconds that it
lives. Whoever finds a number that has not ended watches the log for a minute by its own clock: if a commit
comes, that command lives; otherwise its number is followed by the next. A command that was overtaken so, and
wakes, finds that its next version is taken by another number, and ends. Its files are in no commit, so they
are never part of the table.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, Final

from job.errors import JobError
from job.table import commits, sweep
from job.table.commits import Action, Snapshot
from job.table.layout import DataFile, Report

WATCH_SECONDS: Final = 60.0  # without a commit, until a command that has not ended is taken for dead
HEARTBEAT_SECONDS: Final = 20.0  # between a command's commits at most
WAVE_SECONDS: Final = 3.0  # between two commits of what workers report
POLL_SECONDS: Final = 1.0
COMMITS_PER_CHECKPOINT: Final = 100

Claim = Callable[[Snapshot | None], list[Action]]


class OvertakenError(JobError):
    """Another command writes to the output now."""


@contextmanager
def exclusive_writer(
    output: str,
    run_id: str,
    command: str,
    claim: Claim,
    say: Callable[[str], None] = lambda _: None,
    keep_hours: float = 0,
) -> "Iterator[Writer]":
    """Be the writer of an output while a ``with`` block runs, then delete what the table does not name.

    Parameters
    ----------
    output, run_id : str
    command : str
        ``run``, ``erase`` or ``compact``: in the words of a refusal.
    claim : callable
        Looks at the table as it is before the first commit (None if there is none), raises if it is not to be
        written, and returns the actions that belong into that commit.
    say : callable
        Is told in a sentence that an unfinished command is watched, and that it was taken over.
    keep_hours : float
        Files that were removed within so many hours stay, for readers of older versions.

    Raises
    ------
    OvertakenError
        If another command is writing to the output, or has begun to meanwhile.
    JobError, OSError
        If the table cannot be read or written.
    """
    writer = Writer(output, run_id, command, keep_hours)
    writer.begin(claim, say)
    try:
        yield writer
    except BaseException as error:
        # So that the next command need not wait. If this fails, it waits a minute.
        with suppress(OSError, JobError):
            writer.end()
        if not isinstance(error, JobError | KeyboardInterrupt):
            writer.check_ownership()  # a file, say, is missing because another command has taken over
        raise
    writer.end()


class Writer:
    """The writer of an output; :func:`exclusive_writer` makes it.

    Attributes
    ----------
    number : int
        Of this command.
    snapshot : Snapshot
        The table as of its last commit.
    """

    def __init__(self, output: str, run_id: str, command: str, keep_hours: float = 0) -> None:
        self.output, self.run_id, self.number = output, run_id, 0
        self.snapshot = Snapshot()
        self._command, self._keep_hours = command, keep_hours
        self._last_commit, self._changed = 0.0, False
        self._failure: JobError | None = None
        self._reports: Callable[[], list[Report]] = list
        self._cancel: Callable[[], object] = lambda: None
        self._reported = 0
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._commit_periodically, name="writer", daemon=True)

    def begin(self, claim: Claim, say: Callable[[str], None]) -> None:
        """Become the writer; see :func:`exclusive_writer`."""
        while True:
            before = commits.load(self.output)
            claim(before)  # refused at once, and not after a minute's watching
            before = self._await_unfinished(before, say)
            claimed = claim(before)
            self.snapshot = before or Snapshot()
            self.number = self.snapshot.writer + 1
            actions = [*claimed, commits.command_action(commits.WRITER, self.number)]
            if before is None:
                actions.insert(0, commits.protocol_action())
            if commits.write(self.output, self.snapshot.version + 1, actions, self._commit_info()):
                break
        self.snapshot.version, self.snapshot.writer = self.snapshot.version + 1, self.number
        self._last_commit = time.monotonic()
        if claimed:  # what the claim has changed is read back
            self.snapshot, self._changed = commits.load(self.output) or self.snapshot, True
        if self.snapshot.writer != self.number:
            raise self._overtaken_error(self.snapshot.version)
        self._thread.start()

    def commit(
        self, add: Iterable[DataFile] = (), remove: Iterable[str] = (), data_change: bool = True
    ) -> None:
        """Let files come, and files of the snapshot go, at once; nothing at all is a sign of life.

        `data_change` is False if the rows stay the same, as in a compaction.

        Raises
        ------
        OvertakenError
            If another command writes to the output now.
        JobError
            If a file to be removed is not in the table any more.
        """
        come, gone = list(add), list(remove)
        with self._lock:
            files = [self._file(path) for path in gone]
            actions = [commits.add_action(file, data_change) for file in come]
            actions += [commits.remove_action(file, data_change) for file in files]
            self._write_commit(actions, come, gone)
            self._changed = self._changed or bool(actions)
        self._checkpoint(COMMITS_PER_CHECKPOINT)

    @contextmanager
    def committing_reports(
        self, reports: Callable[[], list[Report]], cancel: Callable[[], object]
    ) -> Iterator[None]:
        """Commit, while a ``with`` block runs and once more at its end, what workers have reported.

        `reports` returns all reports so far, in an order that stays; `cancel` ends the workers' job when
        nothing can be committed any more.

        Raises
        ------
        JobError, OSError
            At the end of the block, whatever else has ended it: why it could not be committed.
        """
        self._reports, self._cancel, self._reported = reports, cancel, 0
        try:
            yield
        finally:
            self._commit_reported()
            self._reports = list

    def check_ownership(self) -> None:
        """Make sure that the output is still this command's; asks nobody, for every commit asks anyhow.

        Raises
        ------
        JobError
            If a commit has found that it is not.
        """
        if self._failure is not None:
            raise self._failure

    def end(self) -> None:
        """Say that this command has ended, and delete what the table does not name.

        A command that was overtaken deletes what it has written and not committed, and no more.
        """
        # Listed before the commit: if that lands, nobody else was writing while these were listed.
        listed = sweep.candidates(self.output)
        try:
            with self._lock:
                self._stop.set()
                self._write_commit([commits.command_action(commits.ENDED, self.number)], [], [])
        except OvertakenError:
            newest = commits.load(self.output) or Snapshot()
            left = sweep.overtaken_files(self.output, newest, self.snapshot, self.number)
            sweep.delete_files(self.output, left)
            raise
        # By the snapshot of that commit: what a later command has replaced is for that one to delete.
        sweep.delete_files(
            self.output, sweep.unreferenced(self.output, listed, self.snapshot, self._keep_hours)
        )
        self._checkpoint(1 if self._changed else COMMITS_PER_CHECKPOINT)

    def _await_unfinished(self, found: Snapshot | None, say: Callable[[str], None]) -> Snapshot | None:
        """Return the snapshot to begin on, once no other command is seen to write."""
        if found is None or found.writer <= found.ended:
            return found
        first, since = found.version, time.monotonic()
        who = self._commit_author(found.version)
        say(f"{who} has not ended: waiting up to {WATCH_SECONDS:.0f} s to see whether it still lives")
        while time.monotonic() - since < WATCH_SECONDS:
            time.sleep(POLL_SECONDS)
            if commits.exists(self.output, first + 1):
                found = commits.load(self.output)
                if found is None or found.writer <= found.ended:
                    return found
                raise self._busy_error(found.version)
        say(f"took over from {who}, which ended without saying so")
        return found

    def _write_commit(self, actions: list[Action], come: list[DataFile], gone: list[str]) -> None:
        """Commit at exactly the version after the snapshot's, as long as this command is the writer."""
        self.check_ownership()
        while not commits.write(self.output, self.snapshot.version + 1, actions, self._commit_info()):
            found = commits.load(self.output) or Snapshot()
            if (found.writer, found.ended) != (self.number, self.snapshot.ended):
                self._failure = self._overtaken_error(found.version)
                raise self._failure
            self.snapshot = found  # something that is not ours, and has no number, has committed,
            if come and all(file.path in found.files for file in come):
                return  # or an earlier try of this, whose answer did not come for longer than our patience
            for path in gone:
                self._file(path)
        before = self.snapshot
        removed = set(gone)
        files = {path: file for path, file in before.files.items() if path not in removed}
        files |= {file.path: file for file in come}
        # All at once, for a signal can end the command between any two lines.
        self.snapshot = replace(
            before, version=before.version + 1, files=files, since_checkpoint=before.since_checkpoint + 1
        )
        self._last_commit = time.monotonic()

    def _file(self, path: str) -> DataFile:
        """Return a file of the snapshot."""
        if path not in self.snapshot.files:
            raise JobError(f"{path} in output {self.output} was replaced by another program: start again")
        return self.snapshot.files[path]

    def _checkpoint(self, commits_needed: int) -> None:
        """Write a checkpoint if there were enough commits. Readers do without one, if more slowly."""
        if self.snapshot.since_checkpoint >= commits_needed:
            with suppress(OSError, JobError):
                commits.write_checkpoint(self.output)
            self.snapshot.since_checkpoint = 0

    def _commit_reported(self) -> None:
        with self._lock:
            new = self._reports()[self._reported :]
            if new:
                written = [file for report in new for file in report.written]
                self.commit(written, [path for report in new for path in report.replaced])
                self._reported += len(new)

    def _commit_periodically(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            try:
                with suppress(OSError):  # tried again until it lands, or until another command has taken over
                    self._commit_if_due()
            except JobError as failure:
                self._failure = failure
                self._cancel()
                return

    def _commit_if_due(self) -> None:
        with self._lock:
            silent = time.monotonic() - self._last_commit
            if silent >= WAVE_SECONDS:
                self._commit_reported()
            if silent >= HEARTBEAT_SECONDS and not self._stop.is_set():
                self.commit()

    def _commit_info(self) -> dict[str, Any]:
        return {
            "run": self.run_id,
            "command": self._command,
            "host": socket.gethostname(),
            "pid": os.getpid(),
        }

    def _busy_error(self, version: int) -> OvertakenError:
        return OvertakenError(
            f"output {self.output} is being written by {self._commit_author(version)}: wait for it to end, or stop it"
        )

    def _overtaken_error(self, version: int) -> OvertakenError:
        return OvertakenError(
            f"{self._command} {self.run_id} may not write to output {self.output} any more: "
            f"{self._commit_author(version)} has taken it over; start again when it has ended"
        )

    def _commit_author(self, version: int) -> str:
        """Name the command that has made a commit, for people."""
        about = commits.commit_info(self.output, version)
        if "command" not in about:
            return "another program"
        return f"{about['command']} {about.get('run')} (host {about.get('host')}, process {about.get('pid')})"
