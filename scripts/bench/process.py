"""One side of the benchmark as a process of its own: timed, its workers' memory watched, its end sure.

Whatever ends a benchmark, Ctrl-C included, nothing that it has started lives on: a run is a session of its
own, and what its end does not take along is killed by its id.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[2]
PROC = Path("/proc")
POLL_SECONDS = 0.2  # between two looks at the workers' memory; VmHWM is a peak by itself
SCAN_SECONDS = 1.0  # between two looks for new processes
GRACE_SECONDS = 15.0  # for the job to stop Spark after SIGTERM
LAST_SECONDS = 5.0  # for Java and the workers to end by themselves once their driver has


class BenchError(Exception):
    """A measure broke down; its sentence says how."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A finished process.

    Attributes
    ----------
    seconds : float
        From its start to its end.
    started : float
        Seconds since the epoch.
    output : str
        Its stdout.
    peak_bytes : int or None
        The largest resident memory of any of its Spark Python workers; None if none was seen.
    """

    seconds: float
    started: float
    output: str
    peak_bytes: int | None

    def result(self) -> dict[str, Any]:
        """Return the JSON object in the last line of the output."""
        found: dict[str, Any] = json.loads(self.output.splitlines()[-1])
        return found


@dataclass(slots=True)
class Watch:
    """Looks at the processes of one session, and remembers the most memory that a Spark Python worker had.

    Spark gives its daemon a process group of its own, but nothing that it starts leaves the session, whatever
    becomes of its parent. Linux only; elsewhere it sees nothing.
    """

    session: int
    workers: set[int] = field(default_factory=set)
    peak_bytes: int | None = None
    _looked: float = 0.0

    def look(self) -> None:
        """Read the workers' peaks, and now and then look for new workers."""
        if time.monotonic() - self._looked >= SCAN_SECONDS:
            self._looked = time.monotonic()
            pyspark = {pid: parent for pid, parent in self.alive().items() if _is_pyspark(pid)}
            self.workers = {
                pid for pid, parent in pyspark.items() if parent in pyspark
            }  # the daemon's children
        for pid in self.workers:
            peak = peak_bytes(pid)
            if peak is not None:
                self.peak_bytes = max(self.peak_bytes or 0, peak)

    def alive(self) -> dict[int, int]:
        """Return the session's processes but zombies, and their parents; see proc_pid_stat(5)."""
        found = {}
        for file in PROC.glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                state, parent, _, session = file.read_text(errors="replace").rsplit(")", 1)[1].split()[:4]
                if int(session) == self.session and state != "Z":
                    found[int(file.parent.name)] = int(parent)
        return found

    def wait_for_none(self) -> list[int]:
        """Return what is still alive after a while."""
        deadline = time.monotonic() + LAST_SECONDS
        while (left := list(self.alive())) and time.monotonic() < deadline:
            time.sleep(0.1)
        return left


def run(command: Sequence[str], environment: dict[str, str], what: str) -> Ran:
    """Run a command to its end.

    Parameters
    ----------
    command : sequence of str
    environment : dict
    what : str
        Its name in an error.

    Raises
    ------
    BenchError
        If it fails; with the last line of what it said.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        started, clock = time.time(), time.monotonic()
        with process(command, environment, output, errors) as (running, watch):
            while running.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    running.wait(POLL_SECONDS)
                watch.look()
            seconds = time.monotonic() - clock
        output.seek(0)
        errors.seek(0)
        said = output.read()
        if running.returncode:
            raise BenchError(f"{what} ended with {running.returncode}: {last_words(said, errors.read())}")
    return Ran(seconds, started, said, watch.peak_bytes)


def environment(cores: int) -> dict[str, str]:
    """Return the environment of every side: Spark on so many cores, and nothing that would change the job."""
    dropped = (
        "FRUITS_",
        "PYTHONDONTWRITEBYTECODE",
        "SPARK_MASTER",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return kept | {
        "PYSPARK_SUBMIT_ARGS": f"--master local[{cores}] pyspark-shell",
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
    }


def use_cores(cores: int) -> None:
    """Keep this process and all that it starts to so many cores where the system can: Java sees no others."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


@contextlib.contextmanager
def process(
    command: Sequence[str], environment: dict[str, str], output: IO[str], errors: IO[str]
) -> Iterator[tuple["subprocess.Popen[bytes]", Watch]]:
    """Start a command in a session of its own; whatever it has started ends with the ``with`` block."""
    started = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
        env=environment,
        cwd=ROOT,
        start_new_session=True,
    )
    watch = Watch(started.pid)
    try:
        yield started, watch
    finally:
        held = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not stop the cleaning up
        try:
            _end(started, watch)
        finally:
            signal.signal(signal.SIGINT, held)


def _end(process: "subprocess.Popen[bytes]", watch: Watch) -> None:
    """Ask a process to end if it still runs, and kill what is left of its session."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
    for pid in watch.wait_for_none():  # most end by themselves, once their driver has
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    watch.wait_for_none()
    if process.poll() is None:  # where there is no /proc
        process.kill()
    process.wait()


def _is_pyspark(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"pyspark.daemon" in (PROC / str(pid) / "cmdline").read_bytes()
    return False


def peak_bytes(pid: int) -> int | None:
    """Return VmHWM, the most memory that a process has had resident; see proc_pid_status(5)."""
    with contextlib.suppress(OSError):
        for line in (PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return None


def last_words(output: str, errors: str) -> str:
    """Return the last line that a process has said."""
    lines = [line.strip() for line in [*errors.splitlines(), *output.splitlines()[-1:]] if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"
