"""Inside a worker: the photos' bytes, read ahead with many requests in flight, in the order of the inventory.

What is read ahead is bounded twice, in requests and in bytes, so that a task of large photos takes no more
memory than one of small ones.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

from job import store
from job.decode import Rejected

Row = dict[str, Any]

REQUESTS_S3: Final = 32
REQUESTS_FOLDER: Final = 2
WINDOW_BYTES: Final = 32 * 2**20


def fetch(
    rows: Iterable[Row],
    pool: ThreadPoolExecutor,
    requests: int,
    max_bytes: int,
    window_bytes: int = WINDOW_BYTES,
    read: Callable[[str], bytes] = store.read_bytes,
) -> Iterator[tuple[Row, bytes | Rejected]]:
    """Yield each row with its photo's bytes, or with the reason why there are none.

    Parameters
    ----------
    rows : iterable of dict
        Inventory rows; ``path`` and ``bytes`` are used.
    pool : ThreadPoolExecutor
        Runs the requests.
    requests : int
        Most requests in flight.
    max_bytes : int
        A photo listed as larger is refused unread.
    window_bytes : int
        Most bytes read ahead, as listed; one photo may exceed it alone.
    read : callable
        Location to bytes.

    Raises
    ------
    OSError
        What `read` raises beyond a missing or forbidden photo: the store is at fault then, not the photo.
    """
    ahead: deque[tuple[Row, Future[bytes | Rejected]]] = deque()
    waiting = 0
    for row in rows:
        while ahead and (len(ahead) >= requests or waiting + row["bytes"] > window_bytes):
            waiting -= ahead[0][0]["bytes"]
            yield _next(ahead)
        ahead.append((row, pool.submit(_read, row, max_bytes, read)))
        waiting += row["bytes"]
    while ahead:
        yield _next(ahead)


def _next(ahead: deque[tuple[Row, Future[bytes | Rejected]]]) -> tuple[Row, bytes | Rejected]:
    row, future = ahead.popleft()
    return row, future.result()


def _read(row: Row, max_bytes: int, read: Callable[[str], bytes]) -> bytes | Rejected:
    if row["bytes"] > max_bytes:
        return Rejected("too_large", f"{row['bytes']:,} bytes; the limit is {max_bytes:,}")
    try:
        return read(row["path"])
    except FileNotFoundError:
        if store.was_unprintable(row["path"]):
            return Rejected("unreadable", "its name is not UTF-8")
        return Rejected("gone", "it was listed, and was not there to be read")
    except PermissionError:
        return Rejected("unreadable", "permission to read it was denied")
