"""One writer at a time: the lock on an output, which a crash does not leave for ever.

A command that writes holds ``_lock.json`` from its first step to its last, and renews it meanwhile. A lock
whose owner has died on this machine is taken over at once; one of another machine, when it has not been
renewed for as long as it lasts. Two machines' clocks are never compared. Stands above ``store``, below the
steps.
"""

import contextlib
import json
import math
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from job import owner, store, swap
from job.errors import JobError, UsageError

LOCK: Final = "_lock.json"
# A clock that goes on while the machine sleeps: Linux has one of its own, macOS's plain one does.
_AWAKE_OR_NOT: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def seconds() -> float:
    """Return the time by a clock that nobody sets, and that goes on while the machine sleeps."""
    return time.clock_gettime(_AWAKE_OR_NOT)


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a lock lasts unless it is renewed, how often that and another's lock are seen to, and by what.

    `pause` must end with an exception on Ctrl-C.
    """

    lasts_seconds: float = 60.0
    renew_seconds: float = 15.0
    watch_seconds: float = 2.0
    clock: Callable[[], float] = seconds
    pause: Callable[[float], object] = time.sleep


TIMING: Final = Timing()


@contextlib.contextmanager
def held(
    output: str,
    run_id: str,
    what: str = "run",
    say: Callable[[str], None] = lambda _: None,
    timing: Timing = TIMING,
) -> Iterator["Held"]:
    """Hold the lock on an output while a ``with`` block runs; folders that are empty then are removed again.

    Parameters
    ----------
    output : str
        A folder, which is made, or an ``s3://`` prefix.
    run_id : str
        Of the command that writes.
    what : str
        The command, in the words of the refusal: ``run``, ``erase``, ``compact``.
    say : callable
        Is told in a sentence, once each, that a lock is waited for, and that one was taken over.
    timing : Timing
        Clock and intervals.

    Raises
    ------
    JobError
        If another command is writing to the output.
    UsageError
        If there is a file of the lock's name that is no lock.
    OSError
        If the lock cannot be read or written.
    """
    lock = Held(output, run_id, what, timing)
    try:
        lock._acquire(say)
        lock._thread.start()
        yield lock
    finally:
        lock._release()


def is_held_by(output: str, token: str) -> bool:
    """Tell, with one read, whether the lock on an output is still a command's: asked by workers that write.

    Raises
    ------
    OSError
        If the lock cannot be read.
    """
    try:
        record = owner.parsed(store.read_bytes(store.join(output, LOCK)))
    except FileNotFoundError:
        return False
    return record is not None and record.get("token") == token


class Held:
    """A lock that is held; :func:`held` makes it."""

    def __init__(self, output: str, run_id: str, what: str, timing: Timing) -> None:
        self.output, self.run_id, self.token = output, run_id, secrets.token_hex(16)
        self.file = store.join(output, LOCK)
        self._what, self._timing = what, timing
        self._owner, self._acquired_at, self._renewals = owner.this_process(), _now(), 0
        self._wrote, self._made = False, list[Path]()
        self._seen = swap.Seen(b"")  # the file, as we wrote it last
        self._renewed = -math.inf  # when that was begun, by our clock
        self._failure = self._loss = ""
        self._one_at_a_time = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lock", daemon=True)

    def check(self) -> None:
        """Renew the lock, and make sure that it is ours: called before each step that writes.

        Raises
        ------
        JobError
            If another command has taken the lock, if it is gone, or if it could not be renewed for as long
            as it lasts.
        """
        self.renew()
        if self._loss:
            raise JobError(
                f"{self._what} {self.run_id} may not write to output {self.output} any more: {self._loss}; "
                "start again when nothing else writes there"
            )
        unrenewed = self._timing.clock() - self._renewed
        if unrenewed >= self._timing.lasts_seconds:
            raise JobError(
                f"{self._what} {self.run_id} may not write to output {self.output} any more: its lock could "
                f"not be renewed for {unrenewed:.0f} s ({self._failure or 'no answer in time'}); "
                "mend that and start again"
            )

    def renew(self) -> None:
        """Say that we live, if the lock is ours; where that fails, the next tick tries again."""
        with self._one_at_a_time:
            # Twice, for a renewal that seemed to fail may have been written all the same.
            for _ in range(2):
                if self._loss:
                    return
                begun = self._timing.clock()
                self._renewals += 1
                try:
                    written = swap.replace(self.file, self._seen, self._record())
                    found = written or swap.read(self.file)
                except OSError as error:
                    self._failure = error.strerror or str(error)
                    return
                self._loss = self._lost(found)
                self._seen = found or self._seen
                if written:
                    self._renewed = begun
                    return

    def _keep(self) -> None:
        while not self._stop.wait(self._timing.renew_seconds):
            self.renew()

    def _acquire(self, say: Callable[[str], None]) -> None:
        timing, first, since, told = self._timing, None, 0.0, False
        while True:
            begun = timing.clock()
            found = swap.read(self.file)
            if found is None:
                self._wrote, self._renewed = True, begun
                if not swap.create(self.file, self._record(), self._made):
                    timing.pause(timing.watch_seconds)
                continue
            theirs = self._understood(found)
            if theirs.get("token") == self.token:
                self._seen = found
                return
            if first is None or first.get("token") != theirs.get("token"):
                first, since = theirs, timing.clock()
            who, state = owner.words(theirs), owner.state(theirs.get("owner", {}))
            lasts = theirs.get("lasts_seconds", timing.lasts_seconds)
            if state is owner.State.ALIVE or theirs != first:
                raise JobError(
                    f"output {self.output} is being written by {who}: wait for it to end, or stop it"
                )
            if state is owner.State.DEAD or begun - since >= lasts:
                self._wrote, self._renewed = True, timing.clock()
                if swap.replace(self.file, found, self._record()):
                    say(f"took over the lock of {who}, which ended without releasing it")
                continue
            if not told:
                say(
                    f"output {self.output} is locked by {who}: "
                    f"waiting up to {lasts:.0f} s to see whether that still lives"
                )
                told = True
            timing.pause(timing.watch_seconds)

    def _release(self) -> None:
        """Delete the lock if it is ours. If that fails it is nobody's in a minute: no reason to fail."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        with contextlib.suppress(OSError, JobError):
            found = swap.read(self.file) if self._wrote else None
            if found and not self._lost(found):
                swap.delete(self.file, found)
        swap.remove_empty(self._made)

    def _understood(self, found: swap.Seen) -> dict[str, Any]:
        record = owner.parsed(found.data)
        if record is None:
            raise UsageError(
                f"{self.file} is not a lock of this job: delete it if nothing needs it, "
                "or choose another --output"
            )
        return record

    def _lost(self, found: swap.Seen | None) -> str:
        """Say how the lock was lost; nothing if it is ours."""
        if found is None:
            return f"its lock {self.file} is gone"
        record = owner.parsed(found.data) or {}
        return "" if record.get("token") == self.token else f"{owner.words(record)} has taken its lock"

    def _record(self) -> bytes:
        record = {
            "run_id": self.run_id,
            "what": self._what,
            "owner": self._owner,
            "acquired_at": self._acquired_at,
            "renewed_at": _now(),
            "renewals": self._renewals,
            "lasts_seconds": self._timing.lasts_seconds,
            "token": self.token,
        }
        return json.dumps(record, indent=2).encode()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
