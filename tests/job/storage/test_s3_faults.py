"""S3 that refuses or fails: each error has its type and one sentence, and shows nothing of the answer."""

import errno
import traceback
from functools import partial
from typing import Final, NoReturn

import pytest
from botocore.exceptions import CredentialRetrievalError
from obstore.store import S3Store

from job.errors import JobError, UsageError
from job.storage import aws, retries, s3, store
from job.storage.s3_errors import ArchivedError, TransientError
from tests.support.chaos_s3 import Waits
from tests.support.s3_servers import Answer, ScriptedS3, error_body, listing_body

SECRET: Final = "FwoGZXIvYXdzEBYaD-the-session-token"


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    """Give up after half a second of a simulated clock."""
    waits = Waits()
    monkeypatch.setattr(retries, "RETRY_POLICY", waits.patience(0.5))
    return waits


def test_a_deleted_bucket_is_not_a_missing_photo(bucket: str) -> None:
    s3.store(bucket)
    s3.client(bucket).delete_bucket(Bucket=bucket)
    for key in ("x.jpg", "//x.jpg"):
        with pytest.raises(OSError, match="NoSuchBucket") as caught:
            s3.read(f"s3://{bucket}/{key}")
        assert caught.value.errno == errno.EIO
    with pytest.raises(UsageError, match="no bucket"):
        list(s3.list_objects(f"s3://{bucket}"))


def test_an_unknown_profile_is_a_usage_error(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert s3_server
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(UsageError, match="nobody"):
        aws.bucket_region("photos")


def test_the_error_of_an_unreachable_endpoint_hides_its_password(
    aws_environment: pytest.MonkeyPatch,
) -> None:
    aws_environment.setenv("AWS_ENDPOINT_URL", f"http://user:{SECRET}@127.0.0.1:9")
    aws_environment.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(JobError, match="check the network") as caught:
        aws.bucket_region("photos")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("key", ["photo.jpg", "odd//photo.jpg"])
@pytest.mark.parametrize(
    ("status", "code", "kind", "number"),
    [
        (404, "NoSuchKey", FileNotFoundError, errno.ENOENT),
        (403, "AccessDenied", PermissionError, errno.EACCES),
        (403, "InvalidObjectState", ArchivedError, errno.EACCES),
        (403, "InvalidAccessKeyId", OSError, errno.EIO),
        (400, "ExpiredToken", OSError, errno.EIO),
        (404, "NoSuchBucket", OSError, errno.EIO),
        (501, "NotImplemented", OSError, errno.EIO),
        (400, "RequestTimeout", TransientError, errno.EIO),
        (429, "TooManyRequests", TransientError, errno.EIO),
        (500, "InternalError", TransientError, errno.EIO),
        (502, "BadGateway", TransientError, errno.EIO),
        (503, "SlowDown", TransientError, errno.EIO),
    ],
)
def test_each_answer_has_its_error_and_only_transient_ones_are_retried(
    scripted_s3: ScriptedS3, waits: Waits, key: str, status: int, code: str, kind: type[OSError], number: int
) -> None:
    body = error_body(code, f"<Token-0>{SECRET}</Token-0>")
    scripted_s3.rules.append(lambda method, _: Answer(status, body) if method == "GET" else None)
    with pytest.raises(kind) as caught:
        s3.read(f"s3://photos/{key}")
    assert type(caught.value) is kind
    assert (caught.value.errno, caught.value.filename) == (number, f"s3://photos/{key}")
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    if number == errno.EIO:
        assert f"{code}, status {status}" in str(caught.value)
    assert len(scripted_s3.targets("GET")) == len(waits.waited) + 1
    assert bool(waits.waited) == (kind is TransientError)


@pytest.mark.parametrize("only_if_new", [False, True])
def test_a_refused_write_is_a_permission_error_and_tried_once(
    scripted_s3: ScriptedS3, only_if_new: bool
) -> None:
    refusal = Answer(403, error_body("AccessDenied", SECRET))
    scripted_s3.rules.append(lambda method, _: refusal if method == "PUT" else None)
    with pytest.raises(PermissionError) as caught:
        s3.write("s3://photos/x", b"x", only_if_new)
    assert SECRET not in str(caught.value)
    assert len(scripted_s3.targets("PUT")) == 1


@pytest.mark.parametrize(
    ("status", "code", "kind", "message"),
    [
        (403, "AccessDenied", UsageError, "lack s3:ListBucket"),
        (403, "SignatureDoesNotMatch", UsageError, "does not accept the credentials"),
        (400, "ExpiredToken", UsageError, "does not accept the credentials"),
        (404, "NoSuchBucket", UsageError, "no bucket"),
        (400, "InvalidRequest", JobError, "S3 answers InvalidRequest"),
        (503, "SlowDown", JobError, "S3 answers SlowDown"),
    ],
)
def test_a_refused_listing_is_explained_in_one_sentence(
    scripted_s3: ScriptedS3,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    code: str,
    kind: type[JobError],
    message: str,
) -> None:
    monkeypatch.setattr(s3, "client", partial(s3.client, retries=0))
    body = error_body(code, f"<Token-0>{SECRET}</Token-0>")
    scripted_s3.rules.append(lambda method, _: Answer(status, body) if method == "GET" else None)
    with pytest.raises(kind, match=message) as caught:
        list(s3.list_objects("s3://photos/2026"))
    assert type(caught.value) is kind
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_refused_deletion_is_an_error(scripted_s3: ScriptedS3) -> None:
    refused = b"<DeleteResult><Error><Key>t/x</Key><Code>AccessDenied</Code></Error></DeleteResult>"
    scripted_s3.rules += [
        lambda method, _: Answer(200, refused) if method == "POST" else None,
        lambda _, target: Answer(200, listing_body({"t/x": 1})) if "list-type" in target else None,
    ]
    with pytest.raises(PermissionError, match="AccessDenied"):
        store.delete_tree("s3://any-bucket/t")


def test_unavailable_credentials_are_not_retried(
    scripted_s3: ScriptedS3, waits: Waits, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> NoReturn:
        raise CredentialRetrievalError(provider="process", error_msg=SECRET)

    s3.store("photos")
    monkeypatch.setattr(
        s3, "store", lambda *_: S3Store("photos", endpoint=scripted_s3.url, credential_provider=fail)
    )
    with pytest.raises(OSError, match="UnauthenticatedError") as caught:
        s3.read("s3://photos/x.jpg")
    assert caught.value.errno == errno.EIO
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert waits.waited == []


def test_an_unreachable_server_is_retried(scripted_s3: ScriptedS3, waits: Waits) -> None:
    s3.store("photos")
    scripted_s3.server_close()
    with pytest.raises(TransientError):
        s3.read("s3://photos/x.jpg")
    assert waits.waited


def test_an_odd_key_is_refused_as_an_output(bucket: str) -> None:
    for key in ("a//b", "./a", "a/..", "tab\t"):
        with pytest.raises(UsageError, match="cannot be written"):
            store.write_bytes(f"s3://{bucket}/{key}", b"x")
