"""Where bytes live: folders and ``s3://`` prefixes behind the same few functions, and the tables' names and schemas.

A *location* is a string: an absolute path, or ``s3://bucket/key``. Folders are read with Python's own file
functions, because obstore's local store refuses names that a file system allows (a line break, a backslash);
S3 is read by obstore.
"""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, cast

import obstore
import pyarrow as pa

from job import s3

FEATURES_TABLE: Final = "features"
REJECTED_TABLE: Final = "rejected"
PCA_TABLE: Final = "pca"
PCA_CSV_TABLE: Final = "pca_csv"
INVENTORY: Final = "inventory"
MODELS: Final = "models"
RUNS: Final = "runs"
CLAIM: Final = "_input.json"
OURS: Final = (FEATURES_TABLE, REJECTED_TABLE, PCA_TABLE, PCA_CSV_TABLE, INVENTORY, MODELS, RUNS)

INVENTORY_SCHEMA: Final = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("split", pa.string()),
        pa.field("etag", pa.string()),
        pa.field("bytes", pa.int64()),
        pa.field("modified", pa.timestamp("us", tz="UTC")),
    ]
)
FEATURES_DDL: Final = (
    "path string, label string, split string, etag string, bytes bigint, modified timestamp, "
    "sha256 string, width int, height int, features array<float>, backbone string, run_id string"
)
REJECTED_DDL: Final = (
    "path string, label string, split string, etag string, bytes bigint, modified timestamp, "
    "reason string, detail string, run_id string"
)
PCA_DDL: Final = "path string, label string, split string, pca array<float>"


def columns(ddl: str) -> list[str]:
    """Return the column names of a flat DDL string, in order."""
    return [column.split()[0] for column in ddl.split(", ")]


def is_s3(location: str) -> bool:
    """Tell whether a location is in S3."""
    return location.startswith("s3://")


def join(location: str, *names: str) -> str:
    """Return the location of something below `location`."""
    return "/".join((location.rstrip("/"), *names))


def printable(path: str) -> str:
    """Return a path that a table can hold: bytes of a file name that are not UTF-8 become ``\\udcXX``."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


def was_unprintable(path: str) -> bool:
    """Tell whether :func:`printable` had to change a path."""
    return "\\udc" in path


def read_bytes(location: str) -> bytes:
    """Return the whole content.

    Raises
    ------
    FileNotFoundError
        If there is nothing at `location`.
    PermissionError
        If it may not be read.
    """
    if is_s3(location):
        return s3.read(location)
    with open(location, "rb") as file:  # noqa: PTH123 (Path costs as much as reading a small photo)
        return file.read()


def open_input(location: str) -> BinaryIO:
    """Open for reading, seekable: what PyArrow needs of a Parquet file."""
    if is_s3(location):
        bucket, key = s3.split(location)
        return cast("BinaryIO", obstore.open_reader(s3.store(bucket), key))
    return Path(location).open("rb")


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
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        draft.write_bytes(data)
        if only_if_new:
            os.link(draft, target)
        else:
            draft.replace(target)
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    return True


def list_files(location: str, suffix: str = "") -> Iterator[tuple[str, int]]:
    """Yield ``(location, bytes)`` of the files below, sorted; names that begin with ``_`` or ``.`` are left out."""
    found = s3.list_sizes(location) if is_s3(location) else _local_sizes(location)
    for name, size in sorted(found):
        parts = name[len(location) :].strip("/").split("/")
        if name.endswith(suffix) and not any(part[:1] in ("_", ".") for part in parts):
            yield name, size


def delete_tree(location: str) -> None:
    """Delete everything below a location; nothing there is no error."""
    if is_s3(location):
        s3.delete_tree(location)
        return
    if Path(location).is_dir():
        shutil.rmtree(location)
    else:
        Path(location).unlink(missing_ok=True)


def _local_sizes(location: str) -> Iterator[tuple[str, int]]:
    for folder, _, names in os.walk(location):
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118
            with contextlib.suppress(FileNotFoundError):
                yield path, os.stat(path).st_size  # noqa: PTH116
