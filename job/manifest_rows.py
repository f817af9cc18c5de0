"""The rows of a ``--manifest``, checked and brought to the inventory's types, some ten thousand at a time.

``manifest`` gets them from ``manifest_files`` as each file has them. Everything is done to whole Arrow
columns; single values are looked at only where one is unusual, or wrong.
"""

import contextlib
from datetime import UTC, datetime
from typing import Final
from urllib.parse import unquote_plus

import pyarrow as pa
import pyarrow.compute as pc

from job import store
from job.errors import DataError, UsageError
from job.locations import normalise
from job.manifest_files import ListFile

# Paths that are taken as they are: an object's, and an absolute one without detours.
OBJECT: Final = r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/(?s:.)"
DETOUR: Final = r"//|/\.{1,2}/|/\.{0,2}\z|\x00"
# What makes a row one of the past.
PAST: Final = (("latest", "false"), ("deleted", "true"))
MOMENT: Final = pa.timestamp("us", tz="UTC")
# The years that Python knows.
FIRST: Final = pa.scalar(datetime(1, 1, 1, tzinfo=UTC), MOMENT)
LAST: Final = pa.scalar(datetime(9999, 12, 31, tzinfo=UTC), MOMENT)


def check(batch: pa.RecordBatch, file: ListFile, before: int) -> pa.RecordBatch:
    """Return the rows of current objects, as ``path, bytes, etag, modified``.

    Parameters
    ----------
    batch : pyarrow.RecordBatch
        Columns under our names, of whatever types they have in the file.
    file : ListFile
        Where they are from.
    before : int
        How many rows the file has before these.

    Returns
    -------
    pyarrow.RecordBatch
        Paths are :func:`encoded`; a missing ETag is empty, a missing time null.

    Raises
    ------
    UsageError
        If a column's type cannot be read.
    DataError
        If a row cannot be a photo's.
    """
    return _Rows(batch, file, before).checked()


def encoded(path: str) -> bytes:
    """Return a path as bytes, which sort as the paths do.

    Arrow's text cannot hold a name that is not UTF-8.
    """
    return path.encode("utf-8", "surrogatepass")


class _Rows:
    def __init__(self, batch: pa.RecordBatch, file: ListFile, before: int) -> None:
        numbers = pa.array(range(before + 1, before + 1 + batch.num_rows), pa.int64())
        self.file = file
        self.rows = batch.append_column("row", numbers)
        for name, past in PAST:
            said = pc.utf8_lower(self._cast(name, pa.string()))
            self.rows = self.rows.filter(pc.not_equal(said, past).fill_null(True))

    def checked(self) -> pa.RecordBatch:
        sizes = self._cast("bytes", pa.int64())
        self._refuse(pc.less(sizes, 0).fill_null(True), "its size is missing or below 0")
        etags = pc.utf8_trim(self._cast("etag", pa.string()), characters='"').fill_null("")
        return pa.record_batch(
            {"path": self._paths(), "bytes": sizes, "etag": etags, "modified": self._moments()}
        )

    def _paths(self) -> pa.Array:
        if "path" in self.rows.schema.names:
            paths = pc.replace_substring_regex(self._cast("path", pa.string()), "^(?i:s3a?)://", "s3://")
            self._refuse(pc.equal(paths, "").fill_null(True), "its path is missing")
        else:
            keys = self._cast("key", pa.string())
            self._refuse(pc.equal(keys, "").fill_null(True), "its key is missing")
            keys = keys if self.file.names is None else self._decoded(keys)
            buckets = self._cast("bucket", pa.string()).fill_null("")
            paths = pc.binary_join_element_wise("s3://", buckets, "/", keys, "")
        straight = pc.and_(pc.starts_with(paths, "/"), pc.invert(pc.match_substring_regex(paths, DETOUR)))
        odd = pc.invert(pc.or_(pc.match_substring_regex(paths, OBJECT), straight))
        mended = [encoded(self._mended(row, path)) for row, path in self._those(odd, paths)]
        return pc.replace_with_mask(paths.cast(pa.binary()), odd, pa.array(mended, pa.binary()))

    def _decoded(self, keys: pa.Array) -> pa.Array:
        """Undo the URL encoding of an S3 Inventory in CSV, in which a space is a plus sign."""
        mask = pc.match_substring_regex(keys, "[%+]")
        decoded = [unquote_plus(key) for _, key in self._those(mask, keys)]
        return pc.replace_with_mask(keys, mask, pa.array(decoded, pa.string()))

    def _mended(self, row: int, path: str) -> str:
        with contextlib.suppress(UsageError, RuntimeError):  # the second when ~ stands for nothing
            if not store.is_s3(path):
                return normalise(path)
        raise self._fault(row, f"{path!r} is neither a path nor an object's s3://bucket/key")

    def _moments(self) -> pa.Array:
        values = self.rows["modified"] if "modified" in self.rows.schema.names else None
        if values is not None and pa.types.is_temporal(values.type):
            # What is finer than a microsecond is cut off; what does not fit in 64 bits is refused.
            moments = self._cast("modified", MOMENT, safe=getattr(values.type, "unit", "") != "ns")
            known = pc.and_(pc.greater_equal(moments, FIRST), pc.less_equal(moments, LAST))
            return pc.if_else(known, moments, None)
        texts = self._cast("modified", pa.string())
        try:
            return texts.cast(MOMENT)  # S3's own form
        except pa.ArrowInvalid:  # missing, without a zone, or finer than a microsecond
            rows = zip(self.rows["row"].to_pylist(), texts.to_pylist(), strict=True)
            return pa.array([self._moment(row, text) if text else None for row, text in rows], MOMENT)

    def _moment(self, row: int, text: str) -> datetime:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise self._fault(row, f"modified is {text!r}, which is no time in ISO 8601") from None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    def _cast(self, name: str, wanted: pa.DataType, safe: bool = True) -> pa.Array:
        if name not in self.rows.schema.names:
            return pa.nulls(self.rows.num_rows, wanted)
        values = self.rows[name]
        try:
            return values.cast(wanted, safe=safe)
        except pa.ArrowNotImplementedError:
            raise UsageError(
                f"{self.file.location}: column {name} is of type {values.type}: write {wanted}"
            ) from None
        except pa.ArrowInvalid:
            for row, value in zip(self.rows["row"].to_pylist(), values, strict=True):
                try:
                    value.cast(wanted)
                except pa.ArrowInvalid:
                    raise self._fault(row, f"{name} is {value.as_py()!r}, not {wanted}") from None
            raise

    def _those(self, mask: pa.Array, values: pa.Array) -> "zip[tuple[int, str]]":
        """Return the rows under a mask, numbered."""
        numbers = self.rows["row"].filter(mask)
        return zip(numbers.to_pylist(), values.filter(mask).to_pylist(), strict=True)

    def _refuse(self, bad: pa.Array, fault: str) -> None:
        first = pc.index(bad, True).as_py()
        if first >= 0:
            raise self._fault(self.rows["row"][first].as_py(), fault)

    def _fault(self, row: int, fault: str) -> DataError:
        return DataError(f"{self.file.location}, row {row}: {fault}: mend the list")
