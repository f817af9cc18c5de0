"""Compare and swap of one small file: it is replaced or deleted only while it still is what was read.

In S3 the server compares, by the ETag of a conditional request. In a folder this process compares, while the
kernel's lock on the folder keeps the machine's other processes out: another machine on a shared folder is
not kept out. Stands below ``lock``.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from obstore.exceptions import PreconditionError

from job import aws, s3, store
from job.retry import Patience

# What a file system answers that cannot lock. Comparing and replacing are then two steps that follow at once.
NO_FLOCK: Final = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENOLCK, errno.EBADF)
# Shorter than a lock lasts: its next renewal tries again.
PATIENCE: Final = Patience(seconds=20)
CHANGED: Final = "PreconditionFailed"  # in S3's answer to a conditional delete
TRIES: Final = 20


class Seen(NamedTuple):
    """A file as it was read; `etag` is S3's, and empty in a folder."""

    data: bytes
    etag: str = ""


def read(location: str) -> Seen | None:
    """Return the file, or None if there is none; raises as :func:`job.store.read_bytes` does."""
    bucket, key = s3.split(location)
    if not store.is_s3(location) or s3.NO_PATH.search(key):  # such a key is refused when it is written
        try:
            return Seen(store.read_bytes(location))
        except FileNotFoundError:
            # A link that leads to nothing is something: nothing can be created there.
            if not store.is_s3(location) and Path(location).is_symlink():
                raise
            return None

    def get() -> Seen:
        found = s3.store(bucket).get(key)
        return Seen(bytes(found.bytes()), found.meta["e_tag"] or "")

    try:
        return aws.tried(get, location, PATIENCE)
    except FileNotFoundError:
        return None


def create(location: str, data: bytes, made: list[Path]) -> bool:
    """Write the file if there is none.

    Parameters
    ----------
    location : str
        Of the file.
    data : bytes
        Its content.
    made : list of Path
        The folders that had to be made are added to it, the deepest first; S3 has none.

    Returns
    -------
    bool
        False if there was one. Over a line that broke, S3 may say so of our own: read it to be sure.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    if store.is_s3(location):
        return store.write_bytes(location, data, only_if_new=True)
    folder = Path(location).parent
    for left in reversed(range(TRIES)):
        try:
            made[:0] = _make(folder)
            with _exclusive(folder):
                return store.write_bytes(location, data, only_if_new=True)
        except FileNotFoundError:  # another process removed the folder that it had made
            if not left:
                raise
    raise AssertionError


def replace(location: str, seen: Seen, data: bytes) -> Seen | None:
    """Replace the file if it still is what was `seen`.

    Returns
    -------
    Seen or None
        What it is now; None if it was something else, or gone. Over a line that broke, that can be our own
        doing: read it to be sure.

    Raises
    ------
    OSError
        If it cannot be written; in S3 it may have been all the same.
    """
    if not store.is_s3(location):
        try:
            with _exclusive(Path(location).parent):
                if read(location) != seen:
                    return None
                store.write_bytes(location, data)
        except FileNotFoundError:
            return None
        return Seen(data)
    bucket, key = s3.split(location)
    put = partial(s3.store(bucket, True).put, key, data, mode={"e_tag": seen.etag})
    try:
        return Seen(data, aws.tried(put, location, PATIENCE)["e_tag"] or "")
    except (PreconditionError, FileNotFoundError):
        return None


def delete(location: str, seen: Seen) -> bool:
    """Delete the file if it still is what was `seen`; raises OSError if it cannot be deleted."""
    if store.is_s3(location):
        return _delete_object(location, seen)
    try:
        with _exclusive(Path(location).parent):
            if read(location) != seen:
                return False
            Path(location).unlink()
    except FileNotFoundError:
        return False
    return True


def remove_empty(made: list[Path]) -> None:
    """Remove the folders that :func:`create` made, as far as they are empty."""
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        if made:
            stack.enter_context(_exclusive(made[0]))
        for folder in made:
            folder.rmdir()


def _delete_object(location: str, seen: Seen) -> bool:
    bucket, key = s3.split(location)
    asked = partial(s3.client(bucket, 0).delete_object, Bucket=bucket, Key=key, IfMatch=seen.etag)
    try:
        aws.tried(asked, location, PATIENCE)
    except FileNotFoundError:
        return False
    except OSError as error:
        if CHANGED not in str(error):
            raise
        return False
    return True


def _make(folder: Path) -> list[Path]:
    """Make a folder and those above it; return what was missing, the deepest first."""
    made: list[Path] = []
    for path in (*reversed(folder.parents), folder):
        if path.is_dir():  # asked first: to mkdir, a file system may say "read-only" of what is there
            continue
        try:
            path.mkdir()
            made.insert(0, path)
        except FileExistsError:
            if not path.is_dir():
                raise
    return made


@contextlib.contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Keep this machine's other processes, and threads, out of a folder; FileNotFoundError if it is gone."""
    # A folder, unlike a file, is locked by the kernel itself on a network's file system, too.
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in NO_FLOCK:
                raise
        # While we waited it may have been removed, and made again.
        if not os.path.samestat(os.fstat(handle), folder.stat()):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))
        yield
    finally:
        os.close(handle)
