"""The files of a ``--manifest``: find them, check them, and read their rows under the job's column names.

A list is Parquet, CSV, or an S3 Inventory, whose ``manifest.json`` names its files, their columns and MD5
sums. Of a folder, every file with one of ``ENDINGS`` is read.
"""

import csv
import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv as arrow_csv

from job.errors import DataError, JobError, UsageError
from job.storage import store

ENDINGS: Final = (".parquet", ".csv", ".csv.gz")
READ_ROWS: Final = 65_536
HEADER_BYTES: Final = 2**16  # the longest header line
GZIP: Final = b"\x1f\x8b"
# The job's columns by their names in lists, in lower case without underscores; the later one wins.
NAMES: Final = {
    "path": "path",
    "bucket": "bucket",
    "key": "key",
    "size": "bytes",
    "bytes": "bytes",
    "etag": "etag",
    "lastmodifieddate": "modified",
    "modified": "modified",
    "islatest": "latest",
    "isdeletemarker": "deleted",
}


class ManifestFile(NamedTuple):
    """A file of a list; `names` and `md5` come from an S3 Inventory.

    `names` are the columns of a CSV file without a header, whose keys are URL-encoded.
    """

    location: str
    is_parquet: bool
    names: list[str] | None = None
    md5: str | None = None


def find_files(location: str, check_bucket: Callable[[str], object]) -> Iterator[ManifestFile]:
    """Yield the files of a list; check each ``s3://bucket`` before its first request."""
    if store.is_s3(location):
        check_bucket("/".join(location.split("/")[:3]))
    try:
        if location.endswith("/manifest.json"):
            yield from _s3_inventory_files(location, check_bucket)
            return
        files = [name for name, _ in store.list_files(location)] or [location]
    except OSError as error:
        raise _read_error(location, error) from None
    lists = [name for name in files if name.lower().endswith(ENDINGS) and not Path(name).is_dir()]
    if not lists:
        raise UsageError(
            f"manifest {location} is no file that ends in {', '.join(ENDINGS)} and has none below it: "
            "name one, a folder of them, or the manifest.json of an S3 Inventory"
        )
    yield from (ManifestFile(name, name.lower().endswith(".parquet")) for name in lists)


def _s3_inventory_files(location: str, check_bucket: Callable[[str], object]) -> Iterator[ManifestFile]:
    """Yield the files of an S3 Inventory, which lie in its destination bucket."""
    try:
        inventory = json.loads(store.read_bytes(location))
        form, bucket = inventory["fileFormat"].lower(), inventory["destinationBucket"].rpartition(":")[2]
        names = inventory["fileSchema"].split(",") if form == "csv" else None
        files = [
            ManifestFile(f"s3://{bucket}/{file['key']}", names is None, names, file["MD5checksum"].lower())
            for file in inventory["files"]
        ]
    except (ValueError, LookupError, TypeError, AttributeError):
        raise DataError(f"{location} is not the manifest.json of an S3 Inventory: name one") from None
    if form not in ("csv", "parquet"):
        raise UsageError(f"{location} is of an S3 Inventory in {form.upper()}: set it to Parquet or CSV")
    check_bucket(f"s3://{bucket}")
    yield from files


def batches(file: ManifestFile) -> Iterator[pa.RecordBatch]:
    """Yield a file's rows under the job's column names: CSV as text, and nulls for missing columns."""
    try:
        with store.open_input(file.location) as source:
            if file.md5 is not None:
                _check_md5(file.md5, file.location, source)
            columns, rows = (_parquet_rows if file.is_parquet else _csv_rows)(file, source)
            for batch in rows:
                nulls = pa.nulls(len(batch))
                yield pa.record_batch(
                    {name: batch[columns[name]] if name in columns else nulls for name in NAMES.values()}
                )
    except (pa.ArrowException, OSError, EOFError, zlib.error) as error:
        raise _read_error(file.location, error) from None


def _check_md5(md5: str, location: str, source: BinaryIO) -> None:
    content: Any = source  # has readinto, which BinaryIO does not declare
    if hashlib.file_digest(content, partial(hashlib.md5, usedforsecurity=False)).hexdigest() != md5:
        raise DataError(
            f"{location} is not the file that its manifest.json means (another MD5): name a newer inventory"
        )
    source.seek(0)


def _read_error(location: str, error: Exception) -> JobError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return UsageError(f"manifest {location} does not exist: check --manifest")
    if isinstance(error, PermissionError):
        return UsageError(f"manifest {location} may not be read: check its permissions")
    if isinstance(error, OSError) and error.errno:  # Arrow's own errors have no errno
        return JobError(f"manifest {location} cannot be read: {error.strerror}")
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return DataError(f"{location} cannot be read, write it again: {reason}")


def _parquet_rows(file: ManifestFile, source: BinaryIO) -> tuple[dict[str, str], Iterable[pa.RecordBatch]]:
    table = pq.ParquetFile(source)
    columns = _column_names(table.schema_arrow.names, file)
    return columns, table.iter_batches(READ_ROWS, columns=list(columns.values()))


def _csv_rows(file: ManifestFile, source: BinaryIO) -> tuple[dict[str, str], Iterable[pa.RecordBatch]]:
    is_zipped = source.read(2) == GZIP
    source.seek(0)
    # Unlike Arrow's streams, GzipFile leaves the source open.
    header = (gzip.GzipFile(fileobj=source) if is_zipped else source).readline(HEADER_BYTES)
    source.seek(0)
    if file.names is not None and not header:
        return {}, ()
    columns = _column_names(file.names or next(csv.reader([header.decode("utf-8-sig", "replace")]), []), file)
    selected = list(columns.values())
    # One thread, so that errors name the row.
    return columns, arrow_csv.open_csv(
        pa.input_stream(source, compression="gzip" if is_zipped else None),
        arrow_csv.ReadOptions(use_threads=False, column_names=file.names),
        arrow_csv.ParseOptions(newlines_in_values=True),
        arrow_csv.ConvertOptions(include_columns=selected, column_types=dict.fromkeys(selected, pa.string())),
    )


def _column_names(names: list[str], file: ManifestFile) -> dict[str, str]:
    """Return a file's names for the job's columns."""
    names_by_key = {name.strip().lower().replace("_", ""): name for name in reversed(names)}
    columns = {ours: names_by_key[key] for key, ours in NAMES.items() if key in names_by_key}
    if "path" not in columns and not {"bucket", "key"} <= columns.keys():
        raise UsageError(f"{file.location} has no column path, nor bucket and key: add one to the list")
    if "bytes" not in columns:
        raise UsageError(f"{file.location} has no column bytes or size: add it to the list")
    return columns
