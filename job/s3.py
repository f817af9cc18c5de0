"""Object access in S3: photos and tables are read and written by obstore, everything else is asked by boto3.

boto3 knows every place credentials can come from (profile, IRSA, Pod Identity) and takes every key that S3
takes; obstore makes a request for a tenth of the CPU, but sees a path in a key: it refuses some, and drops a
slash at either end of others. One such key would end its listing, so boto3 lists, and reads those few keys.

Each process keeps one store and one client for each bucket. Only ``store``, ``inventory`` and ``residency``
import this.
"""

import errno
import re
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from functools import cache, partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from obstore.exceptions import AlreadyExistsError, BaseError

from job import aws
from job.errors import JobError, UsageError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ListObjectsV2OutputTypeDef
    from obstore.store import BackoffConfig, S3Config, S3Store

RETRIES: Final = 8
# Waits grow by half on average, to some ten seconds in all: S3 needs time to grow with a load it slows down.
BACKOFF: "Final[BackoffConfig]" = {
    "init_backoff": timedelta(milliseconds=200),
    "max_backoff": timedelta(seconds=15),
    "base": 3,
}
DELETED_AT_ONCE: Final = 1000  # the most that S3 takes
# Where S3 is asked for a bucket's region if the session has none: botocore would ask in the United States.
ASKED_IN: Final = "eu-west-1"
# botocore renews credentials ten minutes before their end at the latest: what it hands out is good that long.
CREDENTIALS_LAST: Final = timedelta(minutes=10)
# What obstore refuses or changes: control characters, and parts that are empty, "." or "..".
NO_PATH: Final = re.compile(r"[\x00-\x1f\x7f]|(?:^|/)\.{0,2}(?:/|\Z)")

_opening = threading.Lock()


def split(location: str) -> tuple[str, str]:
    """Split ``s3://bucket/key`` into bucket and key."""
    bucket, _, key = location.removeprefix("s3://").partition("/")
    return bucket, key


@cache
def bucket_region(bucket: str) -> str:
    """Ask S3 where a bucket is.

    Raises
    ------
    UsageError
        If there is no such bucket, or no credentials.
    JobError
        If S3 does not tell.
    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    session = aws.session()
    try:
        asked = session.client("s3", region_name=session.region_name or ASKED_IN)
        answer = asked.head_bucket(Bucket=bucket)["ResponseMetadata"]
    except ClientError as error:
        answer = error.response["ResponseMetadata"]
    except (BotoCoreError, ValueError) as error:
        raise aws.unasked(f"bucket {bucket!r}", error) from None
    status = answer.get("HTTPStatusCode")
    if status == 404:
        raise UsageError(f"there is no bucket {bucket!r}: check the name")
    region = answer.get("HTTPHeaders", {}).get("x-amz-bucket-region")
    if not region:
        raise JobError(f"S3 does not say where bucket {bucket!r} is (status {status}): check the credentials")
    return str(region)


def session_region() -> str | None:
    """Return the region that boto3 is set to, if any.

    Raises
    ------
    UsageError
        If the AWS configuration names a profile that does not exist, or cannot be read.
    """
    return aws.session().region_name


@cache
def store(bucket: str) -> "S3Store":
    """Return this process's store for a bucket, with credentials that renew themselves."""
    from obstore.auth.boto3 import Boto3CredentialProvider  # noqa: PLC0415
    from obstore.store import S3Store  # noqa: PLC0415

    region = bucket_region(bucket)
    session = aws.session()
    endpoint = session.client("s3", region_name=region).meta.endpoint_url
    # A dot in a bucket's name would make a host name that S3's certificate does not cover.
    where: S3Config = {"region": region, "virtual_hosted_style_request": "." not in bucket}
    if endpoint != f"https://s3.{region}.amazonaws.com":
        where = {"region": region, "virtual_hosted_style_request": False, "endpoint": endpoint}
    return S3Store(
        bucket,
        config=where,
        credential_provider=Boto3CredentialProvider(session, ttl=CREDENTIALS_LAST),
        # A slow line is no error as long as bytes arrive.
        client_options={"allow_http": endpoint.startswith("http:"), "timeout": "10m", "read_timeout": "30s"},
        retry_config={"max_retries": RETRIES, "backoff": BACKOFF},
    )


