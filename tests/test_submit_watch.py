"""Ctrl-C while a run is watched: what it means is asked, and how to find the run again is said."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import submit
from tests.stages import Made

ROOT = Path(__file__).parents[1]


class Interrupt:
    """Stands in for waiting: presses Ctrl-C the first times."""

    def __init__(self, times: int) -> None:
        self.left = times

    def __call__(self, _: float) -> None:
        if self.left:
            self.left -= 1
            raise KeyboardInterrupt


def watch(made: Made, times: int = 1) -> int:
    made.cloud.states += [{"state": "PENDING"}, {"state": "RUNNING"}]
    return submit.main(["--run-id", "monday"], wait=Interrupt(times))


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    return monkeypatch


def test_only_watching_stops_at_enter(
    made: Made, terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def enter(text: str) -> str:
        asked.append(text)
        return ""

    terminal.setattr("builtins.input", enter)
    assert watch(made) == 130
    assert "cancel run monday (c), or only stop watching (Enter)?" in asked[0]
    assert "it goes on: ./scripts/submit.sh follow monday" in capsys.readouterr().err
    assert made.cloud.runs()[0].state != "CANCELLED"


def test_c_cancels_and_waits_for_the_end(
    made: Made, terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.setattr("builtins.input", lambda _: "c")
    made.cloud.states.append({"state": "PENDING"})
    assert submit.main(["--run-id", "monday"], wait=Interrupt(1)) == 5
    assert made.cloud.runs()[0].state == "CANCELLED"
    assert "run monday was cancelled" in capsys.readouterr().err


def test_a_second_ctrl_c_only_stops_watching(
    made: Made, terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def press(_: str) -> str:
        raise KeyboardInterrupt

    terminal.setattr("builtins.input", press)
    assert watch(made) == 130
    assert "./scripts/submit.sh follow monday" in capsys.readouterr().err
    assert made.cloud.runs()[0].state != "CANCELLED"


def test_without_a_terminal_nothing_is_asked_and_nothing_cancelled(
    made: Made, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert watch(made) == 130
    assert "./scripts/submit.sh follow monday" in capsys.readouterr().err
    assert made.cloud.runs()[0].state != "CANCELLED"


def test_a_real_terminal_is_asked(made: Made) -> None:
    """Real signals to a real process on a terminal of its own: the whole way, once."""
    made.cloud.states += [{"state": "RUNNING"}]
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-B", ROOT / "scripts" / "submit.py", "--run-id", "monday", "--poll", "60"],
        stdin=its, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=dict(os.environ),
        start_new_session=True, text=True,
    )  # fmt: skip
    os.close(its)
    try:
        assert process.stdout is not None
        said = ""
        while "RUNNING" not in said:
            said = process.stdout.readline()
            assert said, "it ended before it watched"
        process.send_signal(signal.SIGINT)
        os.write(ours, b"c\n")
        rest = process.stdout.read()
        assert process.wait(60) == 5, rest
        assert "cancel run monday (c)" in rest
        assert made.cloud.runs()[0].state == "CANCELLED"
    finally:
        process.kill()
        process.wait()
        os.close(ours)
