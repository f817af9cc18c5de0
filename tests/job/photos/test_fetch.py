"""Fetching: the photos in the order of the inventory, read ahead within two bounds."""

import errno
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from job.photos.fetch import fetch

LIMIT = 1_000_000


def rows(*sizes: int) -> list[dict[str, Any]]:
    return [{"path": f"/photo/{number}.jpg", "bytes": size} for number, size in enumerate(sizes)]


class Gate:
    """A reader that notes what is being read, and lets a photo through when told."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.open = threading.Event()
        self.lock = threading.Lock()

    def __call__(self, path: str) -> bytes:
        with self.lock:
            self.begun.append(path)
        assert self.open.wait(30)
        return path.encode()

    def reaches(self, count: int) -> int:
        """Wait until so many reads have begun, and a moment longer for one too many; return how many have."""
        deadline = time.monotonic() + 30
        while len(self.begun) < count and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.05)
        return len(self.begun)

    def opens_at(self, count: int) -> None:
        """Let all reads through once so many have begun; no more may have."""
        begun = self.reaches(count)
        self.open.set()
        assert begun == count


def test_photos_come_in_the_order_of_the_rows(pool: ThreadPoolExecutor) -> None:
    def later_ones_first(path: str) -> bytes:
        time.sleep(0.02 if path[7] in "048" else 0)
        return path.encode()

    wanted = rows(*[10] * 20)
    got = list(fetch(wanted, pool, 8, LIMIT, read=later_ones_first))
    assert [row for row, _ in got] == wanted
    assert [data for _, data in got] == [row["path"].encode() for row in wanted]


def test_no_more_than_so_many_requests_are_in_flight(pool: ThreadPoolExecutor) -> None:
    gate = Gate()
    photos = fetch(rows(*[10] * 20), pool, 3, LIMIT, read=gate)
    first: list[Any] = []
    reader = threading.Thread(target=lambda: first.append(next(photos)))
    reader.start()
    gate.opens_at(3)
    reader.join()
    for taken in range(2, 21):
        next(photos)
        assert len(gate.begun) <= taken + 3


@pytest.mark.parametrize(
    ("sizes", "begun"),
    [
        ([40, 40, 40, 40], 2),
        ([50, 50, 1], 2),
        ([100, 1], 1),
        ([500, 1], 1),  # one that is larger than the window goes alone,
        ([1, 500, 1], 1),  # and waits for those before it
        ([0, 0, 0, 0, 0], 5),
        ([1, LIMIT + 1, 60, 39, 1], 3),  # what is not read takes no room
    ],
)
def test_no_more_bytes_are_read_ahead_than_the_window_holds(
    pool: ThreadPoolExecutor, sizes: list[int], begun: int
) -> None:
    gate = Gate()
    photos = fetch(rows(*sizes), pool, 8, LIMIT, window_bytes=100, read=gate)
    left: list[Any] = []
    reader = threading.Thread(target=lambda: left.extend(photos))
    reader.start()
    gate.opens_at(begun)
    reader.join()
    assert len(left) == len(sizes)


def test_the_room_of_a_photo_that_was_taken_is_used_again(pool: ThreadPoolExecutor) -> None:
    begun: list[str] = []

    def note(path: str) -> bytes:
        begun.append(path)
        return b"x"

    photos = fetch(rows(*[50] * 20), pool, 8, LIMIT, window_bytes=100, read=note)
    for taken in range(1, 19):
        next(photos)
        deadline = time.monotonic() + 5
        while len(begun) <= taken:  # the next one has been asked for, and its thread is about to begin
            assert time.monotonic() < deadline, f"nothing is read ahead of photo {taken}"
            time.sleep(0.001)


@pytest.mark.parametrize("failing", [False, True])
def test_what_has_not_begun_when_a_task_ends_early_never_does(failing: bool) -> None:
    gate = Gate()

    def read(path: str) -> bytes:
        if path == "/photo/0.jpg":
            return b"x"
        if failing and path == "/photo/1.jpg":
            raise OSError(errno.EIO, "fault")
        return gate(path)

    with ThreadPoolExecutor(2) as pool:  # two threads, and more that wait for one
        photos = fetch(rows(*[10] * 20), pool, 8, LIMIT, read=read)
        assert next(photos)[1] == b"x"
        gate.reaches(2)
        if failing:
            with pytest.raises(OSError, match="fault"):
                next(photos)
        else:
            photos.close()  # type: ignore[attr-defined]
        gate.open.set()
        # The threads are free for the next task.
        assert [data for _, data in fetch(rows(1, 1), pool, 2, LIMIT, read=str.encode)] == [
            b"/photo/0.jpg",
            b"/photo/1.jpg",
        ]
    assert len(gate.begun) == 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPool")]
