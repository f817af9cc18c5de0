"""A folder, listed as S3 would list it: every file below, in order of the full paths, whatever their names.

Links are followed. A real folder is listed once: under its own path if that is below the source, else under
the first that leads to it. So circles of links end.
"""

import errno
import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from job.errors import UsageError


class ListedFile(NamedTuple):
    """One file as its store lists it. Not `regular` are pipes, sockets and devices."""

    path: str
    bytes: int
    etag: str
    modified: datetime | None
    regular: bool = True


def walk(source: str, without: str, seen: set[str]) -> Iterator[ListedFile]:
    """List the files below a folder, but for those in `without`, however a path comes to it.

    `seen` are the real paths of the folders listed so far, which are not listed again; it is added to.

    Raises
    ------
    UsageError
        If `source` is missing, is a file, or is in `without`, or if a folder may not be read.
    """
    top = os.path.realpath(source)
    own = os.path.realpath(without) if without.startswith("/") else None
    if _is_in(top, own):
        raise UsageError(f"input {source} is in the output {without}: choose another --output")
    if top in seen:
        return
    names = _names(source)
    if names is None:
        raise UsageError(f"input {source} does not exist: check the path")
    seen.add(top)
    open_folders = [(_slashed(source), _slashed(top), names)]
    while open_folders:
        folder, real, names = open_folders[-1]
        for name in names:
            if not name.endswith("/"):
                listed = _file(folder + name)
                if listed is not None:
                    yield listed
                continue
            below = folder + name[:-1]
            target = _target(below, top) or real + name[:-1]
            within = None if target in seen or _is_in(target, own) else _names(below)
            if within is not None:
                seen.add(target)
                open_folders.append((_slashed(below), _slashed(target), within))
                break
        else:
            open_folders.pop()


def _target(folder: str, top: str) -> str | None:
    """Return where a folder really is, if it is a link; `top` for one that leads to what is listed anyway."""
    if not os.path.islink(folder):  # noqa: PTH114 (Path costs as much as the call itself)
        return None
    target = os.path.realpath(folder)
    # What lies in the source has a path of its own there; what lies above it holds the source itself.
    return top if _is_in(target, top) or _is_in(top, target) else target


def _is_in(path: str, folder: str | None) -> bool:
    return folder is not None and _slashed(path).startswith(_slashed(folder))


def _names(folder: str) -> Iterator[str] | None:
    """Return the names in a folder, sorted as parts of full paths, with a slash after those of folders."""
    try:
        with os.scandir(folder) as found:
            return iter(sorted(entry.name + "/" * _is_folder(entry) for entry in found))
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise UsageError(f"input {folder} is a file: name the folder it is in") from None
    except PermissionError as error:
        raise UsageError(f"{error.filename or folder} may not be read: check its permissions") from None


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno != errno.ELOOP:  # a link to itself is as good as one to nothing
            raise
        return False


def _file(path: str) -> ListedFile | None:
    """Describe a file. A link that leads nowhere is described itself; fetch will find that it is gone."""
    try:
        try:
            status = os.stat(path)  # noqa: PTH116
            regular = stat.S_ISREG(status.st_mode)
        except OSError:
            status = os.lstat(path)
            regular = True
    except FileNotFoundError:  # deleted since its folder was read
        return None
    except PermissionError:
        raise UsageError(f"folder {os.path.dirname(path)} may not be read: check its permissions") from None  # noqa: PTH120
    try:
        modified = datetime.fromtimestamp(status.st_mtime, UTC)
    except (OverflowError, ValueError):  # a file system can say any year
        modified = None
    return ListedFile(path, status.st_size, f"{status.st_mtime_ns:x}-{status.st_size:x}", modified, regular)


def _slashed(folder: str) -> str:
    return folder if folder.endswith("/") else f"{folder}/"
