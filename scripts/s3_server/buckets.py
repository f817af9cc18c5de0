"""The buckets of the small S3 server, in memory; a bucket may begin with the files of a folder.

The server lists a folder once, when it starts, so its files must not change while it runs. Puts and deletes
stay in memory: every key works that S3 accepts, and a folder of photos is never changed.
"""

import bisect
import hashlib
import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

LAST: Final = chr(0x10FFFF)


class Stored(NamedTuple):
    """An object: its bytes, or the file that holds them."""

    content: bytes | Path
    size: int
    modified: float
    etag: str | None

    def read(self) -> bytes:
        """Return the whole content."""
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()


class Page(NamedTuple):
    """A page of a listing: keys and common prefixes in order, and the name after which the next begins."""

    keys: list[str]
    prefixes: list[str]
    after: str | None


class Bucket:
    """The objects of a bucket by key, and their keys in order; Python's order of text is UTF-8's."""

    def __init__(self, folder: Path | None = None) -> None:
        self.objects: dict[str, Stored] = dict(_files(folder)) if folder else {}
        self.keys = sorted(self.objects)

    def put(self, key: str, data: bytes) -> str:
        """Store an object, and return its etag: the MD5 of its bytes."""
        if key not in self.objects:
            bisect.insort(self.keys, key)
        etag = md5(data)
        self.objects[key] = Stored(data, len(data), time.time(), etag)
        return etag

    def etag(self, key: str) -> str:
        """Return an object's etag; that of a file is computed once."""
        stored = self.objects[key]
        if stored.etag is None:
            stored = self.objects[key] = stored._replace(etag=md5(stored.read()))
        assert stored.etag
        return stored.etag

    def delete(self, key: str) -> None:
        """Delete an object, if there is one."""
        if self.objects.pop(key, None):
            del self.keys[bisect.bisect_left(self.keys, key)]

    def page(self, prefix: str, delimiter: str, after: str, size: int) -> Page:
        """Return the page of a listing that follows `after`, a key or a common prefix."""
        keys: list[str] = []
        prefixes: list[str] = []
        position = bisect.bisect_left(self.keys, prefix)
        if after:
            is_prefix = delimiter and after.endswith(delimiter)
            following = bisect.bisect_right(self.keys, after + LAST if is_prefix else after)
            position = max(position, following)
        last = ""
        while position < len(self.keys) and self.keys[position].startswith(prefix):
            if len(keys) + len(prefixes) == size:
                return Page(keys, prefixes, last)
            last, position = self.keys[position], position + 1
            cut = last.find(delimiter, len(prefix)) if delimiter else -1
            if cut < 0:
                keys.append(last)
            else:
                last = last[: cut + len(delimiter)]
                prefixes.append(last)
                position = bisect.bisect_right(self.keys, last + LAST)
        return Page(keys, prefixes, None)


class Buckets(dict[str, Bucket]):
    """All buckets; any thread but the server's own takes `lock` to read them."""

    def __init__(self, folders: Mapping[str, Path], empty: tuple[str, ...]) -> None:
        super().__init__({name: Bucket(folder) for name, folder in folders.items()})
        self.update({name: Bucket() for name in empty})
        self.lock = threading.Lock()


def md5(data: bytes) -> str:
    """Return the MD5 of an object's bytes, which S3 uses as etag."""
    return hashlib.md5(data).hexdigest()  # noqa: S324 (no secret depends on it)


def _files(folder: Path) -> Iterator[tuple[str, Stored]]:
    for below, _, names in os.walk(folder, followlinks=True):
        for name in names:
            path = Path(below) / name
            status = path.stat()
            key = path.relative_to(folder).as_posix()
            yield key, Stored(path, status.st_size, status.st_mtime, None)
