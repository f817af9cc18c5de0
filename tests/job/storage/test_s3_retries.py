"""Transient faults of S3: requests are retried and take effect once, even if many fail."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
import pytest

from job.photos.fetch import REQUESTS_S3, fetch
from job.storage import aws, retries, s3, store
from job.storage.s3_errors import TransientError
from scripts.s3_server.api import Answer, error
from scripts.s3_server.faults import Fault, Faults, When
from scripts.s3_server.server import Server
from tests.support.chaos_s3 import BUCKET, Waits, chaos

PHOTO = bytes(range(256)) * 40
LOCATION = f"s3://{BUCKET}"
STORM_PHOTOS: Final = 300


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def server(
    aws_environment: pytest.MonkeyPatch, waits: Waits, request: pytest.FixtureRequest
) -> Iterator[Server]:
    callspec = getattr(request.node, "callspec", None)
    is_slow = callspec is not None and callspec.params.get("fault") in (Fault.SILENT, Fault.STALL)
    with chaos(aws_environment, silence=1 if is_slow else 60, patience=waits.patience()) as running:
        yield running


@pytest.fixture
def storm(aws_environment: pytest.MonkeyPatch) -> Iterator[Server]:
    """Run a server at which one request in twenty fails, with every kind of fault."""
    with chaos(aws_environment, silence=0.4, faults=Faults(0.05, seed=1)) as running:
        yield running


def read_part(location: str) -> bytes:
    return s3.read_range(location, 1000, 3000)


@pytest.mark.parametrize(
    ("read", "key"),
    [
        (store.read_bytes, "photo.jpg"),
        (store.read_bytes, "odd//photo.jpg"),  # by boto3
        (read_part, "part.parquet"),
    ],
)
@pytest.mark.parametrize("fault", Fault)
def test_a_read_survives_each_fault_with_one_more_request(
    server: Server, waits: Waits, fault: Fault, read: Callable[[str], bytes], key: str
) -> None:
    server.put(BUCKET, key, PHOTO)
    server.on("GET", key, 1, "before", fault)
    assert read(f"{LOCATION}/{key}") == (PHOTO[1000:4000] if read is read_part else PHOTO)
    assert server.count("GET") == 2
    assert len(waits.waited) == 1
    assert server.faults.done == {fault.name: 1}


def test_a_write_is_given_more_time_than_a_read(
    aws_environment: pytest.MonkeyPatch, server: Server, waits: Waits
) -> None:
    server.latency = 0.8
    aws_environment.setattr(aws, "READ_SECONDS", 0.2)
    aws_environment.setattr(retries, "RETRY_POLICY", waits.patience(0))
    assert s3.write(f"{LOCATION}/photo.jpg", PHOTO, only_if_new=False)
    assert server.count("PUT") == 1
    with pytest.raises(TransientError):
        s3.read(f"{LOCATION}/photo.jpg")


# A cut or stalled answer comes after the write; a conflict of two writers comes before it.
WRITE_FAULTS: list[tuple[Fault | Answer, When]] = [
    *((fault, "after") for fault in Fault),
    *((fault, "before") for fault in Fault if fault not in (Fault.CUT, Fault.STALL)),
    (error(409, "ConditionalRequestConflict"), "before"),
]


@pytest.mark.parametrize("only_if_new", [False, True])
@pytest.mark.parametrize(("fault", "when"), WRITE_FAULTS)
def test_a_write_survives_each_fault_whether_it_was_done_or_not(
    server: Server, fault: Fault | Answer, when: When, only_if_new: bool
) -> None:
    server.on("PUT", "*", 1, when, fault)
    assert store.write_bytes(f"{LOCATION}/part.parquet", PHOTO, only_if_new)
    assert server.contents(BUCKET) == {"part.parquet": PHOTO}
    assert server.count("PUT") == 2
    # Ownership is checked only where the object may be another writer's.
    assert server.count("GET") == (only_if_new and when == "after")


@pytest.mark.parametrize(("existing", "faults"), [(b"another's", 1), (b"ours", 0)])
def test_an_object_that_existed_before_the_write_is_another_writers(
    server: Server, existing: bytes, faults: int
) -> None:
    server.put(BUCKET, "claim", existing)
    if faults:
        server.on("PUT", "*", 1, "before", Fault.RESET)
    assert not s3.write(f"{LOCATION}/claim", b"ours", only_if_new=True)
    assert server.contents(BUCKET) == {"claim": existing}
    assert (server.count("PUT"), server.count("GET")) == (1 + faults, faults)


@pytest.mark.parametrize("only_if_new", [False, True])
def test_a_large_object_is_written_with_one_request(server: Server, only_if_new: bool) -> None:
    data = os.urandom(2 * 5 * 2**20 + 1000)  # obstore alone would send three parts
    assert s3.write(f"{LOCATION}/large", data, only_if_new)
    assert server.contents(BUCKET) == {"large": data}
    assert s3.read(f"{LOCATION}/large") == data
    assert (server.count("POST"), server.count("PUT")) == (0, 1)


@pytest.mark.parametrize("fault", Fault)
def test_listing_and_deleting_survive_each_fault(server: Server, fault: Fault) -> None:
    for number in range(5):
        server.put(BUCKET, f"t/{number}", b"x")
    server.on("GET", "", 1, "after", fault)
    server.on("POST", "", 1, "after", fault)
    server.on("HEAD", "", 1, "after", fault)
    store.delete_tree(f"{LOCATION}/t")
    assert server.contents(BUCKET) == {}
    assert [server.count(method) for method in ("HEAD", "GET", "POST")] == [2, 2, 2]


def test_a_deletion_that_failed_transiently_is_repeated(server: Server) -> None:
    server.put(BUCKET, "t/x", b"x")
    body = b"<DeleteResult><Error><Key>t/x</Key><Code>InternalError</Code></Error></DeleteResult>"
    server.on("POST", "", 1, "before", Answer(200, {}, body))
    store.delete_tree(f"{LOCATION}/t")
    assert server.contents(BUCKET) == {}
    assert server.count("POST") == 2


def assert_stormy(storm: Server, at_least: int, kinds: int) -> None:
    """Check that at least so many faults of so many kinds occurred, and reset their counts."""
    assert sum(storm.faults.done.values()) >= at_least
    assert len(storm.faults.done) >= kinds
    storm.faults.done.clear()


def test_photos_are_written_and_fetched_in_order_despite_faults(storm: Server) -> None:
    rng = np.random.default_rng(7)
    sizes = [int(size) for size in rng.integers(2_000, 60_000, STORM_PHOTOS)]
    photos = {f"apple {number:03}.jpg": rng.bytes(size) for number, size in enumerate(sizes)}
    rows = [{"path": f"s3://{BUCKET}/{key}", "bytes": len(data)} for key, data in photos.items()]
    with ThreadPoolExecutor(REQUESTS_S3) as pool:
        only_if_new = [number % 2 == 0 for number in range(STORM_PHOTOS)]
        assert all(pool.map(s3.write, [row["path"] for row in rows], photos.values(), only_if_new))
        assert storm.contents(BUCKET) == photos
        assert_stormy(storm, 10, len(Fault))
        fetched = list(fetch(rows, pool, REQUESTS_S3, 100_000))
    assert [row for row, _ in fetched] == rows
    assert all(data == photo for (_, data), photo in zip(fetched, photos.values(), strict=True))
    assert_stormy(storm, 10, len(Fault))


def test_keys_are_listed_in_order_and_deleted_despite_faults(
    storm: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"t/{number:03}.jpg" for number in range(STORM_PHOTOS)]
    for key in keys:
        storm.put(BUCKET, key, b"x")
    list_objects = s3.client(BUCKET).list_objects_v2
    monkeypatch.setattr(
        s3.client(BUCKET), "list_objects_v2", lambda **request: list_objects(**request, MaxKeys=2)
    )
    monkeypatch.setattr(s3, "KEYS_PER_REQUEST", 2)
    names = [name for name, *_ in s3.list_objects(f"s3://{BUCKET}")]
    assert [s3.split(name)[1] for name in names] == keys
    assert_stormy(storm, 5, 4)
    s3.delete_files(names)
    assert storm.contents(BUCKET) == {}
    assert_stormy(storm, 5, 3)
