"""The properties of S3 on which the job relies, through ``s3``: the small server and MinIO have them all."""

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest
from botocore.exceptions import ClientError

from job.errors import UsageError
from job.storage import aws, s3
from tests.job.storage.test_s3 import KEYS
from tests.support.chaos_s3 import BUCKET, chaos

THREADS: Final = 16
MORE_KEYS: Final = ("photos é/Training/Pomme d'été 1/0 %20+&.jpg", " x ", "🍎", "\uffee")


@pytest.fixture(params=["small", pytest.param("minio", marks=pytest.mark.minio)])
def bucket(request: pytest.FixtureRequest, aws_environment: pytest.MonkeyPatch) -> Iterator[str]:
    """Return an empty bucket: the test runs on the small server and on MinIO."""
    if request.param == "minio":
        yield request.getfixturevalue("minio_bucket")
    else:
        with chaos(aws_environment, silence=60):
            yield BUCKET


def test_one_of_many_simultaneous_creations_succeeds_and_later_ones_are_refused(bucket: str) -> None:
    start = threading.Barrier(THREADS)

    def create(name: str, number: int) -> bool:
        start.wait()
        return s3.write(name, f"of {number}".encode(), only_if_new=True)

    with ThreadPoolExecutor(THREADS) as pool:
        for name in (f"s3://{bucket}/claims/{number}" for number in range(20)):
            created = list(pool.map(create, [name] * THREADS, range(THREADS)))
            assert created.count(True) == 1
            assert not s3.write(name, b"late", only_if_new=True)
            assert s3.read(name) == f"of {created.index(True)}".encode()
    with pytest.raises(ClientError) as refused:
        s3.client(bucket).put_object(Bucket=bucket, Key="claims/0", Body=b"late", IfNoneMatch="*")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412


def test_listings_have_several_pages_and_1000_objects_are_deleted_at_once(bucket: str) -> None:
    names = [f"s3://{bucket}/many/{number:04}" for number in range(1100)]
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda name: s3.write(name, b"x", only_if_new=False), names))
    first = s3.client(bucket).list_objects_v2(Bucket=bucket)
    assert (first["KeyCount"], first["IsTruncated"]) == (1000, True)
    assert [listed[:2] for listed in s3.list_objects(f"s3://{bucket}/many")] == [(name, 1) for name in names]
    assert [name for name, *_ in s3.list_objects(f"s3://{bucket}/many", after="0050")] == names[51:]
    batches: list[int] = []
    s3.client(bucket).meta.events.register(
        "provide-client-params.s3.DeleteObjects",
        lambda params, **_: batches.append(len(params["Delete"]["Objects"])),
    )
    s3.delete_files([*names[:1049], f"s3://{bucket}/never was"])
    assert batches == [1000, 50]
    assert [name for name, *_ in s3.list_objects(f"s3://{bucket}")] == names[1049:]


def test_keys_are_listed_unchanged_in_the_order_of_utf_8(bucket: str) -> None:
    keys = sorted((*KEYS, *MORE_KEYS), key=str.encode)
    for key in keys:
        assert s3.write(f"s3://{bucket}/{key}", key.encode(), only_if_new=True)
    assert [listed[:3] for listed in s3.list_objects(f"s3://{bucket}")] == [
        (f"s3://{bucket}/{key}", len(key.encode()), hashlib.md5(key.encode()).hexdigest()) for key in keys
    ]
    assert [s3.read(f"s3://{bucket}/{key}") for key in keys] == [key.encode() for key in keys]
    s3.delete_files(f"s3://{bucket}/{key}" for key in keys)
    assert list(s3.list_objects(f"s3://{bucket}")) == []


def test_ranges_are_read_and_a_missing_object_is_an_error(bucket: str) -> None:
    name = f"s3://{bucket}/part.parquet"
    for data in (b"0123456789", b"another one"):
        assert s3.write(name, data, only_if_new=False)
        assert (s3.read_range(name, 2, 3), s3.read(name)) == (data[2:5], data)
    with pytest.raises(FileNotFoundError):
        s3.read(f"s3://{bucket}/none")
    s3.delete_files([name])
    with pytest.raises(FileNotFoundError):
        s3.read_range(name, 2, 3)
    assert aws.bucket_region(bucket) == "eu-west-1"
    with pytest.raises(UsageError, match="no bucket"):
        aws.bucket_region("no-such-bucket")
