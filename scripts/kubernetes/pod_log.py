"""Follows the log of one container by ``kubectl logs --follow``, and goes on where a connection was lost."""

import contextlib
import os
import subprocess
from dataclasses import dataclass, field
from typing import Final

from scripts.cloud.stage import NAMESPACE
from scripts.kubernetes.kubectl import Kubectl

READ_BYTES: Final = 1 << 16
# How long the end of a finished container's log is waited for.
END_SECONDS: Final = 15.0


@dataclass
class PodLog:
    """The lines of a container's log, stdout and stderr together, as far as they were read."""

    kubectl: Kubectl
    pod: str
    container: str
    _process: "subprocess.Popen[bytes] | None" = None
    _unfinished: bytes = b""
    _last_time: str = ""
    _lines: list[str] = field(default_factory=list)

    def new_lines(self) -> list[str]:
        """Return the lines that came since the last call, without waiting."""
        if self._process is None:
            self._start()
        elif self._process.poll() is not None:
            # The connection was lost, or the container had not started yet.
            self._read_what_is_there()
            self.end()
            self._start()
        self._read_what_is_there()
        return self._unread_lines()

    def remaining_lines(self) -> list[str]:
        """Return the last lines of a container that has ended."""
        if self._process is None or self._process.poll() not in (None, 0):
            self.end()
            self._start()
        assert self._process is not None
        try:
            output, _ = self._process.communicate(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            output, _ = self._process.communicate()
        self._add(output or b"")
        return self._unread_lines()

    def end(self) -> None:
        """End kubectl."""
        if self._process is None:
            return
        self._process.kill()
        self._process.communicate()
        self._process, self._unfinished = None, b""

    def _start(self) -> None:
        since = [f"--since-time={self._last_time}"] if self._last_time else []
        words = ("logs", "--follow", "--timestamps", "-n", NAMESPACE, self.pod, "-c", self.container)
        self._process = self.kubectl.start(*words, *since)
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)

    def _read_what_is_there(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        # Without data, reading raises BlockingIOError; at the end, it returns nothing.
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._process.stdout.fileno(), READ_BYTES):
                self._add(data)

    def _add(self, data: bytes) -> None:
        *lines, self._unfinished = (self._unfinished + data).split(b"\n")
        for line in lines:
            time, _, text = line.decode(errors="replace").partition(" ")
            # Kubernetes writes times of one width. After a new start, lines of the last second come again.
            if time > self._last_time:
                self._last_time = time
                self._lines.append(text)

    def _unread_lines(self) -> list[str]:
        lines, self._lines = self._lines, []
        return lines
