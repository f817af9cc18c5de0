"""``--manifest``: read the photos from a list instead of listing folders or buckets.

Rows are checked and converted as whole Arrow columns; single values only where one is unusual or wrong.
DuckDB sorts them on disk, so a list may be long and in any order: S3 Inventory promises none.
"""

import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache, reduce
from itertools import chain, pairwise
from typing import Any, Final
from urllib.parse import unquote_plus

import pyarrow as pa
import pyarrow.compute as pc

from job.errors import DataError, UsageError
from job.inventory import database, manifest_files
from job.inventory.folder_listing import ListedFile
from job.inventory.manifest_files import ManifestFile
from job.storage import store
from job.storage.locations import normalise

# Paths that need no change: those of objects, and absolute ones without detours.
OBJECT: Final = r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/(?s:.)"
DETOUR: Final = r"//|/\.{1,2}/|/\.{0,2}\z|\x00"
BUCKET: Final = r"^(?P<bucket>s3://[^/]*)/"
TIMESTAMP: Final = pa.timestamp("us", tz="UTC")
# The range of Python's datetime.
FIRST: Final = pa.scalar(datetime(1, 1, 1, tzinfo=UTC), TIMESTAMP)
LAST: Final = pa.scalar(datetime(9999, 12, 31, tzinfo=UTC), TIMESTAMP)
# Arrow's strings must be UTF-8; as bytes, any paths can be stored and sorted.
ROWS: Final = pa.schema(
    {"path": pa.binary(), "bytes": pa.int64(), "etag": pa.string(), "modified": pa.int64(), "row": pa.int64()}
)
ORDER: Final = "SELECT * FROM rows ORDER BY path, modified NULLS FIRST, row"


def read(
    location: str, inputs: tuple[str, ...], check_bucket: Callable[[str], object] = lambda _: None
) -> Iterator[ListedFile]:
    """Yield the photos of a list, sorted by path, each path once with its latest modification.

    Of rows with the same path and time the last one counts. Old versions, delete markers and empty objects
    that mark folders are left out. Keys are literal, other paths are as on the command line. Whether the
    photos exist is not checked.

    Parameters
    ----------
    location : str
        A Parquet or CSV file, a folder of them, or the ``manifest.json`` of an S3 Inventory.
    inputs : tuple of str
        If there are any, only photos below one of them.
    check_bucket : callable
        Called once with each ``s3://bucket`` of the list and its photos, before anything in it is read or
        yielded; may raise.

    Raises
    ------
    UsageError
        If the list does not exist, or lacks a column.
    DataError
        If a file is damaged or a row is invalid, naming the file and the row, counted from 1 without the
        header.
    JobError
        If S3 fails.
    """
    with database.open_database() as sorting:
        sorting.feed("rows", ROWS, _rows(location, inputs, cache(check_bucket)))
        photos = chain.from_iterable(map(_decoded_photos, sorting.rows(ORDER)))
        for photo, following in pairwise(chain(photos, [None])):
            if photo is not None and (following is None or following.path != photo.path):
                yield photo


def _decoded_photos(batch: pa.RecordBatch) -> Iterator[ListedFile]:
    return database.photos(
        [path.decode("utf-8", "surrogatepass") for path in batch["path"].to_pylist()], batch
    )


def _rows(
    location: str, inputs: tuple[str, ...], check_bucket: Callable[[str], object]
) -> Iterator[pa.RecordBatch]:
    """Yield the valid rows below the inputs, in order of the list."""
    folders = [_encoded(f"{location.rstrip('/')}/") for location in inputs]
    number = 0
    for file in manifest_files.find_files(location, check_bucket):
        before = 0
        for batch in manifest_files.batches(file):
            rows = _valid_rows(batch, file, before)
            before += len(batch)
            if folders:
                rows = rows.filter(
                    reduce(pc.or_, (pc.starts_with(rows["path"], folder) for folder in folders))
                )
            # An empty object whose key ends with a slash marks a folder.
            rows = rows.filter(
                pc.or_(pc.invert(pc.ends_with(rows["path"], b"/")), pc.greater(rows["bytes"], 0))
            )
            for bucket in pc.unique(pc.extract_regex(rows["path"], BUCKET).drop_null().field("bucket")):
                check_bucket(bucket.as_py().decode())
            numbers = pa.array(range(number, number + len(rows)), pa.int64())
            number += len(rows)
            yield rows.append_column("row", numbers).cast(ROWS)


def _valid_rows(batch: pa.RecordBatch, file: ManifestFile, before: int) -> pa.RecordBatch:
    """Return the current objects of a batch; `before` is the number of the file's rows before it."""
    try:
        return _current_objects(batch, are_encoded=file.names is not None)
    except UsageError as error:
        raise UsageError(f"{file.location}: {error}") from None
    except _RowError as fault:
        if half := len(batch) // 2:  # one half holds the first invalid row
            _valid_rows(batch[:half], file, before)
            _valid_rows(batch[half:], file, before + half)
        raise DataError(f"{file.location}, row {before + 1}: {fault}: mend the list") from None


