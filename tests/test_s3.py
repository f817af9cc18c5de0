"""S3 itself: every key comes back as it is, from the region where its bucket is."""

import hashlib
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

import pytest

from job import s3
from tests.listings import put
from tests.s3_servers import Answer, Moto, ScriptedS3, listing_body

# What obstore takes as it is, and what it would refuse or change.
KEYS: Final = (
    "plain.jpg",
    "two words.jpg",
    "é.jpg",
    "e\u0301.jpg",
    "it's.jpg",
    'say "x".jpg',
    "100%.jpg",
    "%20.jpg",
    "a%2Fb.jpg",
    "#1.jpg",
    "a=b&c+d.jpg",
    "what?.jpg",
    "[x]{y}.jpg",
    "*.jpg",
    "back\\slash.jpg",
    "~.jpg",
    "~/x.jpg",
    "🍎.jpg",
    " lead and trail .jpg ",
    "a;b,c:d.jpg",
    "<&>.jpg",
    "\u00a0\u0085\u2028.jpg",
    "Résumé d'été/pomme 🍎/100%.jpg",
    "...jpg",
    "a/.hidden/..x/x..jpg",
)
ODD_KEYS: Final = (
    "/abs.jpg",
    "//lead.jpg",
    "double//slash.jpg",
    "./dot.jpg",
    "up/../up.jpg",
    "here/./here.jpg",
    "trail/photo.jpg/",
    "tab\t.jpg",
    "return\r.jpg",
    "bell\x07.jpg",
    "delete\x7f.jpg",
    ".",
    "..",
)


def test_every_key_is_listed_and_read_as_it_is(bucket: str) -> None:
    put(bucket, *KEYS, *ODD_KEYS)
    listed = list(s3.list_objects(f"s3://{bucket}"))
    assert [name for name, _, _, _ in listed] == sorted(f"s3://{bucket}/{key}" for key in (*KEYS, *ODD_KEYS))
    for name, size, _, _ in listed:
        key = s3.split(name)[1]
        assert s3.read(name) == key.encode()
        assert size == len(key.encode())


def test_boto3_reads_only_the_keys_that_obstore_would_refuse_or_change(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def note(_: str, key: str, __: str) -> bytes:
        read.append(key)
        return b""

    monkeypatch.setattr(s3, "_read_by_boto3", note)
    put(bucket, *KEYS)
    for key in (*KEYS, *ODD_KEYS):
        s3.read(f"s3://{bucket}/{key}")
    assert read == list(ODD_KEYS)


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
        assert [s3.split(name)[1] for name, _ in s3.list_sizes(location)] == [
            "photos/a.jpg",
            "photos/b/c.jpg",
        ]


def test_all_pages_of_a_listing_are_read_in_order(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(bucket, *(f"{number:02}.jpg" for number in range(7)))
    ask = s3.client(bucket).list_objects_v2
    pages: list[str] = []

    def in_threes(**request: str) -> object:
        pages.append(request.get("ContinuationToken", ""))
        return ask(**request, MaxKeys=3)  # type: ignore[arg-type]

    monkeypatch.setattr(s3.client(bucket), "list_objects_v2", in_threes)
    listed = [s3.split(name)[1] for name, _ in s3.list_sizes(f"s3://{bucket}")]
    assert listed == [f"{number:02}.jpg" for number in range(7)]
    assert len(pages) == 3


def test_a_listing_that_is_given_up_asks_one_page_ahead_at_most(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(bucket, *(f"{number:02}.jpg" for number in range(7)))
    ask = s3.client(bucket).list_objects_v2
    pages: list[str] = []

    def one_by_one(**request: str) -> object:
        pages.append(request.get("ContinuationToken", ""))
        return ask(**request, MaxKeys=1)  # type: ignore[arg-type]

    monkeypatch.setattr(s3.client(bucket), "list_objects_v2", one_by_one)
    listing: Iterator[tuple[str, int, str, object]] = s3.list_objects(f"s3://{bucket}")
    next(listing)
    listing.close()  # type: ignore[attr-defined]
    assert len(pages) == 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPool")]


def test_requests_are_signed_for_the_region_of_the_bucket(scripted_s3: ScriptedS3) -> None:
    scripted_s3.region = "eu-north-1"  # the session's is eu-west-1
    s3.read("s3://photos/x.jpg")
    s3.read("s3://photos//x.jpg")
    signed_for = [authorization for method, _, authorization in scripted_s3.asked if method == "GET"]
    assert len(signed_for) == 2
    assert all("/eu-north-1/s3/" in authorization for authorization in signed_for)


def test_without_a_region_a_bucket_is_looked_for_in_the_eu(
    scripted_s3: ScriptedS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert s3.session_region() is None
    assert s3.bucket_region("photos") == "eu-west-1"
    assert "/eu-west-1/s3/" in scripted_s3.asked[0][2]


def test_a_bucket_that_may_not_be_asked_about_still_says_where_it_is(scripted_s3: ScriptedS3) -> None:
    scripted_s3.region = "us-west-2"
    scripted_s3.rules.append(lambda method, _: Answer(403) if method == "HEAD" else None)
    assert s3.bucket_region("photos") == "us-west-2"


def test_a_large_object_is_written_and_read_whole(bucket: str) -> None:
    data = bytes(range(256)) * 50_000  # in parts, unless it has to be new
    for only_if_new in (False, True):
        name = f"s3://{bucket}/large-{only_if_new}"
        assert s3.write(name, data, only_if_new)
        assert s3.read(name) == data


def test_many_threads_open_a_bucket_once(moto: Moto, bucket: str) -> None:
    put(bucket, "x.jpg")
    s3.bucket_region.cache_clear()
    asked = len(moto.requests())
    start = threading.Barrier(8)
    read: list[bytes] = []

    def run() -> None:
        start.wait()
        read.append(s3.read(f"s3://{bucket}/x.jpg"))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read == [b"x.jpg"] * 8
    assert sum(request.startswith("HEAD") for request in moto.requests()[asked:]) == 1


@pytest.mark.parametrize(
    ("bucket_name", "endpoint", "wanted"),
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
    aws_environment: pytest.MonkeyPatch, bucket_name: str, endpoint: str | None, wanted: dict[str, str]
) -> None:
    if endpoint:
        aws_environment.setenv("AWS_ENDPOINT_URL", endpoint)
    aws_environment.setattr(s3, "bucket_region", lambda _: "eu-north-1")
    assert s3.store(bucket_name).config == {"bucket": bucket_name, "region": "eu-north-1", **wanted}


def test_credentials_are_taken_from_boto3_again_before_they_can_end(bucket: str) -> None:
    provider = s3.store(bucket).credential_provider
    assert provider is not None
    expires = provider()["expires_at"]  # type: ignore[index]
    assert expires is not None
    assert (expires - datetime.now(UTC)).total_seconds() <= 600
