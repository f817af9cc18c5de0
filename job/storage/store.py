"""Where bytes live: folders and ``s3://`` prefixes behind the same few functions. It knows no table.

A *location* is a string: an absolute path, or ``s3://bucket/key``. Folders are read with Python's own file
functions, because obstore's local store refuses names that a file system allows (a line break, a backslash).
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

# What is raised by a JSON or NumPy file that is empty or torn, as a power cut can leave it.
DAMAGED_FILE_ERRORS: Final = (ValueError, KeyError, EOFError, TypeError, AttributeError, zipfile.BadZipFile)
DRAFT: Final = ".draft"  # ends the name of a file that is being written; such a name begins with a dot
WRITE_TRIES: Final = 5
# What a file system answers to a hard link that has none: FAT, many network and container file systems.
NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def is_s3(location: str) -> bool:
    """Tell whether a location is in S3."""
    return location.startswith("s3://")


def join(location: str, *names: str) -> str:
    """Return the location of something below `location`."""
    return "/".join((location.rstrip("/"), *names))


def printable(path: str) -> str:
    """Return a path that a table can hold.

    A file name may be any bytes. One that is not UTF-8 becomes a ``file://`` URI, which no path is equal to.
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
    """Return the path that :func:`printable` was given."""
    return unquote(path.removeprefix("file://"), errors="surrogateescape") if was_unprintable(path) else path


def read_bytes(location: str) -> bytes:
    """Return the whole content.

    Raises
    ------
    FileNotFoundError
        If there is nothing at `location`, or links that lead to nothing.
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


def open_input(location: str) -> BinaryIO:
    """Open for reading, seekable: what PyArrow needs of a Parquet file.

    An object is read whole, with one request: the files of our tables are of one task each, a few MB at most.
    """
    return io.BytesIO(s3.read(location)) if is_s3(location) else Path(location).open("rb")


def open_columns(location: str, size: int) -> BinaryIO | s3.RangeReader:
    """Open a Parquet file of `size` bytes to read a few columns: of a large object, only those parts."""
    if is_s3(location) and size > s3.WHOLE_BYTES:
        return s3.RangeReader(location, size)
    return open_input(location)


def write_bytes(location: str, data: bytes, only_if_new: bool = False) -> bool:
    """Write the whole content at once: a reader sees all of it or nothing.

    False if `only_if_new` and something was there already; nothing is written then.
    """
    if is_s3(location):
        return s3.write(location, data, only_if_new)
    for _ in range(WRITE_TRIES - 1):
        with contextlib.suppress(FileNotFoundError):  # another command has just removed the folder as empty
            return _write_file(Path(location), data, only_if_new)
    return _write_file(Path(location), data, only_if_new)


def list_files(location: str, suffix: str = "", after: str = "") -> Iterator[tuple[str, int]]:
    """Yield ``(location, bytes)`` of the files below, sorted, without names that begin with ``_`` or ``.``.

    Only those that end with `suffix`, after `after`: S3 is not asked for those before. Nothing there is no
    error. What may not be listed is: a part of a table must not be missed in silence.
    """
    above = location.rstrip("/")
    found: Iterator[Any] = s3.list_objects(location, after) if is_s3(location) else _local_files(above)
    for name, size, *_ in sorted(found):
        below = name[len(above) + 1 :]
        parts = below.split("/")
        # A last part that is empty is S3's marker of a folder.
        if not parts[-1] or any(part[:1] in ("_", ".") for part in parts):
            continue
        if below > after and below.endswith(suffix):
            yield name, size


def list_drafts(location: str) -> Iterator[str]:
    """Yield what a process that was killed while it wrote has left below a folder; S3 has none."""
    if is_s3(location):
        return
    for folder, _, names in os.walk(location):
        yield from (f"{folder}/{name}" for name in names if name.startswith(".") and name.endswith(DRAFT))


def delete_files(locations: Sequence[str]) -> None:
    """Delete files of one output, those that are there; in S3, a thousand with each request."""
    if locations and is_s3(locations[0]):
        s3.delete_files(locations)
        return
    for location in locations:
        Path(location).unlink(missing_ok=True)


def remove_empty_folders(folders: Iterable[str], below: str) -> None:
    """Remove folders that are empty, and those above them up to `below`, which stays."""
    for folder in folders:
        path = Path(folder)
        with contextlib.suppress(OSError):  # not empty, or gone
            while path != Path(below) and path.is_relative_to(below):
                path.rmdir()
                path = path.parent


def delete_tree(location: str) -> None:
    """Delete everything below a location, if there is anything; of a link, not what it leads to."""
    if is_s3(location):
        assert s3.split(location)[1], "a whole bucket is never ours to delete"
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
    """Give a draft its name, unless there is a file of that name."""
    try:
        os.link(draft, target)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        try:
            _write_through(target, data, "xb")  # as exclusive, and nearly as sudden
        except FileExistsError:
            raise
        except BaseException:
            target.unlink(missing_ok=True)
            raise


def _write_through(file: Path, data: bytes, mode: str) -> None:
    """Write a file, and wait until it is on the disk: a power cut must not leave a name without content."""
    with file.open(mode) as target:
        target.write(data)
        target.flush()
        os.fsync(target.fileno())


def _sync_folder(folder: Path) -> None:
    """Wait until a folder's names are on the disk, where the file system lets us."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _local_files(location: str) -> Iterator[tuple[str, int]]:
    for folder, _, names in os.walk(location, onerror=_unless_missing):
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118
            with contextlib.suppress(FileNotFoundError):
                yield path, os.stat(path).st_size  # noqa: PTH116


def _unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error
