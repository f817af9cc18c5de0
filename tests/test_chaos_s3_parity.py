"""The small S3 server beside an independent emulator: both give the same answers to the same questions."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from botocore.exceptions import ClientError

from job import s3
from tests.chaos_s3 import BUCKET, chaos

PART: Final = 5 * 2**20


def code(call: Callable[[], Any]) -> str:
    """Return how an error is called."""
    with pytest.raises(ClientError) as caught:
        call()
    return str(caught.value.response["Error"]["Code"])


def told(client: Any, bucket: str) -> Iterator[Any]:
    """Ask for much, and yield the part of each answer that S3's reference promises."""
    where = {"Bucket": bucket}
    for key in ("a/1", "a/2", "a/b/3", "b/4", "b+ 5", "c", "é"):
        yield client.put_object(**where, Key=key, Body=key.encode() * 3, Metadata={"who": "me"})["ETag"]
    for ask in (
        {},
        {"Prefix": "a/"},
        {"Prefix": "a"},
        {"Prefix": "none"},
        {"Delimiter": "/"},
        {"Delimiter": "/", "Prefix": "a/"},
        {"MaxKeys": 2},
        {"MaxKeys": 2, "Delimiter": "/"},
        {"MaxKeys": 1, "Delimiter": "/"},
        {"StartAfter": "b/4"},
    ):
        pages = client.get_paginator("list_objects_v2").paginate(**where, **ask)
        yield [
            (
                page["KeyCount"],
                page["IsTruncated"],
                [(one["Key"], one["Size"], one["ETag"]) for one in page.get("Contents", [])],
                [one["Prefix"] for one in page.get("CommonPrefixes", [])],
            )
            for page in pages
        ]
    for part in ("bytes=0-1", "bytes=2-", "bytes=-3", "bytes=5-100"):
        got = client.get_object(**where, Key="a/1", Range=part)
        yield got["Body"].read(), got["ContentRange"], got["ContentLength"], got["Metadata"]
    head = client.head_object(**where, Key="é")
    yield head["ContentLength"], head["ETag"]
    yield code(lambda: client.get_object(**where, Key="a/1", Range="bytes=100-"))
    yield code(lambda: client.get_object(**where, Key="none"))
    yield code(lambda: client.head_object(**where, Key="none"))
    yield code(lambda: client.list_objects_v2(Bucket="no-such-bucket"))
    yield from told_of_conditions(client, where)
    yield from told_of_uploads(client, where)
    copied = client.copy_object(**where, Key="copy", CopySource={**where, "Key": "b+ 5"})
    yield copied["CopyObjectResult"]["ETag"]
    got = client.get_object(**where, Key="copy")
    yield got["Body"].read(), got["Metadata"]
    client.delete_object(**where, Key="c")
    client.delete_object(**where, Key="never was")
    yield code(lambda: client.delete_object(**where, Key="a/2", IfMatch='"0"'))
    gone = {"Objects": [{"Key": key} for key in ("a/1", "b+ 5", "é", "never was")]}
    yield {one["Key"] for one in client.delete_objects(**where, Delete=gone)["Deleted"]}
    yield [one["Key"] for one in client.list_objects_v2(**where)["Contents"]]


def told_of_conditions(client: Any, where: dict[str, str]) -> Iterator[Any]:
    """Put under conditions, and yield what became of it."""
    first = client.put_object(**where, Key="one", Body=b"first", IfNoneMatch="*")["ETag"]
    yield code(lambda: client.put_object(**where, Key="one", Body=b"second", IfNoneMatch="*"))
    yield code(lambda: client.put_object(**where, Key="one", Body=b"second", IfMatch='"0"'))
    yield client.put_object(**where, Key="one", Body=b"second", IfMatch=first)["ETag"]
    yield client.get_object(**where, Key="one")["Body"].read()
    yield code(lambda: client.put_object(**where, Key="none", Body=b"x", IfMatch=first))


def told_of_uploads(client: Any, where: dict[str, str]) -> Iterator[Any]:
    """Upload in parts, and yield what became of it."""
    at = {**where, "Key": "large é"}
    upload = client.create_multipart_upload(**at, Metadata={"who": "x"})["UploadId"]
    bodies = {2: b"2" * 100, 1: b"1" * PART}
    parts = [
        {
            "PartNumber": number,
            "ETag": client.upload_part(**at, UploadId=upload, PartNumber=number, Body=body)["ETag"],
        }
        for number, body in bodies.items()
    ]
    yield parts
    yield [one["Key"] for one in client.list_multipart_uploads(**where, Prefix="l")["Uploads"]]
    done = {"UploadId": upload, "MultipartUpload": {"Parts": parts[::-1]}}
    yield client.complete_multipart_upload(**at, **done)["ETag"]
    yield client.get_object(**at)["Body"].read() == bodies[1] + bodies[2]
    yield client.complete_multipart_upload(**at, **done)["ETag"]
    other = client.create_multipart_upload(**where, Key="other")["UploadId"]
    client.abort_multipart_upload(**where, Key="other", UploadId=other)
    yield client.list_multipart_uploads(**where).get("Uploads", [])


def test_it_answers_as_an_independent_emulator_does(
    s3_server: str, bucket: str, aws_environment: pytest.MonkeyPatch
) -> None:
    assert s3_server
    wanted = list(told(s3.client(bucket), bucket))
    for cached in (s3.client, s3.bucket_region):
        cached.cache_clear()
    with chaos(aws_environment, silence=60):
        got = list(told(s3.client(BUCKET), BUCKET))
    assert got == wanted
