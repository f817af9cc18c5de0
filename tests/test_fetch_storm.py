"""A storm: one request in twenty fails, in every way there is, and every photo comes through."""

import hashlib
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


def photos() -> dict[str, bytes]:
    """Return photos by key, of 2 to 60 kB."""
    rng = np.random.default_rng(7)
    return {f"apple {number:03}.jpg": rng.bytes(int(rng.integers(2_000, 60_000))) for number in range(PHOTOS)}


@pytest.fixture
def server(aws_environment: pytest.MonkeyPatch) -> Iterator[Server]:
    with chaos(aws_environment, silence=SILENCE, faults=Faults(0.05, seed=1)) as running:
        yield running


def assert_stormy(server: Server, at_least: int, kinds: int) -> None:
    """Assert that faults of so many kinds, and so many of them, were survived."""
    assert sum(server.faults.done.values()) >= at_least
    assert len(server.faults.done) >= kinds


def test_every_photo_comes_through_in_order_with_its_bytes(server: Server) -> None:
    made = photos()
    for key, data in made.items():
        server.put(BUCKET, key, data)
    rows = [{"path": f"s3://{BUCKET}/{key}", "bytes": len(data)} for key, data in made.items()]
    with ThreadPoolExecutor(REQUESTS_S3) as pool:
        got = [(row["path"], data) for row, data in fetch(rows, pool, REQUESTS_S3, 100_000)]
    wanted = [
        (row["path"], hashlib.sha256(data).hexdigest()) for row, data in zip(rows, made.values(), strict=True)
    ]
    assert [
        (path, isinstance(data, bytes) and hashlib.sha256(data).hexdigest()) for path, data in got
    ] == wanted
    assert_stormy(server, 10, len(Fault))


@pytest.mark.parametrize("only_if_new", [False, True])
def test_what_is_written_is_there_with_its_bytes(server: Server, only_if_new: bool) -> None:
    made = photos()
    with ThreadPoolExecutor(REQUESTS_S3) as pool:
        written = pool.map(lambda one: s3.write(f"s3://{BUCKET}/{one[0]}", one[1], only_if_new), made.items())
        assert all(written)
    assert server.contents(BUCKET) == made
    assert_stormy(server, 10, len(Fault))


def test_every_key_is_listed_once_and_in_order(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in photos():
        server.put(BUCKET, key, b"x")
    ask = s3.client(BUCKET).list_objects_v2
    monkeypatch.setattr(s3.client(BUCKET), "list_objects_v2", lambda **request: ask(**request, MaxKeys=2))
    listed = [s3.split(name)[1] for name, _ in s3.list_sizes(f"s3://{BUCKET}")]
    assert listed == list(photos())
    assert_stormy(server, 5, 4)


def test_what_is_deleted_is_gone(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in photos():
        server.put(BUCKET, f"t/{key}", b"x")
    monkeypatch.setattr(s3, "DELETED_AT_ONCE", 2)
    s3.delete_tree(f"s3://{BUCKET}/t")
    assert server.contents(BUCKET) == {}
    assert_stormy(server, 5, 3)
