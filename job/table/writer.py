"""The writer of an output's table: only one command writes at a time, and each has a number in the log.

A command begins by committing the next number, if ``takeover`` lets it, and ends by committing that this
number has ended. In between, a thread commits the workers' reports, and makes an empty commit if there was
none for 20 seconds. A command that was overtaken fails at its next commit, whose version exists already. Its
uncommitted files never become part of the table.
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
from job.table import commits, provenance, sweep, takeover
from job.table.commits import Action, Snapshot
from job.table.layout import DataFile, Report
from job.table.takeover import OvertakenError

HEARTBEAT_SECONDS: Final = 20.0  # the longest time between a command's commits
COMMIT_SECONDS: Final = 3.0  # between two commits of workers' reports
COMMITS_PER_CHECKPOINT: Final = 100

FirstActions = Callable[[Snapshot | None], list[Action]]


@contextmanager
def exclusive_writer(
    output: str,
    run_id: str,
    command: str,
    say: Callable[[str], None] = lambda _: None,
    keep_hours: float = 0,
    first_actions: FirstActions | None = None,
) -> "Iterator[Writer]":
    """Be the only writer of an output during a ``with`` block, then delete unreferenced files.

    Parameters
    ----------
    command : str
        ``run``, ``erase`` or ``compact``, for error messages.
    say : callable
        Takes one sentence when an unfinished command is watched, and one when it was taken over.
    keep_hours : float
        Data files that were removed in the last hours stay, for readers of older versions.
    first_actions : callable
        Takes the snapshot before the first commit (None if there is no table), raises if the output must not
        be written, and returns actions for that commit. By default there are none, and an output without a
        table of this job is refused.

    Raises
    ------
    OvertakenError
        If another command is writing, or has taken over.
    JobError, OSError
        If the table cannot be read or written.
    """

    def no_actions(snapshot: Snapshot | None) -> list[Action]:
        provenance.check_table(output, snapshot)
        return []

    writer = Writer(output, run_id, command, keep_hours)
    writer.begin(first_actions or no_actions, say)
    try:
        yield writer
    except BaseException as error:
        # Otherwise the next command would have to wait a minute.
        with suppress(OSError, JobError):
            writer.end()
        if not isinstance(error, JobError | KeyboardInterrupt):
            writer.check_ownership()  # losing the output explains, for example, a missing file
        raise
    writer.end()


class Writer:
    """The writer of an output, from :func:`exclusive_writer`.

    Attributes
    ----------
    number : int
        The number of this command.
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

    def begin(self, first_actions: FirstActions, say: Callable[[str], None]) -> None:
        """Commit the next number, and start the thread; see :func:`exclusive_writer`."""
        while True:
            snapshot = commits.load(self.output)
            first_actions(snapshot)  # a refusal need not wait for the other command
            snapshot = takeover.await_unfinished(self.output, snapshot, say)
            changes = first_actions(snapshot)
            self.snapshot = snapshot or Snapshot()
            self.number = self.snapshot.writer + 1
            actions = [*changes, commits.command_action(commits.WRITER, self.number)]
            if snapshot is None:
                actions.insert(0, commits.protocol_action())
            if commits.write(self.output, self.snapshot.version + 1, actions, self._commit_info()):
                break
        self.snapshot.version, self.snapshot.writer = self.snapshot.version + 1, self.number
        self._last_commit = time.monotonic()
        if changes:  # read them back
            self.snapshot, self._changed = commits.load(self.output) or self.snapshot, True
        if self.snapshot.writer != self.number:
            raise self._overtaken(self.snapshot.version)
        self._thread.start()

    def commit(
        self, add: Iterable[DataFile] = (), remove: Iterable[str] = (), data_change: bool = True
    ) -> None:
        """Add and remove data files in one commit; without any, the commit shows that the command is alive.

        `data_change` is False if the rows stay the same, as in a compaction.

        Raises
        ------
        OvertakenError
            If another command has taken over.
        JobError
            If a file to be removed is no longer in the table.
        """
        added, removed = list(add), list(remove)
        with self._lock:
            files = [self._file(path) for path in removed]
            actions = [commits.add_action(file, data_change) for file in added]
            actions += [commits.remove_action(file, data_change) for file in files]
            self._write_commit(actions, added, removed)
            self._changed = self._changed or bool(actions)
        self._checkpoint(COMMITS_PER_CHECKPOINT)

    @contextmanager
    def committing_reports(
        self, reports: Callable[[], list[Report]], cancel: Callable[[], object]
    ) -> Iterator[None]:
        """Commit the workers' reports during a ``with`` block, and the last ones at its end.

        `reports` returns all reports so far, always in the same order; `cancel` ends the workers' job when
        nothing can be committed any more.

        Raises
        ------
        JobError, OSError
            At the end of the block, if the reports could not be committed.
        """
        self._reports, self._cancel, self._reported = reports, cancel, 0
        try:
            yield
        finally:
            self._commit_reported()
            self._reports = list

    def check_ownership(self) -> None:
        """Check that no commit so far has found another writer; it does not read the log.

        Raises
        ------
        JobError
            If a commit has.
        """
        if self._failure is not None:
            raise self._failure

    def end(self) -> None:
        """Commit that this command has ended, and delete unreferenced files.

        A command that was overtaken only deletes its own uncommitted files.
        """
        # Listed before the commit, whose success shows that no other command wrote meanwhile.
        candidates = sweep.candidates(self.output)
        try:
            with self._lock:
                self._stop.set()
                self._write_commit([commits.command_action(commits.ENDED, self.number)], [], [])
        except OvertakenError:
            newest = commits.load(self.output) or Snapshot()
            leftovers = sweep.overtaken_files(self.output, newest, self.snapshot, self.number)
            sweep.delete_files(self.output, leftovers)
            raise
        # By this command's last snapshot: files that a later command replaced are its to delete.
        sweep.delete_files(
            self.output, sweep.unreferenced(self.output, candidates, self.snapshot, self._keep_hours)
        )
        self._checkpoint(1 if self._changed else COMMITS_PER_CHECKPOINT)

    def _write_commit(self, actions: list[Action], added: list[DataFile], removed: list[str]) -> None:
        """Commit at the version after the snapshot's, as long as this command is the writer."""
        self.check_ownership()
        while not commits.write(self.output, self.snapshot.version + 1, actions, self._commit_info()):
            snapshot = commits.load(self.output) or Snapshot()
            if (snapshot.writer, snapshot.ended) != (self.number, self.snapshot.ended):
                self._failure = self._overtaken(snapshot.version)
                raise self._failure
            # A program without a number has committed, or an earlier try of this commit succeeded unnoticed.
            self.snapshot = snapshot
            if added and all(file.path in snapshot.files for file in added):
                return
            for path in removed:
                self._file(path)
        before = self.snapshot
        removed_paths = set(removed)
        files = {path: file for path, file in before.files.items() if path not in removed_paths}
        files |= {file.path: file for file in added}
        # One assignment, because a signal can interrupt between any two lines.
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
        """Write a checkpoint if there were enough commits; failure only makes readers slower."""
        if self.snapshot.since_checkpoint >= commits_needed:
            with suppress(OSError, JobError):
                commits.write_checkpoint(self.output)
            self.snapshot.since_checkpoint = 0

    def _commit_reported(self) -> None:
        with self._lock:
            reports = self._reports()[self._reported :]
            if reports:
                written = [file for report in reports for file in report.written]
                self.commit(written, [path for report in reports for path in report.replaced])
                self._reported += len(reports)

    def _commit_periodically(self) -> None:
        while not self._stop.wait(takeover.POLL_SECONDS):
            try:
                with suppress(OSError):  # tried again until another command has taken over
                    self._commit_if_due()
            except JobError as failure:
                self._failure = failure
                self._cancel()
                return

    def _commit_if_due(self) -> None:
        with self._lock:
            idle_seconds = time.monotonic() - self._last_commit
            if idle_seconds >= COMMIT_SECONDS:
                self._commit_reported()
            if idle_seconds >= HEARTBEAT_SECONDS and not self._stop.is_set():
                self.commit()

    def _overtaken(self, version: int) -> OvertakenError:
        return takeover.overtaken_error(self.output, f"{self._command} {self.run_id}", version)

    def _commit_info(self) -> dict[str, Any]:
        return {
            "run": self.run_id,
            "command": self._command,
            "host": socket.gethostname(),
            "pid": os.getpid(),
        }
