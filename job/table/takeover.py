"""Waits for a command that has not ended, to refuse the next command or to let it take over.

Commands are numbered in the table's log. A number without an end belongs to a command that is writing, or
that has died. The next command watches the log for a minute: if a new commit shows that the other is alive,
it is refused; otherwise it takes over.
"""

import time
from collections.abc import Callable
from typing import Final

from job.errors import JobError
from job.table import commits
from job.table.commits import Snapshot

WATCH_SECONDS: Final = 60.0  # without a commit, until an unfinished command is taken over
POLL_SECONDS: Final = 1.0


class OvertakenError(JobError):
    """Another command writes to the output now."""


def await_unfinished(output: str, snapshot: Snapshot | None, say: Callable[[str], None]) -> Snapshot | None:
    """Return the snapshot on which a command begins, once no other command is writing.

    Raises
    ------
    OvertakenError
        If another command commits meanwhile without ending.
    """
    if snapshot is None or snapshot.writer <= snapshot.ended:
        return snapshot
    version, since = snapshot.version, time.monotonic()
    author = commit_author(output, snapshot.version)
    say(f"{author} has not ended: waiting up to {WATCH_SECONDS:.0f} s to see whether it still lives")
    while time.monotonic() - since < WATCH_SECONDS:
        time.sleep(POLL_SECONDS)
        if commits.exists(output, version + 1):
            snapshot = commits.load(output)
            if snapshot is None or snapshot.writer <= snapshot.ended:
                return snapshot
            raise busy_error(output, snapshot.version)
    say(f"took over from {author}, which ended without saying so")
    return snapshot


def busy_error(output: str, version: int) -> OvertakenError:
    """Return the error of a command that may not begin; the author of `version` is writing."""
    return OvertakenError(
        f"output {output} is being written by {commit_author(output, version)}: wait for it to end, or stop "
        "it"
    )


def overtaken_error(output: str, command: str, version: int) -> OvertakenError:
    """Return the error of a command, such as ``run r-1``, that the author of `version` has overtaken."""
    return OvertakenError(
        f"{command} may not write to output {output} any more: {commit_author(output, version)} has taken it "
        "over; start again when it has ended"
    )


def commit_author(output: str, version: int) -> str:
    """Describe the command that made a commit, for messages."""
    info = commits.commit_info(output, version)
    if "command" not in info:
        return "another program"
    return f"{info['command']} {info.get('run')} (host {info.get('host')}, process {info.get('pid')})"
