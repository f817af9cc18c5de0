"""S3: every key is listed and read unchanged, from the region of its bucket."""

import hashlib
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from job.errors import JobError
from job.storage import aws, s3, store
from job.table import files
from tests.support.listings import ODD, put
from tests.support.s3_servers import Answer, Moto, ScriptedS3, listing_body

# Keys that obstore reads, and keys that it would refuse or change.
KEYS: Final = (
    *(f"{name}.jpg" for name in ODD if not set(name) & set("\n\t\x01\uffff")),
    *("~/x.jpg", "a;b,c:d.jpg", "<&>.jpg", "\u00a0\u0085\u2028.jpg", "...jpg", "a/.hidden/..x/x..jpg"),
)
ODD_KEYS: Final = (
    *("/abs.jpg", "//lead.jpg", "double//slash.jpg", "trail/photo.jpg/"),
    *("./dot.jpg", "up/../up.jpg", "here/./here.jpg", ".", ".."),
    *("tab\t.jpg", "return\r.jpg", "bell\x07.jpg", "delete\x7f.jpg"),
)
PATHS: Final = [f"/{row:04}" for row in range(600)]


def test_every_key_is_listed_and_read_and_boto3_reads_only_odd_keys(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(bucket, *KEYS, *ODD_KEYS)
    read_by_boto3: list[str] = []
    client = s3.client(bucket, 0)
    get_object = client.get_object

    def record_key(**request: Any) -> object:
        read_by_boto3.append(request["Key"])
        return get_object(**request)

    monkeypatch.setattr(client, "get_object", record_key)
    objects = list(s3.list_objects(f"s3://{bucket}"))
    assert [name for name, *_ in objects] == sorted(f"s3://{bucket}/{key}" for key in (*KEYS, *ODD_KEYS))
    for name, size, _, _ in objects:
        key = s3.split(name)[1]
        assert s3.read(name) == key.encode()
        assert size == len(key.encode())
    assert read_by_boto3 == sorted(ODD_KEYS)


def test_a_line_break_in_a_key_is_listed_and_read(scripted_s3: ScriptedS3) -> None:  # moto does not take it
    key = "line\nbreak.jpg"
    scripted_s3.rules += [
        lambda _, target: Answer(200, listing_body({quote(key): 3})) if "list-type" in target else None,
        lambda method, target: (
            Answer(200, b"abc") if (method, target) == ("GET", f"/b-b/{quote(key)}") else None
        ),
    ]
    assert [name for name, *_ in s3.list_objects("s3://b-b")] == [f"s3://b-b/{key}"]
    assert s3.read(f"s3://b-b/{key}") == b"abc"


def test_a_listing_gives_size_etag_and_time(bucket: str) -> None:
    put(bucket, "x.jpg")
    [(name, size, etag, modified)] = s3.list_objects(f"s3://{bucket}")
    assert (name, size) == (f"s3://{bucket}/x.jpg", 5)
    assert etag == hashlib.md5(b"x.jpg").hexdigest()  # without its quotes
    assert isinstance(modified, datetime)
    assert modified.tzinfo is not None
    assert abs((datetime.now(UTC) - modified).total_seconds()) < 600


def test_a_prefix_is_a_folder_and_not_a_beginning_of_names(bucket: str) -> None:
    put(bucket, "photos", "photos/a.jpg", "photos/b/c.jpg", "photos2/d.jpg", "photos.jpg")
    for location in (f"s3://{bucket}/photos", f"s3://{bucket}/photos/"):
        keys = [s3.split(name)[1] for name, *_ in s3.list_objects(location)]
        assert keys == ["photos/a.jpg", "photos/b/c.jpg"]


def list_in_pages(bucket: str, size: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Put seven objects, list them in pages of `size`, and return the continuation tokens requested."""
    put(bucket, *(f"{number:02}.jpg" for number in range(7)))
    list_objects = s3.client(bucket).list_objects_v2
    tokens: list[str] = []

    def list_page(**request: Any) -> object:
        tokens.append(request.get("ContinuationToken", ""))
        return list_objects(**request, MaxKeys=size)

    monkeypatch.setattr(s3.client(bucket), "list_objects_v2", list_page)
    return tokens


def test_all_pages_of_a_listing_are_read_in_order(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = list_in_pages(bucket, 3, monkeypatch)
    keys = [s3.split(name)[1] for name, *_ in s3.list_objects(f"s3://{bucket}")]
    assert keys == [f"{number:02}.jpg" for number in range(7)]
    assert len(tokens) == 3


def test_an_abandoned_listing_requests_at_most_one_page_ahead(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = list_in_pages(bucket, 1, monkeypatch)
    listing: Any = s3.list_objects(f"s3://{bucket}")
    next(listing)
    listing.close()
    assert len(tokens) == 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPool")]


def test_requests_are_signed_for_the_region_of_the_bucket(scripted_s3: ScriptedS3) -> None:
    scripted_s3.region = "eu-north-1"  # the session's is eu-west-1
    s3.read("s3://photos/x.jpg")
    s3.read("s3://photos//x.jpg")
    signed_for = [authorization for method, _, authorization in scripted_s3.asked if method == "GET"]
    assert len(signed_for) == 2
    assert all("/eu-north-1/s3/" in authorization for authorization in signed_for)


def test_the_region_is_read_even_from_a_refused_request(scripted_s3: ScriptedS3) -> None:
    scripted_s3.region = "us-west-2"
    scripted_s3.rules.append(lambda method, _: Answer(403) if method == "HEAD" else None)
    assert aws.bucket_region("photos") == "us-west-2"


@pytest.mark.parametrize(
    ("status", "advice"),
    [(200, "give the server a region .MinIO: MINIO_SITE_REGION"), (403, "check the credentials")],
)
def test_a_server_without_a_region_and_refused_credentials_have_their_own_messages(
    scripted_s3: ScriptedS3, status: int, advice: str
) -> None:
    scripted_s3.region = ""
    scripted_s3.rules.append(lambda method, _: Answer(status) if method == "HEAD" else None)
    with pytest.raises(JobError, match=advice):
        aws.bucket_region("photos")


def test_many_threads_request_a_buckets_region_once(moto: Moto, bucket: str) -> None:
    put(bucket, "x.jpg")
    aws.bucket_region.cache_clear()
    before = len(moto.requests())
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(s3.read, [f"s3://{bucket}/x.jpg"] * 8)) == [b"x.jpg"] * 8
    assert sum(request.startswith("HEAD") for request in moto.requests()[before:]) == 1


@pytest.mark.parametrize(
    ("bucket_name", "endpoint", "expected"),
    [
        ("photos", None, {"virtual_hosted_style_request": "true"}),
        ("photos.of.2026", None, {"virtual_hosted_style_request": "false"}),
        (
            "photos",
            "https://bucket.vpce-1.s3.eu-north-1.vpce.amazonaws.com",
            {
                "virtual_hosted_style_request": "false",
                "endpoint": "https://bucket.vpce-1.s3.eu-north-1.vpce.amazonaws.com",
            },
        ),
    ],
)
def test_requests_go_to_the_buckets_own_region_or_to_the_endpoint_that_is_set(
    aws_environment: pytest.MonkeyPatch, bucket_name: str, endpoint: str | None, expected: dict[str, str]
) -> None:
    if endpoint:
        aws_environment.setenv("AWS_ENDPOINT_URL", endpoint)
    aws_environment.setattr(aws, "bucket_region", lambda _: "eu-north-1")
    assert s3.store(bucket_name).config == {"bucket": bucket_name, "region": "eu-north-1", **expected}


def test_credentials_are_renewed_from_boto3_before_they_expire(bucket: str) -> None:
    provider = s3.store(bucket).credential_provider
    assert provider is not None
    expires = provider()["expires_at"]  # type: ignore[index]
    assert expires is not None
    assert (expires - datetime.now(UTC)).total_seconds() <= 600


def write_features(bucket: str, rows: int) -> tuple[str, int]:
    """Write a Parquet file of features, and return its location and size in bytes."""
    features = np.random.default_rng(0).normal(3, 2, (rows, 1280)).astype(np.float32)
    data = files.parquet_bytes(pa.table({"path": PATHS[:rows], "features": files.vectors(features)}))
    location = f"s3://{bucket}/part.parquet"
    store.write_bytes(location, data)
    return location, len(data)


def paths_of(location: str, size: int) -> list[Any]:
    with store.open_columns(location, size) as source:
        paths: list[Any] = pq.ParquetFile(source, pre_buffer=True).read(["path"])["path"].to_pylist()
        return paths


def test_the_features_of_a_large_object_are_not_fetched(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    location, size = write_features(bucket, 600)
    lengths: list[int] = []
    read_range = s3.read_range

    def record_length(location: str, start: int, length: int) -> bytes:
        lengths.append(length)
        return read_range(location, start, length)

    monkeypatch.setattr(store, "open_input", lambda _: pytest.fail("the object is read whole"))
    monkeypatch.setattr(s3, "read_range", record_length)
    assert paths_of(location, size) == PATHS
    assert size > 2_000_000
    assert len(lengths) <= 3
    assert sum(lengths) < size / 10


def test_a_small_object_is_read_with_one_request(bucket: str, moto: Moto) -> None:
    location, size = write_features(bucket, 60)
    assert size > 2 * s3.FOOTER_BYTES
    before = len(moto.requests())
    assert paths_of(location, size) == PATHS[:60]
    assert [line.split("?")[0] for line in moto.requests()[before:]] == [f"GET /{bucket}/part.parquet"]


def test_a_range_of_an_object_holds_the_objects_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    end = s3.FOOTER_BYTES
    data = random.Random(3).randbytes(3 * end)
    ranges: list[tuple[int, int]] = []

    def read(_: str, start: int, length: int) -> bytes:
        ranges.append((start, length))
        return data[start : start + length]

    monkeypatch.setattr(s3, "read_range", read)
    with s3.RangeReader("s3://b/k", len(data)) as file:
        assert ranges == [(2 * end, end)]
        assert (file.seek(-10, 2), file.read(), file.read(5)) == (len(data) - 10, data[-10:], b"")
        assert (file.seek(-end, 2), file.read(4)) == (2 * end, data[2 * end :][:4])
        assert len(ranges) == 1, "the end is cached"
        for start, length in ((0, 7), (2 * end - 3, 10), (100, 0)):
            file.seek(start)
            assert file.read(length) == data[start : start + length]
            assert file.tell() == start + length
        assert (file.seek(-4, 1), file.read(8)) == (96, data[96:104])
        assert ranges[1:] == [(0, 7), (2 * end - 3, 10), (96, 8)]
    with s3.RangeReader("s3://b/k", 3) as small:
        assert small.read() == data[:3]
