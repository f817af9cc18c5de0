"""A machine of a local cluster: processes, mounts and a network of its own, which end when this process does.

The kernel ends all processes of a process namespace with its first one, and the mounts and network devices of
namespaces that no process is in any more. So nothing has to be cleaned up after a machine, however it ended.
"""

import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from job.errors import JobError

# The kernel's number of network namespaces, from sched.h. Python has os.setns from 3.12 on.
CLONE_NEWNET: Final = 0x40000000
# What the machine's first process does. SIGCHLD is ignored, so the kernel reaps what is left to it. Container
# programs keep their state in /run and /var/lib/cni.
FIRST_PROCESS: Final = """\
trap '' CHLD
mount -t tmpfs tmpfs /run && mkdir -p /run/netns /var/lib/cni && mount -t tmpfs tmpfs /var/lib/cni &&
ip link set lo up && echo 1 > /proc/sys/net/ipv4/ip_forward && echo ready && exec sleep infinity
"""


class Machine:
    """Namespaces and the processes in them.

    Parameters
    ----------
    name : str
        The machine's name.
    logs : Path
        The folder of its programs' logs.
    """

    def __init__(self, name: str, logs: Path) -> None:
        self.name = name
        self._logs = logs
        isolation = ["unshare", "--net", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child"]
        # If this process is killed, the kernel kills the machine.
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *isolation, "sh", "-c", FIRST_PROCESS],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, process_group=0,
        )  # fmt: skip
        assert self._process.stdout is not None and self._process.stderr is not None
        if self._process.stdout.readline() != "ready\n":
            reason = self._process.stderr.read().strip().splitlines()
            raise JobError(f"no namespaces for {name}: {reason[-1] if reason else 'unshare failed'}")
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        self.pid = int(children)

    def command(self, *words: str | Path) -> list[str]:
        """Return a command that runs `words` in the machine."""
        # Not `ip netns exec`, which mounts another /sys, without the groups that limit containers.
        return ["nsenter", f"--target={self.pid}", "--net", "--mount", "--pid", "--", *map(str, words)]

    def client_command(self, *words: str | Path) -> list[str]:
        """Return a command that runs `words` in this process's folder, with the machine's network."""
        return ["nsenter", f"--target={self.pid}", "--net", "--", *map(str, words)]

    def run(self, *words: str | Path, data: str | None = None, check: bool = True) -> str:
        """Run a client of the machine's network and return its stdout.

        Raises
        ------
        JobError
            If it fails and `check` is true.
        """
        command = self.client_command(*words)
        result = subprocess.run(command, input=data, capture_output=True, text=True, check=False)
        if check and result.returncode:
            output = (result.stderr.strip() or result.stdout.strip() or str(result.returncode)).splitlines()
            raise JobError(f"{' '.join(map(str, words))[:200]}: {output[-1]}")
        return result.stdout

    def start(self, name: str, *words: str | Path, **environment: str) -> "subprocess.Popen[bytes]":
        """Start a program in the machine; its output goes to ``NAME.log``."""
        with (self._logs / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                self.command(*words), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **environment}, process_group=0,
            )  # fmt: skip

    @contextmanager
    def network(self) -> Iterator[None]:
        """Give this thread the machine's network during a ``with`` block: sockets made in it keep it."""
        with (
            Path("/proc/thread-self/ns/net").open("rb") as own,
            Path(f"/proc/{self.pid}/ns/net").open("rb") as other,
        ):
            _set_network(other.fileno())
            try:
                yield
            finally:
                _set_network(own.fileno())

    def end(self) -> None:
        """End the machine with everything in it."""
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate()


def _set_network(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
