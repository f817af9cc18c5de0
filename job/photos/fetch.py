"""Reads the photos' bytes ahead of ``decode``, in a worker, with many requests at once, in inventory order.

Both requests and bytes are bounded, so that a task of large photos takes no more memory than one of small
ones. A read retries passing faults of S3 itself, while the photos behind it are read as far as the bounds
allow.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

from job.photos.decode import Rejected
from job.storage import store
from job.storage.s3_errors import ArchivedError

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
    """Yield each row with its photo's bytes, or with the reason why they cannot be had.

    Parameters
    ----------
    rows : iterable of dict
        Inventory rows, of which ``path`` and ``bytes`` are read.
    requests : int
        Most requests in flight.
    max_bytes : int
        A photo listed as larger is refused unread.
    window_bytes : int
        Most bytes read ahead, as listed; a single photo may exceed it.
    read : callable
        Returns the bytes at a location.

    Raises
    ------
    OSError
        From `read`, if the store fails; a missing or forbidden photo is :class:`Rejected` instead.
    """
    ahead: deque[tuple[Row, int, Future[bytes | Rejected]]] = deque()
    try:
        for row in rows:
            size = row["bytes"] if row["bytes"] <= max_bytes else 0
            while len(ahead) >= requests or (ahead and sum(item[1] for item in ahead) + size > window_bytes):
                first_row, _, future = ahead.popleft()
                yield first_row, future.result()
            ahead.append((row, size, pool.submit(_read, row, max_bytes, read)))
        while ahead:
            first_row, _, future = ahead.popleft()
            yield first_row, future.result()
    finally:  # if the task failed or Spark stopped it, reads are still queued
        for _, _, future in ahead:
            future.cancel()


def _read(row: Row, max_bytes: int, read: Callable[[str], bytes]) -> bytes | Rejected:
    if store.was_unprintable(row["path"]):
        return Rejected("unreadable", "its name is not UTF-8")
    if row["bytes"] > max_bytes:
        return Rejected("too_large", f"{row['bytes']:,} bytes; the limit is {max_bytes:,}")
    try:
        return read(row["path"])
    except (FileNotFoundError, NotADirectoryError):
        return Rejected("gone", "it was listed, and was not there to be read")
    except ArchivedError:
        return Rejected("unreadable", "archived by S3: restore it, then run with --retry-rejected")
    except PermissionError:
        return Rejected("unreadable", "permission to read it was denied")
