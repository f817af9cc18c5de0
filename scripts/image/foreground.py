"""Runs a container in the foreground: forwards signals, always removes it, gives results back to the user."""

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final

from job.errors import UsageError
from scripts.cloud.docker_engine import ContainerError, docker
from scripts.cloud.pod_limits import POD_USER
from scripts.image import containers

OUT_OF_MEMORY: Final = 137


class ForwardedSignals:
    """Records SIGINT, SIGTERM and SIGHUP during a ``with`` block, and forwards them to docker."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self.process: subprocess.Popen[str] | None = None
        self._previous_handlers: dict[int, Any] = {}

    def __enter__(self) -> "ForwardedSignals":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._previous_handlers[number] = signal.signal(number, self._forward)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)

    def _forward(self, signum: int, frame: FrameType | None) -> None:
        del frame
        self.received.append(signum)
        if self.process is not None:  # docker ends at SIGTERM, also when the terminal is closed
            self.process.send_signal(signal.SIGTERM if signum == signal.SIGHUP else signum)


def run_container(arguments: Sequence[str], text: str | None, signals: ForwardedSignals) -> int:
    """Run ``docker run``, with `text` as its stdin if it is given, and return its exit code."""
    stdin: Any = subprocess.PIPE if text is not None else None
    # At a terminal docker must stay in the terminal's process group. Elsewhere it gets its own group, so that
    # it receives only the signals that are forwarded.
    process_group = None if os.isatty(0) else 0
    with tempfile.TemporaryDirectory() as folder:
        id_file = Path(folder) / "container"
        command = ["docker", "run", "--cidfile", str(id_file), *arguments]
        try:
            with subprocess.Popen(command, stdin=stdin, text=True, process_group=process_group) as process:
                signals.process = process
                if text is not None:
                    assert process.stdin is not None
                    with contextlib.suppress(BrokenPipeError), process.stdin as sink:
                        sink.write(f"{text}\n\n")
                return process.wait()
        finally:
            signals.process = None
            if id_file.exists():
                with contextlib.suppress(ContainerError):  # --rm has removed it, as a rule
                    docker("rm", "--force", id_file.read_text())


@contextlib.contextmanager
def writable_output(image: str, output: Path) -> Iterator[None]:
    """Let the pod's user own an output folder, created if missing, during the block; then give it back.

    Raises
    ------
    UsageError
        If the folder cannot be made, belongs to another user, or has entries that are not the job's.
    """
    is_new = not output.exists()
    try:
        output.mkdir(parents=True, exist_ok=True)
        status = output.stat()
        names = containers.output_entries(output)
    except OSError as error:
        raise UsageError(f"--output {output} cannot be used: {error.strerror}") from None
    pod_uid = int(POD_USER.split(":")[0])  # owns the folder if a run was killed
    if os.getuid() not in (0, status.st_uid) and status.st_uid != pod_uid:
        raise UsageError(f"--output {output} belongs to another user: choose another")
    is_ours = status.st_uid in (os.getuid(), pod_uid)
    owner = containers.user_and_group() if is_ours else f"{status.st_uid}:{status.st_gid}"
    try:
        containers.change_owner(image, output, names, POD_USER)
        yield
    finally:
        containers.change_owner(image, output, names, owner)
        if is_new:
            with contextlib.suppress(OSError):  # the job has written something
                output.rmdir()
