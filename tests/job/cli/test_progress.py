"""Progress: a bar on a terminal, lines elsewhere, and nothing after the end."""

import io
import json
import os
import pty
import struct
import termios
import threading
from collections.abc import Callable
from fcntl import ioctl
from typing import Any

import pytest

from job.cli import progress
from job.cli.log import Log
from job.cli.progress import Progress

TIMEOUT = 30.0  # for events that are set soon


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def bars(self) -> list[str]:
        """Return the bars in the order they were drawn."""
        return self.getvalue().rstrip("\n").split("\r\x1b[K")[1:]


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Counter:
    """A count of photos done, with an event that is set at the nth call."""

    def __init__(self, calls: int = 1, done: int = 0) -> None:
        self.done, self.calls_left, self.reached = done, calls, threading.Event()

    def __call__(self) -> int:
        self.calls_left -= 1
        if self.calls_left == 0:
            self.reached.set()
        return self.done


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return a clock that the test sets; progress is shown only when the test asks for it."""
    clock = Clock()
    monkeypatch.setattr(progress, "monotonic", clock)
    monkeypatch.setattr(progress, "BAR_SECONDS", TIMEOUT)
    return clock


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show progress every millisecond."""
    monkeypatch.setattr(progress, "BAR_SECONDS", 0.001)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.001)


def show_at(clock: Clock, total: int, points: list[tuple[float, int]]) -> list[dict[str, Any]]:
    """Show progress at points of (seconds since the start, photos done), and return the events."""
    out, counter, clock.now = io.StringIO(), Counter(), 100.0
    with Progress(Log("r", True, out), total, counter) as bar:
        for seconds, counter.done in points:
            clock.now = 100.0 + seconds
            bar.show()
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_terminal_shows_one_bar_with_photos_speed_and_time_left(clock: Clock) -> None:
    terminal, counter = Terminal(), Counter()
    with Progress(Log("r", err=terminal), 2000, counter) as bar:
        for clock.now, counter.done in ((110.0, 500), (115.0, 1500), (116.0, 1990)):
            bar.show()
        counter.done = 2000
    assert terminal.bars() == [
        "[#####...............] 500 of 2,000 photos, 50/s, time left unknown",
        "[###############.....] 1,500 of 2,000 photos, 200/s, 0:02 left",
        "[###################.] 1,990 of 2,000 photos, 248/s, 0:00 left",
        "[####################] 2,000 of 2,000 photos, 250/s, 0:00 left",
    ]
    assert terminal.getvalue().endswith("left\n")
    assert terminal.getvalue().count("\n") == 1


@pytest.mark.parametrize(
    ("columns", "bar"), [(200, "[#####...............] "), (67, "[##......] "), (60, "[.] "), (59, "")]
)
def test_the_bar_shrinks_on_a_narrow_terminal(clock: Clock, columns: int, bar: str) -> None:
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as terminal, os.fdopen(leader, "rb", buffering=0) as screen:
        ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        with Progress(Log("r", err=terminal), 1_000_000, lambda: 250_000):
            clock.now += 50
        drawn = screen.read(10_000).decode().strip().removeprefix("\x1b[K")
    assert drawn == f"{bar}250,000 of 1,000,000 photos, 5,000/s, time left unknown"
    assert len(drawn) < columns


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("as_json", [False, True])
def test_files_get_a_line_at_each_interval_and_terminals_get_json_if_asked(as_json: bool) -> None:
    out, err, counter = io.StringIO(), Terminal() if as_json else io.StringIO(), Counter(calls=4, done=3)
    with Progress(Log("r", as_json, out, err), 10, counter):
        assert counter.reached.wait(TIMEOUT)
    lines = (out if as_json else err).getvalue().splitlines()
    assert len(lines) >= 3
    if as_json:
        figures = {"done", "total", "photos_per_second", "seconds_left"}
        assert all(json.loads(line).keys() >= figures for line in lines)
    else:
        assert all(line.startswith("3 of 10 photos, ") for line in lines)
    assert (err if as_json else out).getvalue() == ""


def test_the_first_line_comes_after_the_first_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "BAR_SECONDS", 0.001)  # only terminals use this
    err, counter = io.StringIO(), Counter()
    with Progress(Log("r", err=err), 10, counter):
        assert not counter.reached.wait(0.05)
    assert err.getvalue() == "", "a short run prints only its result"


def test_speed_and_time_left_are_estimated_from_the_first_photos_on(clock: Clock) -> None:
    lines = show_at(clock, 1000, [(5, 0), (20, 100), (20, 100), (25, 100), (30, 300), (60, 1000)])
    estimates = [(line["photos_per_second"], line["seconds_left"]) for line in lines]
    assert estimates == [(0.0, None), (5.0, None), (5.0, None), (4.0, None), (20.0, 35.0), (22.5, 0.0)]
    (line,) = show_at(clock, 10, [(2, 10)])
    assert (line["photos_per_second"], line["seconds_left"]) == (5.0, 0.0), "shown only at the end"


def test_photos_counted_twice_never_exceed_the_total(clock: Clock) -> None:
    lines = show_at(clock, 100, [(1, 50), (2, 150)])
    assert [(line["done"], line["seconds_left"]) for line in lines] == [(50, None), (100, 0.0)]
    assert show_at(clock, 0, [(1, 5)])[0]["message"] == "0 of 0 photos, 0/s, 0:00 left"


@pytest.mark.parametrize(
    ("photos", "expected"), [(40, "0:40"), (60, "1:00"), (3599.6, "1:00:00"), (90_061, "25:01:01")]
)
def test_time_left_is_shown_in_minutes_and_hours(clock: Clock, photos: float, expected: str) -> None:
    (_, line) = show_at(clock, 10**6 + round(photos * 10), [(1, 10**6 - 10), (2, 10**6)])
    assert line["message"].endswith(f"{expected} left")


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("new_stream", [Terminal, io.StringIO])
@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_after_the_end_nothing_is_printed_and_no_thread_is_left(
    new_stream: Callable[[], io.StringIO], error: type[BaseException] | None
) -> None:
    err, counter = new_stream(), Counter(calls=3, done=1)
    try:
        with Progress(Log("r", err=err), 10, counter):
            assert counter.reached.wait(TIMEOUT), "progress is shown without calls"
            if error is not None:
                raise error
    except (ValueError, KeyboardInterrupt) as caught:
        assert type(caught) is error, "the error is not swallowed"
    assert not [thread for thread in threading.enumerate() if thread.name == "progress"]
    printed = err.getvalue()
    assert printed.endswith("\n"), "the last line is complete"
    assert not threading.Event().wait(0.02)
    assert err.getvalue() == printed
