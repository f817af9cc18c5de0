"""Parts of objects: of a table's file, only some columns are fetched, unless the whole is as cheap."""

import random
from functools import partial
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from job import ranges, s3, store
from job.table import files
from tests.s3_servers import Moto

PATHS: Final = [f"/{row:04}" for row in range(600)]


def stored(bucket: str, rows: int) -> tuple[str, int]:
    """Store features of photos, and return where, and how many bytes these are."""
    features = np.random.default_rng(0).normal(3, 2, (rows, 1280)).astype(np.float32)
    data = files.parquet(pa.table({"path": PATHS[:rows], "features": files.vectors(features)}))
    location = f"s3://{bucket}/part.parquet"
    store.write_bytes(location, data)
    return location, len(data)


def paths_of(location: str, size: int) -> list[Any]:
    with store.open_columns(location, size) as source:
        paths: list[Any] = pq.ParquetFile(source, pre_buffer=True).read(["path"])["path"].to_pylist()
        return paths


def test_of_a_large_object_the_features_are_not_fetched(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    location, size = stored(bucket, 600)
    fetched: list[int] = []

    def read_range(location: str, start: int, length: int) -> bytes:
        fetched.append(length)
        return s3.read_range(location, start, length)

    monkeypatch.setattr(store, "open_input", lambda _: pytest.fail("the object is read whole"))
    monkeypatch.setattr(ranges, "Ranges", partial(ranges.Ranges, read=read_range))
    assert paths_of(location, size) == PATHS
    assert size > 2_000_000
    assert len(fetched) <= 3
    assert sum(fetched) < size / 10


def test_a_small_object_is_fetched_whole_by_one_request(bucket: str, moto: Moto) -> None:
    location, size = stored(bucket, 60)
    assert size > 2 * ranges.END_BYTES
    asked = len(moto.requests())
    assert paths_of(location, size) == PATHS[:60]
    assert [line.split("?")[0] for line in moto.requests()[asked:]] == [f"GET /{bucket}/part.parquet"]


def test_a_part_of_an_object_is_what_the_whole_has_there() -> None:
    data = random.Random(3).randbytes(3 * ranges.END_BYTES)
    asked: list[tuple[int, int]] = []

    def read(_: str, start: int, length: int) -> bytes:
        asked.append((start, length))
        return data[start : start + length]

    with ranges.Ranges("s3://b/k", len(data), read) as file:
        assert asked == [(len(data) - ranges.END_BYTES, ranges.END_BYTES)]
        assert (file.seek(-10, 2), file.read(), file.read(5)) == (len(data) - 10, data[-10:], b"")
        assert (file.seek(-ranges.END_BYTES, 2), file.read(4)) == (asked[0][0], data[asked[0][0] :][:4])
        assert len(asked) == 1, "the end is here already"
        for start, length in ((0, 7), (asked[0][0] - 3, 10), (100, 0)):
            file.seek(start)
            assert file.read(length) == data[start : start + length]
            assert file.tell() == start + length
        assert (file.seek(-4, 1), file.read(8)) == (96, data[96:104])
        assert asked[1:] == [(0, 7), (asked[0][0] - 3, 10), (96, 8)]
    with ranges.Ranges("s3://b/k", 3, read) as small:
        assert small.read() == data[:3]
