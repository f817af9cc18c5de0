"""Progress: a bar on a terminal, lines elsewhere, an honest estimate, and silence after the end."""

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

TIMEOUT = 30.0  # of an Event that is going to be set: only a hang reaches it


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def drawn(self) -> list[str]:
        """Return what stood on the line, one bar after the other."""
        return self.getvalue().rstrip("\n").split("\r\x1b[K")[1:]


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Counter:
    """Photos done; tells when it has been looked at so many times."""

    def __init__(self, looks: int = 1, done: int = 0) -> None:
        self.done, self.looks, self.enough = done, looks, threading.Event()

    def __call__(self) -> int:
        self.looks -= 1
        if self.looks == 0:
            self.enough.set()
        return self.done


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Let the test say what time it is, and when something is shown."""
    made = Clock()
    monkeypatch.setattr(progress, "monotonic", made)
    monkeypatch.setattr(progress, "BAR_SECONDS", TIMEOUT)
    return made


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show something every millisecond."""
    monkeypatch.setattr(progress, "BAR_SECONDS", 0.001)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.001)


def shown(clock: Clock, total: int, points: list[tuple[float, int]]) -> list[dict[str, Any]]:
    """Show the progress at some points of (seconds since the start, photos done)."""
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
    assert terminal.drawn() == [
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
def test_the_bar_gives_way_on_a_narrow_terminal(clock: Clock, columns: int, bar: str) -> None:
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
def test_elsewhere_there_is_a_line_at_each_interval_and_json_is_json_on_a_terminal_too(as_json: bool) -> None:
    out, err, counter = io.StringIO(), Terminal() if as_json else io.StringIO(), Counter(looks=4, done=3)
    with Progress(Log("r", as_json, out, err), 10, counter):
        assert counter.enough.wait(TIMEOUT)
    lines = (out if as_json else err).getvalue().splitlines()
    assert len(lines) >= 3
    if as_json:
        figures = {"done", "total", "photos_per_second", "seconds_left"}
        assert all(json.loads(line).keys() >= figures for line in lines)
    else:
        assert all(line.startswith("3 of 10 photos, ") for line in lines)
    assert (err if as_json else out).getvalue() == ""


def test_the_first_line_comes_after_the_interval_and_not_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "BAR_SECONDS", 0.001)  # which is for terminals only
    err, counter = io.StringIO(), Counter()
    with Progress(Log("r", err=err), 10, counter):
        assert not counter.enough.wait(0.05)
    assert err.getvalue() == "", "a short run says nothing but its result"


def test_speed_and_time_left_are_counted_from_the_first_photos(clock: Clock) -> None:
    lines = shown(clock, 1000, [(5, 0), (20, 100), (20, 100), (25, 100), (30, 300), (60, 1000)])
    estimates = [(line["photos_per_second"], line["seconds_left"]) for line in lines]
    assert estimates == [(0.0, None), (5.0, None), (5.0, None), (4.0, None), (20.0, 35.0), (22.5, 0.0)]
    (line,) = shown(clock, 10, [(2, 10)])
    assert (line["photos_per_second"], line["seconds_left"]) == (5.0, 0.0), "seen only when it is over"


def test_photos_that_spark_counts_twice_never_make_more_than_all(clock: Clock) -> None:
    lines = shown(clock, 100, [(1, 50), (2, 150)])
    assert [(line["done"], line["seconds_left"]) for line in lines] == [(50, None), (100, 0.0)]
    assert shown(clock, 0, [(1, 5)])[0]["message"] == "0 of 0 photos, 0/s, 0:00 left"


@pytest.mark.parametrize(
    ("photos", "words"), [(40, "0:40"), (60, "1:00"), (3599.6, "1:00:00"), (90_061, "25:01:01")]
)
def test_time_left_is_told_in_minutes_and_hours(clock: Clock, photos: float, words: str) -> None:
    (_, line) = shown(clock, 10**6 + round(photos * 10), [(1, 10**6 - 10), (2, 10**6)])
    assert line["message"].endswith(f"{words} left")


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("make", [Terminal, io.StringIO])
@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_nothing_is_said_after_the_end_and_no_thread_is_left(
    make: Callable[[], io.StringIO], error: type[BaseException] | None
) -> None:
    err, counter = make(), Counter(looks=3, done=1)
    try:
        with Progress(Log("r", err=err), 10, counter):
            assert counter.enough.wait(TIMEOUT), "it moves by itself"
            if error is not None:
                raise error
    except (ValueError, KeyboardInterrupt) as caught:
        assert type(caught) is error, "it is not swallowed"
    assert not [thread for thread in threading.enumerate() if thread.name == "progress"]
    said = err.getvalue()
    assert said.endswith("\n"), "what comes next begins a line"
    assert not threading.Event().wait(0.02)
    assert err.getvalue() == said
