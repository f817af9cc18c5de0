"""List a folder as S3 would: all files below it, sorted by full path.

Links are followed. Each real folder is listed once, which ends circular links: under its own path if that is
below the source, otherwise under the first link to it. Litter, such as hidden folders, does not count as
listed: a link elsewhere may lead into it. Links inside litter are not followed.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from job.errors import UsageError


class ListedFile(NamedTuple):
    """A file as its folder or bucket lists it. `skip_kind` is why it is no photo, ``""`` for one."""

    path: str
    bytes: int
    etag: str
    modified: datetime | None
    skip_kind: str = ""


def folder_files(
    source: str, output: str, seen: set[str], is_litter: Callable[[str], object] = lambda _: False
) -> Iterator[ListedFile]:
    """List the files below a folder, without those in `output`, also if a link leads there.

    `seen` holds the real paths of folders already listed, which are left out; the function adds to it.
    `is_litter` tells it of a path below the source that ends with a slash.

    Raises
    ------
    UsageError
        If `source` is missing, a file, or in `output`, or if a folder may not be read.
    """
    top = os.path.realpath(source)
    own = os.path.realpath(output) if output.startswith("/") else None
    if _is_in(top, own):
        raise UsageError(f"input {source} is in the output {output}: choose another --output")
    if top in seen:
        return
    names = _names(source)
    if names is None:
        raise UsageError(f"input {source} does not exist: check the path")
    seen.add(top)
    walk = _Walk(len(_slashed(source)), top, own, seen, is_litter)
    open_folders = [(_slashed(source), _slashed(top), names)]
    while open_folders:
        folder, real, names = open_folders[-1]
        for name in names:
            if not name.endswith("/"):
                listed = _file(folder + name)
                if listed is not None:
                    yield listed
            elif (subfolder := walk.opened(folder + name[:-1], real + name[:-1])) is not None:
                open_folders.append(subfolder)
                break
        else:
            open_folders.pop()


class _Walk(NamedTuple):
    """What decides whether a folder below a source is listed; `start` is the length of the source's path."""

    start: int
    top: str
    own: str | None
    seen: set[str]
    is_litter: Callable[[str], object]

    def opened(self, folder: str, real: str) -> tuple[str, str, Iterator[str]] | None:
        """Return a folder with its real path and names; None if it is not to be listed."""
        litter = bool(self.is_litter(f"{folder[self.start :]}/"))
        link_target = _target(folder, self.top, self.is_litter)
        target = link_target or real
        is_listed = link_target is not None if litter else target in self.seen
        entries = None if is_listed or _is_in(target, self.own) else _names(folder)
        if entries is None:
            return None
        if not litter:
            self.seen.add(target)
        return _slashed(folder), _slashed(target), entries


def _target(folder: str, top: str, is_litter: Callable[[str], object]) -> str | None:
    """Return a linked folder's real path; `top` if its files are listed anyway; None if it is no link."""
    if not os.path.islink(folder):  # noqa: PTH114 (Path costs as much as the call itself)
        return None
    target = os.path.realpath(folder)
    # A target inside the source has its own path there, unless it is litter; one above it contains it.
    if _is_in(target, top) and is_litter(_slashed(target)[len(_slashed(top)) :]):
        return target
    return top if _is_in(target, top) or _is_in(top, target) else target


def _is_in(path: str, folder: str | None) -> bool:
    return folder is not None and _slashed(path).startswith(_slashed(folder))


def _names(folder: str) -> Iterator[str] | None:
    """Return a folder's names, with a slash after folders, so that they sort as full paths do."""
    try:
        with os.scandir(folder) as entries:
            return iter(sorted(entry.name + "/" * _is_folder(entry) for entry in entries))
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
        if error.errno != errno.ELOOP:  # a link to itself leads nowhere
            raise
        return False


def _file(path: str) -> ListedFile | None:
    """Return a file's properties, or the link's own if it leads nowhere: fetching then rejects it."""
    try:
        try:
            status = os.stat(path)  # noqa: PTH116
            skip_kind = "" if stat.S_ISREG(status.st_mode) else "pipe, socket or device"
        except OSError:
            status = os.lstat(path)
            skip_kind = ""
    except FileNotFoundError:  # deleted since the folder was read
        return None
    except PermissionError:
        raise UsageError(f"folder {os.path.dirname(path)} may not be read: check its permissions") from None  # noqa: PTH120
    try:
        modified = datetime.fromtimestamp(status.st_mtime, UTC)
    except (OverflowError, ValueError):  # file systems can hold any year
        modified = None
    return ListedFile(path, status.st_size, f"{status.st_mtime_ns:x}-{status.st_size:x}", modified, skip_kind)


def _slashed(folder: str) -> str:
    return folder if folder.endswith("/") else f"{folder}/"
