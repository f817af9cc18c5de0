"""A storm: one request in twenty fails, in every way there is, and every photo comes through."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
import pytest

from job import s3
from job.fetch import REQUESTS_S3, fetch
from scripts.s3_connection import Server
from scripts.s3_faults import Fault, Faults
from tests.chaos_s3 import BUCKET, chaos

PHOTOS: Final = 300
SILENCE: Final = 0.4


@pytest.fixture
def server(aws_environment: pytest.MonkeyPatch) -> Iterator[Server]:
    with chaos(aws_environment, silence=SILENCE, faults=Faults(0.05, seed=1)) as running:
        yield running


def assert_stormy(server: Server, at_least: int, kinds: int) -> None:
    """Assert that faults of so many kinds, and so many of them, were survived; begin to count anew."""
    assert sum(server.faults.done.values()) >= at_least
    assert len(server.faults.done) >= kinds
    server.faults.done.clear()


def test_every_photo_is_written_and_fetched_in_order_with_its_bytes(server: Server) -> None:
    rng = np.random.default_rng(7)
    sizes = [int(size) for size in rng.integers(2_000, 60_000, PHOTOS)]
    photos = {f"apple {number:03}.jpg": rng.bytes(size) for number, size in enumerate(sizes)}
    rows = [{"path": f"s3://{BUCKET}/{key}", "bytes": len(data)} for key, data in photos.items()]
    with ThreadPoolExecutor(REQUESTS_S3) as pool:
        only_if_new = [number % 2 == 0 for number in range(PHOTOS)]
        assert all(pool.map(s3.write, [row["path"] for row in rows], photos.values(), only_if_new))
        assert server.contents(BUCKET) == photos
        assert_stormy(server, 10, len(Fault))
        fetched = list(fetch(rows, pool, REQUESTS_S3, 100_000))
    assert [row for row, _ in fetched] == rows
    assert all(data == photo for (_, data), photo in zip(fetched, photos.values(), strict=True))
    assert_stormy(server, 10, len(Fault))


def test_every_key_is_listed_once_and_in_order_and_what_is_deleted_is_gone(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"t/{number:03}.jpg" for number in range(PHOTOS)]
    for key in keys:
        server.put(BUCKET, key, b"x")
    ask = s3.client(BUCKET).list_objects_v2
    monkeypatch.setattr(s3.client(BUCKET), "list_objects_v2", lambda **request: ask(**request, MaxKeys=2))
    monkeypatch.setattr(s3, "DELETED_AT_ONCE", 2)
    names = [name for name, _ in s3.list_sizes(f"s3://{BUCKET}")]
    assert [s3.split(name)[1] for name in names] == keys
    assert_stormy(server, 5, 4)
    s3.delete_files(names)
    assert server.contents(BUCKET) == {}
    assert_stormy(server, 5, 3)
