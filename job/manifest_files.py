"""The files of a ``--manifest``: which they are, whether they are whole, and their rows under our names.

``manifest`` reads them. A list is Parquet, CSV, or an S3 Inventory, whose ``manifest.json`` names its files,
their columns and their MD5. Of a folder on this machine or in S3 every file of a known ending is read.
"""

import contextlib
import csv
import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv as arrow_csv

from job import store
from job.errors import DataError, JobError, UsageError

ENDINGS: Final = (".parquet", ".csv", ".csv.gz")
READ_ROWS: Final = 65_536
HEADER_BYTES: Final = 2**16  # the longest first line
GZIP: Final = b"\x1f\x8b"
# What a list may call our columns, in lower case and without underscores, in order of preference.
NAMES: Final = {
    "path": ("path",),
    "bucket": ("bucket",),
    "key": ("key",),
    "bytes": ("bytes", "size"),
    "etag": ("etag",),
    "modified": ("modified", "lastmodifieddate"),
    "latest": ("islatest",),
    "deleted": ("isdeletemarker",),
}


class ListFile(NamedTuple):
    """A file of a list. The rest is what an S3 Inventory says of it.

    `names` are the columns of a CSV file that has no header; its keys are URL-encoded.
    """

    location: str
    names: tuple[str, ...] | None = None
    md5: str | None = None


def find(location: str, admit: Callable[[str], object]) -> Iterator[ListFile]:
    """Yield the files of a list, in order of their names or of the ``manifest.json``.

    Parameters
    ----------
    location : str
        A Parquet or CSV file, a folder of them, or the ``manifest.json`` of an S3 Inventory.
    admit : callable
        Called with the ``s3://bucket`` of the list, and of an Inventory's files, before one is asked for.

    Raises
    ------
    UsageError
        If there is no such list, or it is of a form that is not read.
    DataError
        If a ``manifest.json`` is none of an S3 Inventory.
    """
    if store.is_s3(location):
        admit("/".join(location.split("/")[:3]))
    if location.endswith("/manifest.json"):
        yield from _inventory(location, admit)
        return
    try:
        if store.is_s3(location) or Path(location).is_dir():
            found = [name for name, _ in store.list_files(location)]
        else:
            found = [location]
    except OSError as error:
        raise _unread(location, error) from None
    if store.is_s3(location):  # an object is no folder: nothing is below it
        found = found or [location]
    lists = [ListFile(name) for name in found if name.lower().endswith(ENDINGS)]
    if not lists:
        raise UsageError(
            f"manifest {location} is no file that ends in {', '.join(ENDINGS)} and has none below it: "
            "name one, a folder of them, or the manifest.json of an S3 Inventory"
        )
    yield from lists


def batches(file: ListFile) -> Iterator[pa.RecordBatch]:
    """Yield a file's rows with those of our columns that it has, under our names; in CSV all are text.

    Raises
    ------
    UsageError
        If a column is missing that is needed, or there is no such file.
    DataError
        If the file is damaged, or is not the one that its ``manifest.json`` means.
    """
    try:
        with _opened(file) as source:
            # An Inventory's files are what its manifest says, whatever they are called.
            text = file.names is not None or (
                file.md5 is None and not file.location.lower().endswith(".parquet")
            )
            yield from _csv(file, source) if text else _parquet(file, source)
    except (pa.ArrowException, OSError, EOFError, zlib.error) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{file.location} cannot be read, write it again: {reason}") from None


def _inventory(location: str, admit: Callable[[str], object]) -> Iterator[ListFile]:
    """Yield the files of an S3 Inventory, which lie in its destination bucket."""
    try:
        said = json.loads(store.read_bytes(location))
        form, bucket = said["fileFormat"].lower(), said["destinationBucket"].rpartition(":")[2]
        names = tuple(said["fileSchema"].split(",")) if form == "csv" else None
        files = [
            ListFile(f"s3://{bucket}/{one['key']}", names, one["MD5checksum"].lower())
            for one in said["files"]
        ]
    except OSError as error:
        raise _unread(location, error) from None
    except (ValueError, LookupError, TypeError, AttributeError):
        raise DataError(f"{location} is not the manifest.json of an S3 Inventory: name one") from None
    if form not in ("csv", "parquet"):
        raise UsageError(f"{location} is of an S3 Inventory in {form.upper()}: set it to Parquet or CSV")
    admit(f"s3://{bucket}")
    yield from files


@contextlib.contextmanager
def _opened(file: ListFile) -> Iterator[BinaryIO]:
    try:
        source = store.open_input(file.location)
    except OSError as error:
        raise _unread(file.location, error) from None
    with source:
        if file.md5 is not None:
            content: Any = source  # a reader that fills buffers, which BinaryIO does not say
            md5 = hashlib.file_digest(content, partial(hashlib.md5, usedforsecurity=False))
            if md5.hexdigest() != file.md5:
                raise DataError(
                    f"{file.location} is not the file that its manifest.json means (another MD5): "
                    "name a newer inventory"
                )
            source.seek(0)
        yield source


def _unread(location: str, error: OSError) -> JobError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return UsageError(f"manifest {location} does not exist: check --manifest")
    if isinstance(error, PermissionError):
        return UsageError(f"manifest {location} may not be read: check its permissions")
    return JobError(f"manifest {location} cannot be read: {error.strerror or error}")


def _parquet(file: ListFile, source: BinaryIO) -> Iterator[pa.RecordBatch]:
    table = pq.ParquetFile(source)
    columns = _columns(table.schema_arrow.names, file)
    for batch in table.iter_batches(READ_ROWS, columns=list(columns.values())):
        yield _ours(batch, columns)


def _csv(file: ListFile, source: BinaryIO) -> Iterator[pa.RecordBatch]:
    zipped = source.read(2) == GZIP
    source.seek(0)
    # GzipFile leaves the file under it open, as Arrow's streams do not.
    header = (gzip.GzipFile(fileobj=source) if zipped else source).readline(HEADER_BYTES)
    source.seek(0)
    if file.names is not None and not header:
        return
    named = next(csv.reader([header.decode("utf-8-sig", "replace")]), [])
    columns = _columns(file.names or named, file)
    wanted = list(columns.values())
    # One thread, so that an error knows its row.
    reader = arrow_csv.open_csv(
        pa.input_stream(source, compression="gzip" if zipped else None),
        arrow_csv.ReadOptions(use_threads=False, column_names=file.names),
        arrow_csv.ParseOptions(newlines_in_values=True),
        arrow_csv.ConvertOptions(include_columns=wanted, column_types=dict.fromkeys(wanted, pa.string())),
    )
    for batch in reader:
        yield _ours(batch, columns)


def _columns(names: Sequence[str], file: ListFile) -> dict[str, str]:
    """Return what a file calls our columns."""
    plain = {name.strip().lower().replace("_", ""): name for name in reversed(names)}
    found = {
        ours: next(plain[name] for name in theirs if name in plain)
        for ours, theirs in NAMES.items()
        if not plain.keys().isdisjoint(theirs)
    }
    if "path" not in found and not {"bucket", "key"} <= found.keys():
        raise UsageError(f"{file.location} has no column path, nor bucket and key: add one to the list")
    if "bytes" not in found:
        raise UsageError(f"{file.location} has no column bytes or size: add it to the list")
    return found


def _ours(batch: pa.RecordBatch, columns: dict[str, str]) -> pa.RecordBatch:
    return pa.record_batch({ours: batch.column(theirs) for ours, theirs in columns.items()})
