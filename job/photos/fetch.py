"""Inside a worker: the photos' bytes, read ahead with many requests in flight, in the order of the inventory.

What is read ahead is bounded twice, in requests and in bytes, so that a task of large photos takes no more
memory than one of small ones. Faults of S3 that pass end inside of a read, which asks again (``s3``): the
photos behind it are read meanwhile, as far as the bounds allow.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

from job.photos.decode import Rejected
from job.storage import store

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
        What `read` raises beyond a missing or forbidden photo, once its patience is at an end: the store is
        at fault then, not the photo.
    """
    ahead: deque[tuple[Row, int, Future[bytes | Rejected]]] = deque()
    try:
        for row in rows:
            size = row["bytes"] if row["bytes"] <= max_bytes else 0
            while len(ahead) >= requests or (ahead and sum(one[1] for one in ahead) + size > window_bytes):
                done, _, future = ahead.popleft()
                yield done, future.result()
            ahead.append((row, size, pool.submit(_read, row, max_bytes, read)))
        while ahead:
            done, _, future = ahead.popleft()
            yield done, future.result()
    finally:  # the task failed, or Spark wants no more of it: what has not begun never will
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
    except PermissionError:
        return Rejected("unreadable", "permission to read it was denied")
