"""Whether a lock's owner lives: its number alone is not believed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from job import owner
from job.owner import State, parsed, state, this_process, words

LOCK: dict[str, Any] = {"token": "t", "owner": {}, "lasts_seconds": 60}


@pytest.fixture
def child() -> "subprocess.Popen[bytes]":
    """Start a process that waits until it is killed; it is this process's to bury."""
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


def proc(folder: Path, **more: str) -> Path:
    """Make a /proc of process 7: as proc(5) has it, with a name that looks like more fields."""
    fields = " ".join(["S", *(str(number) for number in range(4, 53))])
    files = {
        "7/stat": f"7 (a) Z 1 (b) {fields}",
        "sys/kernel/random/boot_id": "this-start\n",
        "self/ns/pid": "",
        **more,
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "self/ns/pid").unlink()
    (folder / "self/ns/pid").symlink_to("pid:[4026531836]")
    return folder


def test_a_process_knows_itself_to_be_alive_also_from_json() -> None:
    assert state(json.loads(json.dumps(this_process()))) is State.ALIVE


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells when a process started")
def test_another_use_of_the_number_is_another_process() -> None:
    here = this_process()
    assert here["started"] > 0
    assert state({**here, "started": here["started"] - 1}) is State.DEAD


def test_a_killed_process_is_dead_before_and_after_its_parent_has_seen_it(
    child: "subprocess.Popen[bytes]",
) -> None:
    with child:
        there = {**this_process(), "pid": child.pid, "started": owner._stat(child.pid)[1]}
        assert state(there) is not State.DEAD
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has buried it
        if owner.PROC.is_dir():
            assert state(there) is State.DEAD
        child.wait()
        assert state(there) is State.DEAD


@pytest.mark.parametrize(
    "other",
    [{"host": "another"}, {"boot_id": "before-the-restart"}, {"pid_namespace": "pid:[1]"}, {"host": None}],
)
def test_nothing_is_known_of_another_machine_container_or_start(other: dict[str, Any]) -> None:
    there = {**this_process(), "pid": 2**22 + 1, "started": 1}
    assert state(there) is State.DEAD
    assert state({**there, **other}) is State.UNKNOWN


@pytest.mark.parametrize("pid", [None, "7", 0, -1, 1.0])
def test_nothing_is_known_of_a_number_that_is_none(pid: object) -> None:
    assert state({**this_process(), "pid": pid}) is State.UNKNOWN
    assert state({}) is State.UNKNOWN


def test_a_number_beyond_all_numbers_is_nobodys() -> None:
    assert state({**this_process(), "pid": 2**80}) is State.DEAD


def test_the_start_is_read_behind_a_name_that_holds_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, "PROC", proc(tmp_path))
    monkeypatch.setattr(os, "getpid", lambda: 7)
    found = this_process()
    assert found.pop("host")
    assert found == {
        "boot_id": "this-start",
        "pid_namespace": "pid:[4026531836]",
        "pid": 7,
        "started": 22,
    }


def test_without_proc_a_number_in_use_proves_nothing_and_one_that_is_free_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, child: "subprocess.Popen[bytes]"
) -> None:
    monkeypatch.setattr(owner, "PROC", tmp_path / "none")
    there = {**this_process(), "pid": child.pid}
    assert (there["boot_id"], there["started"]) == (None, None)
    with child:
        assert state(there) is State.UNKNOWN
        child.kill()
    assert state(there) is State.DEAD


def test_somebody_elses_process_is_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_: int, __: int) -> None:
        raise PermissionError

    monkeypatch.setattr(owner, "PROC", proc(tmp_path))
    monkeypatch.setattr(os, "kill", forbidden)
    assert state({**this_process(), "pid": 7, "started": 22}) is State.ALIVE
    assert state({**this_process(), "pid": 7, "started": 23}) is State.DEAD
    assert state({**this_process(), "pid": 8, "started": 22}) is State.UNKNOWN


@pytest.mark.parametrize("data", [b"", b"\n", b"\0\0\0\0"])
def test_a_file_without_content_is_a_lock_that_says_nothing(data: bytes) -> None:
    assert parsed(data) == {}
    assert words({}) == "a command that left no name"


@pytest.mark.parametrize(
    "more",
    [{}, {"lasts_seconds": 0.5}, {"owner": {"pid": 7}, "what": "run"}],
)
def test_a_lock_has_a_token_an_owner_and_an_end(more: dict[str, Any]) -> None:
    assert parsed(json.dumps({**LOCK, **more}).encode()) == {**LOCK, **more}


@pytest.mark.parametrize(
    "data",
    [
        b"no JSON",
        b"\xff\xfe",
        b"null",
        b"[1]",
        b'"lasts_seconds"',
        b"{}",
        *(json.dumps({**LOCK, name: None}).encode() for name in LOCK),
        *(json.dumps({**LOCK, "lasts_seconds": wrong}).encode() for wrong in ("60", 0, -1, float("inf"))),
        json.dumps({**LOCK, "lasts_seconds": float("nan")}).encode(),
    ],
)
def test_anything_else_is_no_lock(data: bytes) -> None:
    assert parsed(data) is None


def test_a_command_is_named_by_what_a_person_can_look_for() -> None:
    record = {
        **LOCK,
        "run_id": "night-1",
        "what": "erase",
        "owner": {"host": "ip-10-0-0-7", "pid": 41},
        "acquired_at": "2026-11-21T21:00:00Z",
    }
    assert words(record) == "erase night-1 (host ip-10-0-0-7, process 41, since 2026-11-21T21:00:00Z)"
