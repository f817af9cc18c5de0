"""A photo that cannot be fetched: its own fault is a reason to reject it, the store's fails the task."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from job.inventory.folder_listing import folder_files
from job.photos.decode import Rejected
from job.photos.fetch import fetch
from job.storage import s3, store
from tests.job.photos.test_fetch import LIMIT, rows
from tests.support.s3_servers import Answer, ScriptedS3, error_body
from tests.support.unprivileged import unprivileged


def one(path: str, pool: ThreadPoolExecutor) -> bytes | Rejected:
    """Fetch a single photo."""
    [(_, data)] = fetch([{"path": path, "bytes": 10}], pool, 2, LIMIT)
    return data


def reason(data: bytes | Rejected) -> tuple[str, str]:
    assert isinstance(data, Rejected)
    return data.reason, data.detail


def test_a_photo_listed_as_too_large_is_refused_unread(pool: ThreadPoolExecutor) -> None:
    read: list[str] = []

    def note(path: str) -> bytes:
        read.append(path)
        return b"x"

    got = [data for _, data in fetch(rows(10, 11, 12, 10), pool, 2, 10, read=note)]
    assert got[0] == got[3] == b"x"
    assert reason(got[1]) == ("too_large", "11 bytes; the limit is 10")
    assert reason(got[2])[0] == "too_large"
    assert sorted(read) == ["/photo/0.jpg", "/photo/3.jpg"]


def test_a_file_that_went_away_is_gone(pool: ThreadPoolExecutor, tmp_path: Path) -> None:
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "none")
    (tmp_path / "itself.jpg").symlink_to(tmp_path / "itself.jpg")
    (tmp_path / "file").touch()
    for name in ("none.jpg", "dangling.jpg", "itself.jpg", "none/x.jpg", "file/x.jpg"):
        assert reason(one(str(tmp_path / name), pool)) == (
            "gone",
            "it was listed, and was not there to be read",
        )


def test_a_file_without_permissions_is_unreadable(pool: ThreadPoolExecutor, tmp_path: Path) -> None:
    (tmp_path / "x.jpg").touch(mode=0)
    with unprivileged():
        assert reason(one(str(tmp_path / "x.jpg"), pool)) == (
            "unreadable",
            "permission to read it was denied",
        )


def test_a_name_that_is_not_utf_8_is_unreadable_and_nothing_else_is_read_for_it(
    pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    names = [b"caf\xe9.jpg", b"caf\\udce9.jpg", b"caf%E9.jpg"]
    (tmp_path / "in").mkdir()
    for name in names:
        (tmp_path / "in" / os.fsdecode(name)).write_bytes(name)
    files = folder_files(str(tmp_path / "in"), "/nowhere", set())
    listed = [{"path": store.printable(file.path), "bytes": file.bytes} for file in files]
    got = {row["path"]: data for row, data in fetch(listed, pool, 2, LIMIT)}
    assert len(got) == 3
    assert [data for data in got.values() if isinstance(data, bytes)] == [names[2], names[1]]
    [refused] = [data for data in got.values() if isinstance(data, Rejected)]
    assert reason(refused) == ("unreadable", "its name is not UTF-8")


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ESTALE, errno.ENOMEM])
def test_a_fault_of_the_store_is_no_photos_fault(pool: ThreadPoolExecutor, number: int) -> None:
    def fail(path: str) -> bytes:
        if path.endswith("/3.jpg"):
            raise OSError(number, os.strerror(number), path)
        return b"x"

    photos = fetch(rows(*[10] * 20), pool, 4, LIMIT, read=fail)
    assert [next(photos)[1] for _ in range(3)] == [b"x"] * 3
    with pytest.raises(OSError) as caught:
        next(photos)
    assert caught.value.errno == number


def test_photos_are_fetched_from_s3_with_many_requests_in_flight(
    bucket: str, pool: ThreadPoolExecutor
) -> None:
    keys = [f"{number:02}.jpg" for number in range(20)] + ["odd//x.jpg"]
    for key in keys:
        s3.client(bucket).put_object(Bucket=bucket, Key=key, Body=key.encode())
    listed = [{"path": f"s3://{bucket}/{key}", "bytes": 6} for key in [*keys, "gone.jpg", "gone//too.jpg"]]
    got = [data for _, data in fetch(listed, pool, 8, LIMIT)]
    assert got[:21] == [key.encode() for key in keys]
    assert [reason(data)[0] for data in got[21:]] == ["gone", "gone"]


def test_of_s3s_refusals_only_those_of_one_photo_reject_it(
    scripted_s3: ScriptedS3, pool: ThreadPoolExecutor
) -> None:
    code = "AccessDenied"
    scripted_s3.rules.append(lambda method, _: Answer(403, error_body(code)) if method == "GET" else None)
    assert reason(one("s3://photos/x.jpg", pool))[0] == "unreadable"
    code = "InvalidObjectState"
    assert reason(one("s3://photos/x.jpg", pool)) == (
        "unreadable",
        "archived by S3: restore it, then run with --retry-rejected",
    )
    code = "InvalidAccessKeyId"
    with pytest.raises(OSError, match=code):
        one("s3://photos/x.jpg", pool)
