"""Who holds a lock, as the lock says it, and whether that process still lives. Stands below ``lock``.

A process number alone says little: numbers are used again, every container counts its own, and two machines
may have one name. Where there is no ``/proc`` (macOS) less is known, and said.
"""

import json
import math
import os
import socket
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

PROC: Final = Path("/proc")
# What proc(5) says of a process that has ended, and of which only its number is left.
ENDED: Final = ("Z", "X", "x")


class State(StrEnum):
    """What can be told of a process from here."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"


def this_process() -> dict[str, Any]:
    """Return what tells this process from every other one, as JSON values.

    ``started`` is in clock ticks since the machine's start. What the system does not tell is None.
    """
    pid = os.getpid()
    return {**_machine(), "pid": pid, "started": _stat(pid)[1]}


def state(owner: Mapping[str, Any]) -> State:
    """Tell whether a process lives: what :func:`this_process` returned in it, maybe on another machine.

    Returns
    -------
    State
        UNKNOWN if it is of another machine, of another container or of before a restart, or if its number is
        in use and the system does not tell since when.
    """
    pid, started = owner.get("pid"), owner.get("started")
    here = _machine()
    if {name: owner.get(name) for name in here} != here or not isinstance(pid, int) or pid < 1:
        return State.UNKNOWN
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return State.DEAD
    except PermissionError:
        pass  # somebody else's process
    now, since = _stat(pid)
    if now in ENDED:
        return State.DEAD
    if started is None or since is None:
        return State.UNKNOWN
    return State.ALIVE if since == started else State.DEAD


def parsed(data: bytes) -> dict[str, Any] | None:
    """Return what a lock says, with a ``token``, an ``owner`` and ``lasts_seconds``; None if it is no lock.

    A file that is empty says nothing: a power cut left it before its content was on the disk.
    """
    if not data.strip(b"\0 \r\n"):
        return {}
    try:
        record = json.loads(data)
        lasts = record["lasts_seconds"]
        told = isinstance(record["token"], str) and isinstance(record["owner"], dict) and 0 < lasts < math.inf
    except (ValueError, TypeError, KeyError):
        return None
    return record if told else None


def words(record: Mapping[str, Any]) -> str:
    """Name the command that holds a lock, for people."""
    if not record:
        return "a command that left no name"
    of = record["owner"]
    return (
        f"{record.get('what')} {record.get('run_id')} "
        f"(host {of.get('host')}, process {of.get('pid')}, since {record.get('acquired_at')})"
    )


def _machine() -> dict[str, Any]:
    """Return what tells this machine, from its start on, and this container from every other one."""
    return {
        "host": socket.gethostname(),
        "boot_id": _text(PROC / "sys/kernel/random/boot_id"),
        "pid_namespace": _link(PROC / "self/ns/pid"),
    }


def _stat(pid: int) -> tuple[str | None, int | None]:
    """Return a process's state, one letter, and its start: fields 3 and 22 of its line in proc(5)."""
    line = _text(PROC / str(pid) / "stat")
    if line is None:
        return None, None
    fields = line.rpartition(")")[2].split()  # the name before it, in brackets, may hold anything
    return fields[0], int(fields[19])


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _link(file: Path) -> str | None:
    try:
        return str(file.readlink())
    except OSError:
        return None
