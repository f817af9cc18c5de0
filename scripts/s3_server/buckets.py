"""What the small S3 server keeps: buckets in memory, each over a folder that is only read if it has one.

A folder's files are looked at once, when the server starts, and must not change while it runs. What is put or
deleted stays in memory, so every key works that S3 takes, and a folder of photos comes to no harm.
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
    """An object: its bytes, or the file that has them."""

    content: bytes | Path
    size: int
    modified: float
    etag: str | None

    def read(self) -> bytes:
        """Return the whole content."""
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()


class Page(NamedTuple):
    """A page of a listing: keys and common prefixes in order, and where the next page begins."""

    keys: list[str]
    prefixes: list[str]
    after: str | None


class Bucket:
    """The objects of a bucket by key, and their keys in order (of Python's text, which is UTF-8's)."""

    def __init__(self, folder: Path | None = None) -> None:
        self.objects: dict[str, Stored] = dict(_files(folder)) if folder else {}
        self.keys = sorted(self.objects)

    def put(self, key: str, data: bytes) -> str:
        """Keep an object, and return its etag: the MD5 of its bytes."""
        if key not in self.objects:
            bisect.insort(self.keys, key)
        etag = md5(data)
        self.objects[key] = Stored(data, len(data), time.time(), etag)
        return etag

    def etag(self, key: str) -> str:
        """Return an object's etag; of a file it is computed once."""
        stored = self.objects[key]
        if stored.etag is None:
            stored = self.objects[key] = stored._replace(etag=md5(stored.read()))
        assert stored.etag
        return stored.etag

    def delete(self, key: str) -> None:
        """Forget an object, if there is one."""
        if self.objects.pop(key, None):
            del self.keys[bisect.bisect_left(self.keys, key)]

    def page(self, prefix: str, delimiter: str, after: str, most: int) -> Page:
        """Return the next page of a listing: what follows `after`, a key or a common prefix."""
        keys: list[str] = []
        prefixes: list[str] = []
        at = bisect.bisect_left(self.keys, prefix)
        if after:
            skipped = delimiter and after.endswith(delimiter)
            at = max(at, bisect.bisect_right(self.keys, after + LAST if skipped else after))
        last = ""
        while at < len(self.keys) and self.keys[at].startswith(prefix):
            if len(keys) + len(prefixes) == most:
                return Page(keys, prefixes, last)
            last, at = self.keys[at], at + 1
            cut = last.find(delimiter, len(prefix)) if delimiter else -1
            if cut < 0:
                keys.append(last)
            else:
                last = last[: cut + len(delimiter)]
                prefixes.append(last)
                at = bisect.bisect_right(self.keys, last + LAST)
        return Page(keys, prefixes, None)


class Buckets(dict[str, Bucket]):
    """All buckets; whoever is not the server itself takes `lock` to look into them."""

    def __init__(self, folders: Mapping[str, Path], empty: tuple[str, ...]) -> None:
        super().__init__({name: Bucket(folder) for name, folder in folders.items()})
        self.update({name: Bucket() for name in empty})
        self.lock = threading.Lock()


def md5(data: bytes) -> str:
    """Return what S3 takes for an etag."""
    return hashlib.md5(data).hexdigest()  # noqa: S324 (no secret depends on it)


def _files(folder: Path) -> Iterator[tuple[str, Stored]]:
    for at, _, names in os.walk(folder, followlinks=True):
        for name in names:
            path = Path(at) / name
            about = path.stat()
            key = path.relative_to(folder).as_posix()
            yield key, Stored(path, about.st_size, about.st_mtime, None)