@cache
def client(bucket: str) -> "S3Client":
    """Return this process's boto3 client for a bucket."""
    from botocore.config import Config  # noqa: PLC0415

    retries: Any = {"mode": "standard", "total_max_attempts": RETRIES + 1}
    config = Config(retries=retries, max_pool_connections=32)
    made: S3Client = aws.session().client("s3", region_name=bucket_region(bucket), config=config)
    return made


def read(location: str) -> bytes:
    """Return an object's content.

    Raises
    ------
    FileNotFoundError
        If there is no such object.
    PermissionError
        If it may not be read.
    OSError
        If S3 has failed for longer than it is asked again.
    """
    bucket, key = split(location)
    if NO_PATH.search(key):
        return _read_by_boto3(bucket, key, location)
    try:
        return bytes(_opened(bucket).get(key).bytes())
    except (BaseError, FileNotFoundError) as error:
        raise aws.system_error(error, location) from None


def write(location: str, data: bytes, only_if_new: bool) -> bool:
    """Put an object; False if `only_if_new` and there is one already. Raises as :func:`read` does."""
    bucket, key = split(location)
    if NO_PATH.search(key):
        raise UsageError(
            f"{location!r} cannot be written: it has an empty or a dotted part, or a control character"
        )
    try:
        _opened(bucket).put(key, data, mode="create" if only_if_new else "overwrite")
    except AlreadyExistsError:
        return False
    except (BaseError, FileNotFoundError) as error:
        raise aws.system_error(error, location) from None
    return True


def list_objects(location: str) -> Iterator[tuple[str, int, str, object]]:
    """Yield ``(location, bytes, etag, modified)`` of every object below, in order of their keys.

    Raises
    ------
    UsageError
        If there is no such bucket, or it may not be listed.
    JobError
        If S3 does not answer.
    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    bucket, prefix = split(location.rstrip("/"))
    ask = partial(client(bucket).list_objects_v2, Bucket=bucket, Prefix=prefix and f"{prefix}/")
    # The next page is on its way while the caller works on this one.
    with ThreadPoolExecutor(1) as pool:
        coming: Future[ListObjectsV2OutputTypeDef] | None = pool.submit(ask)
        while coming is not None:
            try:
                page = coming.result()
            except ClientError as error:
                raise aws.unlisted(location, error) from None
            except BotoCoreError as error:
                raise aws.unasked(location, error) from None
            token = page.get("NextContinuationToken")
            coming = pool.submit(ask, ContinuationToken=token) if token else None
            for one in page.get("Contents", ()):
                yield f"s3://{bucket}/{one['Key']}", one["Size"], one["ETag"].strip('"'), one["LastModified"]


def list_sizes(location: str) -> Iterator[tuple[str, int]]:
    """Yield ``(location, bytes)`` of every object below."""
    return ((name, size) for name, size, _, _ in list_objects(location))


def delete_tree(location: str) -> None:
    """Delete every object below a location, and the one of that name.

    Raises
    ------
    PermissionError
        If one of them may not be deleted.
    OSError
        If S3 fails.
    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    bucket, key = split(location.rstrip("/"))
    assert key, "a whole bucket is never ours to delete"
    keys = iter([key, *(split(name)[1] for name, _ in list_sizes(location))])
    while some := list(islice(keys, DELETED_AT_ONCE)):
        wanted: Any = {"Objects": [{"Key": one} for one in some], "Quiet": True}
        try:
            failed = client(bucket).delete_objects(Bucket=bucket, Delete=wanted).get("Errors")
        except (BotoCoreError, ClientError) as error:
            raise aws.system_error(error, location) from None
        if failed:
            raise PermissionError(errno.EACCES, f"S3 answers {failed[0].get('Code')}", location)


def _opened(bucket: str) -> "S3Store":
    """Return the store of a bucket; of many threads that ask at once, one opens it."""
    with _opening:
        return store(bucket)


def _read_by_boto3(bucket: str, key: str, location: str) -> bytes:
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    with _opening:
        asked = client(bucket)
    try:
        return asked.get_object(Bucket=bucket, Key=key)["Body"].read()
    except (BotoCoreError, ClientError) as error:
        raise aws.system_error(error, location) from None