class _RowError(Exception):
    """What is wrong with a row."""


def _current_objects(rows: pa.RecordBatch, are_encoded: bool) -> pa.RecordBatch:
    for name, obsolete in (("latest", "false"), ("deleted", "true")):
        is_obsolete = pc.equal(pc.utf8_lower(_cast_column(rows, name, pa.string())), obsolete)
        rows = rows.filter(pc.invert(is_obsolete.fill_null(False)))
    sizes = _cast_column(rows, "bytes", pa.int64())
    _refuse_rows(pc.less(sizes, 0), "its size is missing or below 0")
    etags = pc.utf8_trim(_cast_column(rows, "etag", pa.string()), characters='"').fill_null("")
    columns = {
        "path": _paths(rows, are_encoded),
        "bytes": sizes,
        "etag": etags,
        "modified": _timestamps(rows),
    }
    return pa.record_batch(columns)


def _paths(rows: pa.RecordBatch, are_encoded: bool) -> pa.Array:
    """Return the paths as bytes."""
    if not pa.types.is_null(rows["path"].type):
        paths = pc.replace_substring_regex(_cast_column(rows, "path", pa.string()), "^(?i:s3a?)://", "s3://")
        _refuse_rows(pc.equal(paths, ""), "its path is missing")
    else:
        keys = _cast_column(rows, "key", pa.string())
        _refuse_rows(pc.equal(keys, ""), "its key is missing")
        if are_encoded:  # with a plus sign for a space
            keys = _replaced(keys, pc.match_substring_regex(keys, "[%+]"), unquote_plus)
        buckets = _cast_column(rows, "bucket", pa.string()).fill_null("")
        paths = pc.binary_join_element_wise("s3://", buckets, "/", keys, "")
    is_straight = pc.and_(pc.starts_with(paths, "/"), pc.invert(pc.match_substring_regex(paths, DETOUR)))
    is_odd = pc.invert(pc.or_(pc.match_substring_regex(paths, OBJECT), is_straight))
    return _replaced(paths.cast(pa.binary()), is_odd, lambda path: _encoded(_normalised(path.decode())))


def _timestamps(rows: pa.RecordBatch) -> pa.Array:
    kind = rows["modified"].type
    if pa.types.is_temporal(kind):
        # Nanoseconds are truncated; values that do not fit in 64 bits are refused.
        times = _cast_column(rows, "modified", TIMESTAMP, safe=getattr(kind, "unit", "") != "ns")
        is_in_range = pc.and_(pc.greater_equal(times, FIRST), pc.less_equal(times, LAST))
        return pc.if_else(is_in_range, times, None)
    texts = _cast_column(rows, "modified", pa.string())
    try:
        return texts.cast(TIMESTAMP)  # S3's format
    except pa.ArrowInvalid:  # missing, without a time zone, or finer than a microsecond
        return pa.array(map(_timestamp, texts.to_pylist()), TIMESTAMP)


def _cast_column(rows: pa.RecordBatch, name: str, kind: pa.DataType, safe: bool = True) -> pa.Array:
    values = rows[name]
    try:
        return values.cast(kind, safe=safe)
    except pa.ArrowNotImplementedError:
        raise UsageError(f"column {name} is of type {values.type}: write {kind}") from None
    except pa.ArrowInvalid:
        raise _RowError(f"{name} is {values[0].as_py()!r}, not {kind}") from None


def _replaced(values: pa.Array, mask: pa.Array, replacement: Callable[[Any], object]) -> pa.Array:
    """Replace the masked values by the results of a function."""
    return pc.replace_with_mask(
        values, mask, pa.array(map(replacement, values.filter(mask).to_pylist()), values.type)
    )


def _refuse_rows(bad: pa.Array, fault: str) -> None:
    if pc.any(bad.fill_null(True)).as_py():
        raise _RowError(fault)


def _normalised(path: str) -> str:
    with contextlib.suppress(UsageError, RuntimeError):  # RuntimeError: ~ cannot be expanded
        if not store.is_s3(path):
            return normalise(path)
    raise _RowError(f"{path!r} is neither a path nor an object's s3://bucket/key")


def _timestamp(text: str | None) -> datetime | None:
    try:
        time = datetime.fromisoformat(text) if text else None
    except ValueError:
        raise _RowError(f"modified is {text!r}, which is no time in ISO 8601") from None
    return time if time is None or time.tzinfo else time.replace(tzinfo=UTC)


def _encoded(path: str) -> bytes:
    return path.encode("utf-8", "surrogatepass")
