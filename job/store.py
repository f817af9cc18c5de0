"""Where bytes live: folders and ``s3://`` prefixes behind the same few functions, and the tables' schemas.

A *location* is a string: an absolute path, or ``s3://bucket/key``. Folders are read with Python's own file
functions, because obstore's local store refuses names that a file system allows (a line break, a backslash).
"""

import contextlib
import errno
import io
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple
from urllib.parse import quote

import pyarrow as pa

from job import ranges, s3, s3_objects

FEATURES_TABLE: Final = "features"
REJECTED_TABLE: Final = "rejected"
PCA_TABLE: Final = "pca"
PCA_CSV_TABLE: Final = "pca_csv"
INVENTORY: Final = "inventory"
MOMENTS: Final = "moments"
MODELS: Final = "models"
RUNS: Final = "runs"
ERASURES: Final = "erasures"
CLAIM: Final = "_input.json"
# What a file system answers to a hard link that has none: FAT, many network and container file systems.
NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
OURS: Final = (
    *(FEATURES_TABLE, REJECTED_TABLE, PCA_TABLE, PCA_CSV_TABLE),
    *(INVENTORY, MOMENTS, MODELS, RUNS, ERASURES),
)
# Rows that a run takes out of features, kept until their moments are taken out too; no table that is read.
REPLACED: Final = "_replaced"

LISTED: Final = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("split", pa.string()),
        pa.field("etag", pa.string()),
        pa.field("bytes", pa.int64()),
        pa.field("modified", pa.timestamp("us", tz="UTC")),
    ]
)
# What an inventory holds of a photo, and the file whose row of it is to be replaced ("features/part-…").
INVENTORY_SCHEMA: Final = LISTED.append(pa.field("replaces", pa.string()))
_LISTED: Final = list(LISTED)
_RUN_ID: Final = pa.field("run_id", pa.string())
FEATURES: Final = pa.schema(
    [
        *_LISTED,
        pa.field("sha256", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("features", pa.list_(pa.float32())),
        pa.field("backbone", pa.string()),
        _RUN_ID,
    ]
)
REJECTED: Final = pa.schema(
    [*_LISTED, pa.field("reason", pa.string()), pa.field("detail", pa.string()), _RUN_ID]
)
PCA: Final = pa.schema(
    [*_LISTED[:3], pa.field("pca", pa.list_(pa.float32())), pa.field("model_id", pa.string())]
)


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


def open_columns(location: str, size: int) -> BinaryIO | ranges.Ranges:
    """Open a Parquet file of `size` bytes to read a few columns: of a large object, only those parts."""
    if is_s3(location) and size > ranges.WHOLE_BYTES:
        return ranges.Ranges(location, size)
    return open_input(location)


def write_bytes(location: str, data: bytes, only_if_new: bool = False) -> bool:
    """Write the whole content at once: a reader sees all of it or nothing.

    Returns
    -------
    bool
        False if `only_if_new` and something was there already; nothing is written then.
    """
    if is_s3(location):
        return s3.write(location, data, only_if_new)
    target = Path(location)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{secrets.token_hex(8)}.draft")
    try:
        draft.write_bytes(data)
        if not only_if_new:
            draft.replace(target)
            return True
        try:
            os.link(draft, target)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            with target.open("xb") as file:  # as exclusive, and nearly as sudden
                file.write(data)
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    return True


class Stored(NamedTuple):
    """A file of a table. Its `version` changes whenever its content does."""

    location: str
    bytes: int
    version: str


def list_files(location: str, suffix: str = "") -> Iterator[tuple[str, int]]:
    """Yield ``(location, bytes)`` of the files below, as :func:`list_stored` does."""
    return ((found.location, found.bytes) for found in list_stored(location, suffix))


def list_stored(location: str, suffix: str = "") -> Iterator[Stored]:
    """Yield the files below, sorted, without names that begin with ``_`` or ``.``.

    Nothing there is no error. What may not be listed is: a part of a table must not be missed in silence.
    """
    above = location.rstrip("/")
    found = s3.list_objects(location) if is_s3(location) else _local_files(above)
    for name, size, version, _ in sorted(found):
        parts = name[len(above) + 1 :].split("/")
        # A last part that is empty is S3's marker of a folder.
        if parts[-1].endswith(suffix) and parts[-1] and not any(part[:1] in ("_", ".") for part in parts):
            yield Stored(name, size, version)


def delete_files(locations: Sequence[str]) -> None:
    """Delete files of one output, those that are there; in S3, a thousand with each request."""
    if locations and is_s3(locations[0]):
        s3.delete_files(locations)
        return
    for location in locations:
        Path(location).unlink(missing_ok=True)


def move(source: str, target: str) -> None:
    """Put a file in another's place: a reader of either sees it whole or not at all."""
    if is_s3(source):
        s3_objects.copy(source, target)
        s3.delete_tree(source)
        return
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    Path(source).replace(target)


def delete_tree(location: str) -> None:
    """Delete everything below a location, if there is anything; of a link, not what it leads to."""
    if is_s3(location):
        s3.delete_tree(location)
        return
    target = Path(location)
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)


def _local_files(location: str) -> Iterator[tuple[str, int, str, None]]:
    for folder, _, names in os.walk(location, onerror=_unless_missing):
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(path)  # noqa: PTH116
                # Each file is written as a new one: its number changes even where the clock stands still.
                version = f"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}"
                yield path, status.st_size, version, None


def _unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
