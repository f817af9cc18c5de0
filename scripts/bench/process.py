"""Runs a command of the benchmark as a process: times it, watches its workers' memory, and ends it.

Each process starts in its own session. When it ends, or the benchmark is interrupted, every process of the
session that still lives is killed.
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
POLL_SECONDS = 0.2  # between two readings of the workers' peak memory (VmHWM)
SCAN_SECONDS = 1.0  # between two scans for new processes
GRACE_SECONDS = 15.0  # for the job to stop Spark after SIGTERM
LAST_SECONDS = 5.0  # for Java and the workers to end after their driver


class BenchError(Exception):
    """A measure broke down; the message says how."""


@dataclass(frozen=True, slots=True)
class FinishedProcess:
    """A finished process."""

    seconds: float  # from start to end
    started: float  # seconds since the epoch
    output: str  # stdout
    peak_bytes: int | None  # resident memory of its largest Spark Python worker; None if none was seen

    def result(self) -> dict[str, Any]:
        """Return the JSON object in the last line of the output."""
        result: dict[str, Any] = json.loads(self.output.splitlines()[-1])
        return result


@dataclass(slots=True)
class Watch:
    """The processes of one session, and the peak memory of its Spark Python workers.

    Spark's daemon has its own process group, but it stays in the session, as all of its children do. It works
    on Linux only; elsewhere it sees no process.
    """

    session: int
    workers: set[int] = field(default_factory=set)
    peak_bytes: int | None = None
    _scanned_at: float = 0.0

    def update(self) -> None:
        """Read the workers' peaks, and look for new workers once a second."""
        if time.monotonic() - self._scanned_at >= SCAN_SECONDS:
            self._scanned_at = time.monotonic()
            pyspark = {pid: parent for pid, parent in self.live_processes().items() if _is_pyspark(pid)}
            # The workers are the daemon's children.
            self.workers = {pid for pid, parent in pyspark.items() if parent in pyspark}
        for pid in self.workers:
            peak = peak_bytes(pid)
            if peak is not None:
                self.peak_bytes = max(self.peak_bytes or 0, peak)

    def live_processes(self) -> dict[int, int]:
        """Return the parent of each process of the session, without zombies; see proc_pid_stat(5)."""
        parents = {}
        for file in PROC.glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                state, parent, _, session = file.read_text(errors="replace").rsplit(")", 1)[1].split()[:4]
                if int(session) == self.session and state != "Z":
                    parents[int(file.parent.name)] = int(parent)
        return parents

    def wait_for_end(self) -> list[int]:
        """Wait for the session's processes to end; return those that still live after `LAST_SECONDS`."""
        deadline = time.monotonic() + LAST_SECONDS
        while (pids := list(self.live_processes())) and time.monotonic() < deadline:
            time.sleep(0.1)
        return pids


def run(command: Sequence[str], environment: dict[str, str], name: str) -> FinishedProcess:
    """Run a command to its end.

    Raises
    ------
    BenchError
        If it fails; with its `name` and the last line of its output.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        started, clock = time.time(), time.monotonic()
        with process(command, environment, output, errors) as (running, watch):
            while running.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    running.wait(POLL_SECONDS)
                watch.update()
            seconds = time.monotonic() - clock
        output.seek(0)
        errors.seek(0)
        stdout = output.read()
        if running.returncode:
            raise BenchError(f"{name} ended with {running.returncode}: {last_line(stdout, errors.read())}")
    return FinishedProcess(seconds, started, stdout, watch.peak_bytes)


def environment(cores: int) -> dict[str, str]:
    """Return the environment of every process: Spark on `cores` cores, no variables that change the job."""
    excluded = (
        "FRUITS_",
        "PYTHONDONTWRITEBYTECODE",
        "SPARK_MASTER",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
    )
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(excluded)}
    return inherited | {
        "PYSPARK_SUBMIT_ARGS": f"--master local[{cores}] pyspark-shell",
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
    }


def use_cores(cores: int) -> None:
    """Limit this process and its children to `cores` cores, if the system can; Java sees no others."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


@contextlib.contextmanager
def process(
    command: Sequence[str], environment: dict[str, str], output: IO[str], errors: IO[str]
) -> Iterator[tuple["subprocess.Popen[bytes]", Watch]]:
    """Start a command in its own session; the ``with`` block ends every process of the session."""
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
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not stop the cleanup
        try:
            _end(started, watch)
        finally:
            signal.signal(signal.SIGINT, handler)


def _end(process: "subprocess.Popen[bytes]", watch: Watch) -> None:
    """Terminate a process if it still runs, and kill the rest of its session."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
    for pid in watch.wait_for_end():  # most end by themselves after their driver
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    watch.wait_for_end()
    if process.poll() is None:  # where there is no /proc
        process.kill()
    process.wait()


def _is_pyspark(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"pyspark.daemon" in (PROC / str(pid) / "cmdline").read_bytes()
    return False


def peak_bytes(pid: int) -> int | None:
    """Return VmHWM, the peak resident memory of a process; see proc_pid_status(5)."""
    with contextlib.suppress(OSError):
        for line in (PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return None


def last_line(output: str, errors: str) -> str:
    """Return the last line of a process's errors, or else of its output."""
    lines = [line.strip() for line in [*errors.splitlines(), *output.splitlines()[-1:]] if line.strip()]
    return lines[-1][:300] if lines else "it printed nothing"
