"""Runs a container: forwards signals, always removes it, and gives results back to the user."""

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final

from scripts.image import containers
from scripts.image.containers import USER, ContainerError

INTERRUPTED: Final = 130
KILLED: Final = 137


class Signs:
    """Records SIGINT, SIGTERM and SIGHUP during a ``with`` block, and forwards them to docker."""

    def __init__(self) -> None:
        self.came: list[int] = []
        self.process: subprocess.Popen[str] | None = None
        self.before: dict[int, Any] = {}

    def __enter__(self) -> "Signs":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self.before[number] = signal.signal(number, self._came)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _came(self, signum: int, frame: FrameType | None) -> None:
        del frame
        self.came.append(signum)
        if self.process is not None:  # a closed terminal ends the run as a request to end it does
            self.process.send_signal(signal.SIGTERM if signum == signal.SIGHUP else signum)


def foreground(words: Sequence[str], said: str | None, signs: Signs) -> int:
    """Run ``docker run`` with some words, and with `said`, if given, as its stdin; return its exit code."""
    source: Any = subprocess.PIPE if said is not None else None
    # At a terminal docker must be in the terminal's own group; elsewhere a group of its own hears us alone.
    own = None if os.isatty(0) else 0
    with tempfile.TemporaryDirectory() as folder:
        note = Path(folder) / "container"
        line = ["docker", "run", "--cidfile", str(note), *words]
        try:
            with subprocess.Popen(line, stdin=source, text=True, process_group=own) as process:
                signs.process = process
                if said is not None:
                    assert process.stdin is not None
                    with contextlib.suppress(BrokenPipeError), process.stdin as sink:
                        sink.write(f"{said}\n\n")
                return process.wait()
        finally:
            signs.process = None
            if note.exists():
                with contextlib.suppress(ContainerError):  # as a rule it is gone
                    containers.docker("rm", "--force", note.read_text())


@contextlib.contextmanager
def handed_over(image: str, output: Path) -> Iterator[None]:
    """Let a container's user write to an output folder, which is made if it is missing; then give it back.

    Raises
    ------
    ContainerError
        If the folder cannot be made, is another user's, or has tables that are not the job's.
    """
    made = not output.exists()
    try:
        output.mkdir(parents=True, exist_ok=True)
        about = output.stat()
        names = containers.ours(output)
    except OSError as error:
        raise ContainerError(f"--output {output} cannot be used: {error.strerror}", 2) from None
    left = int(USER.split(":")[0])  # by a run that was killed
    if os.getuid() not in (0, about.st_uid) and about.st_uid != left:
        raise ContainerError(f"--output {output} belongs to another user: choose another", 2)
    owner = containers.me() if about.st_uid in (os.getuid(), left) else f"{about.st_uid}:{about.st_gid}"
    try:
        containers.hand_over(image, output, names, USER)
        yield
    finally:
        containers.hand_over(image, output, names, owner)
        if made:
            with contextlib.suppress(OSError):  # something was written
                output.rmdir()
