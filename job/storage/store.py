"""Files in folders and in S3 behind the same functions: read, write, list, delete.

A *location* is a string: an absolute path, or ``s3://bucket/key``. Folders are read with Python's own file
functions, because obstore's local store refuses names that file systems allow (a line break, a backslash).
"""

import contextlib
import errno
import io
import os
import secrets
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import quote, unquote

from job.storage import s3

# Raised when a JSON or NumPy file is empty or truncated, for example after a power cut.
DAMAGED_FILE_ERRORS: Final = (ValueError, KeyError, EOFError, TypeError, AttributeError, zipfile.BadZipFile)
DRAFT: Final = ".draft"  # suffix of a file while it is written; the name begins with a dot
WRITE_TRIES: Final = 5
# Errors of file systems without hard links: FAT, many network and container file systems.
NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def is_s3(location: str) -> bool:
    """Tell whether a location is in S3."""
    return location.startswith("s3://")


def join(location: str, *names: str) -> str:
    """Return the location of `names` below `location`."""
    return "/".join((location.rstrip("/"), *names))


def printable(path: str) -> str:
    """Return a path that can stand in a table: one that is not UTF-8 becomes a ``file://`` URI.

    File names can be any bytes, and no path equals such a URI.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        return "file://" + quote(os.fsencode(path))
    return path


def was_unprintable(path: str) -> bool:
    """Tell whether :func:`printable` had to change a path."""
    return path.startswith("file:")


def original_path(path: str) -> str:
    """Return the path from which :func:`printable` made `path`."""
    return unquote(path.removeprefix("file://"), errors="surrogateescape") if was_unprintable(path) else path


def read_bytes(location: str) -> bytes:
    """Return the whole content.

    Raises
    ------
    FileNotFoundError
        If the file does not exist, or is a link to itself or to nothing.
    PermissionError
        If it may not be read.
    """
    if is_s3(location):
        return s3.read(location)
    try:
        with open(location, "rb") as file:  # noqa: PTH123 (Path costs as much as reading a small photo)
            return file.read()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), location) from None
        raise


def read_start(location: str, length: int) -> bytes:
    """Return the first bytes of a file, at most `length`. Raises as :func:`read_bytes`."""
    if is_s3(location):
        return s3.read_start(location, length)
    with Path(location).open("rb") as file:
        return file.read(length)


def is_file(location: str) -> bool:
    """Tell whether there is an object or a file, or a link to anything, at a location."""
    if is_s3(location):
        return s3.exists(location)
    return Path(location).is_symlink() or Path(location).is_file()


def open_input(location: str) -> BinaryIO:
    """Open a file for seekable reading, as PyArrow needs it for Parquet.

    An object is read whole in one request: a data file comes from one task and has a few MB at most.
    """
    return io.BytesIO(s3.read(location)) if is_s3(location) else Path(location).open("rb")


def open_columns(location: str, size: int) -> BinaryIO | s3.RangeReader:
    """Open a Parquet file of `size` bytes; of a large object, only the columns that are used are read."""
    if is_s3(location) and size > s3.WHOLE_BYTES:
        return s3.RangeReader(location, size)
    return open_input(location)


def write_bytes(location: str, data: bytes, only_if_new: bool = False) -> bool:
    """Write a file atomically: readers see all of it or nothing.

    Returns False, without writing, if `only_if_new` and the file already exists.
    """
    if is_s3(location):
        return s3.write(location, data, only_if_new)
    for _ in range(WRITE_TRIES - 1):
        with contextlib.suppress(FileNotFoundError):  # another command just removed the empty folder
            return _write_file(Path(location), data, only_if_new)
    return _write_file(Path(location), data, only_if_new)


def list_files(location: str, suffix: str = "", after: str = "") -> Iterator[tuple[str, int]]:
    """Yield ``(location, bytes)`` of a folder's files, sorted, without names starting with ``_`` or ``.``.

    Only files with the given suffix whose relative names sort after `after`. A missing folder is empty; one
    that may not be listed is an error, because a part of a table must not be overlooked.
    """
    folder = location.rstrip("/")
    files: Iterator[Any] = s3.list_objects(location, after) if is_s3(location) else _local_files(folder)
    for path, size, *_ in sorted(files):
        name = path[len(folder) + 1 :]
        parts = name.split("/")
        # S3 marks a folder by an object whose key ends with a slash.
        if not parts[-1] or any(part[:1] in ("_", ".") for part in parts):
            continue
        if name > after and name.endswith(suffix):
            yield path, size


def list_drafts(location: str, is_deep: bool = True) -> Iterator[str]:
    """Yield the unfinished files that killed processes left in a folder and, if deep, below; S3 has none."""
    if is_s3(location):
        return
    for folder, below, names in os.walk(location):
        yield from (f"{folder}/{name}" for name in names if name.startswith(".") and name.endswith(DRAFT))
        if not is_deep:
            below.clear()


def delete_files(locations: Sequence[str]) -> None:
    """Delete files of one output; missing ones are ignored."""
    if locations and is_s3(locations[0]):
        s3.delete_files(locations)
        return
    for location in locations:
        Path(location).unlink(missing_ok=True)


def remove_empty_folders(folders: Iterable[str], below: str) -> None:
    """Remove empty folders and their empty parents below `below`, which stays."""
    for folder in folders:
        path = Path(folder)
        with contextlib.suppress(OSError):  # not empty, or already removed
            while path != Path(below) and path.is_relative_to(below):
                path.rmdir()
                path = path.parent


def delete_tree(location: str) -> None:
    """Delete a location and everything below it; a link is deleted, its target is not."""
    if is_s3(location):
        assert s3.split(location)[1], "a whole bucket must never be deleted"
        s3.delete_files([location, *(name for name, *_ in s3.list_objects(location))])
        return
    target = Path(location)
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)


def _write_file(target: Path, data: bytes, only_if_new: bool) -> bool:
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{secrets.token_hex(8)}{DRAFT}")
    try:
        _write_through(draft, data, "wb")
        if only_if_new:
            _link(draft, target, data)
        else:
            draft.replace(target)
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(target.parent)
    return True


def _link(draft: Path, target: Path, data: bytes) -> None:
    """Give a draft its final name, unless that file exists."""
    try:
        os.link(draft, target)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        try:
            _write_through(target, data, "xb")  # as exclusive, though not atomic
        except FileExistsError:
            raise
        except BaseException:
            target.unlink(missing_ok=True)
            raise


def _write_through(file: Path, data: bytes, mode: str) -> None:
    """Write a file and wait until it is on disk, so that a power cut cannot leave a name without content."""
    with file.open(mode) as target:
        target.write(data)
        target.flush()
        os.fsync(target.fileno())


def _sync_folder(folder: Path) -> None:
    """Wait until a folder's entries are on disk, where the file system supports it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _local_files(location: str) -> Iterator[tuple[str, int]]:
    for folder, _, names in os.walk(location, onerror=_raise_unless_missing):
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118
            with contextlib.suppress(FileNotFoundError):
                yield path, os.stat(path).st_size  # noqa: PTH116


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error
