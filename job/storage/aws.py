"""AWS access for :mod:`job.storage.s3`: the boto3 session, its clients, and the regions of buckets."""

from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from job.errors import JobError, UsageError
from job.storage.s3_errors import connection_error

if TYPE_CHECKING:
    from boto3 import Session
    from mypy_boto3_s3 import S3Client

# boto3's own retries of listings and bucket requests, with waits of up to 20 s.
RETRIES: Final = 8
CONNECT_SECONDS: Final = 5.0
# The longest pause without a byte. S3 responds within 0.2 s; a stalled read delays the next ones, and a retry
# mostly succeeds. A write is timed from its start, so it gets longer: a slow line needs time to send a file.
READ_SECONDS: Final = 10.0
WRITE_SECONDS: Final = 30.0
# Listing a prefix with many deleted objects can take S3 long.
LISTING_SECONDS: Final = 30.0
# Used when the session has no region: botocore's own default is in the United States.
DEFAULT_REGION: Final = "eu-west-1"


@cache
def session() -> "Session":
    """Return this process's boto3 session; a client of a new one would cost 120 ms instead of 7.

    It replaces botocore's parser of timestamps, which takes most of the time of a listing.

    Raises
    ------
    UsageError
        If the AWS configuration names a profile that does not exist, or cannot be read.
    """
    # Imported here: boto3 takes 30 MB, and workers that read folders do not need it.
    import boto3  # noqa: PLC0415
    import botocore.session  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415

    try:
        core = botocore.session.get_session()
        core.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_timestamp)
        return boto3.Session(botocore_session=core)
    except BotoCoreError as error:
        raise UsageError(f"the AWS configuration cannot be used: {error}") from None


def client(region: str, retries: int | None = None) -> "S3Client":
    """Return a boto3 client with a number of retries; None keeps the user's configuration."""
    from botocore.config import Config  # noqa: PLC0415

    retry_mode: Any = None if retries is None else {"mode": "standard", "total_max_attempts": retries + 1}
    config = Config(
        retries=retry_mode,
        connect_timeout=CONNECT_SECONDS,
        read_timeout=LISTING_SECONDS,
        max_pool_connections=32,
    )
    s3: S3Client = session().client("s3", region_name=region, config=config)
    return s3


@cache
def bucket_region(bucket: str) -> str:
    """Return the region of a bucket, as S3 states it.

    Raises
    ------
    UsageError
        If the bucket or the credentials are missing.
    JobError
        If S3 does not say.
    """
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415

    try:
        return region_from_s3(client(session().region_name or DEFAULT_REGION), bucket)
    except (BotoCoreError, ValueError) as error:
        raise connection_error(f"bucket {bucket!r}", error) from None


def region_from_s3(s3: "S3Client", bucket: str) -> str:
    """Ask S3 for a bucket's region, which it tells even clients that may not use the bucket.

    Raises as :func:`bucket_region` does, but leaves botocore's connection errors as they are.
    """
    from botocore.exceptions import ClientError  # noqa: PLC0415

    response: Any
    try:
        response = s3.head_bucket(Bucket=bucket)["ResponseMetadata"]
    except ClientError as error:
        response = error.response["ResponseMetadata"]
    status = response.get("HTTPStatusCode")
    if status == 404:
        raise UsageError(f"there is no bucket {bucket!r}: check the name")
    region = response.get("HTTPHeaders", {}).get("x-amz-bucket-region")
    if not region and status == 200:
        raise JobError(
            f"this S3 server does not say in which region bucket {bucket!r} is: give the server a region "
            "(MinIO: MINIO_SITE_REGION=eu-west-1)"
        )
    if not region:
        raise JobError(f"S3 does not say where bucket {bucket!r} is (status {status}): check the credentials")
    return str(region)


def _timestamp(text: Any) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):  # a form used by HTTP headers and other services
        from botocore.utils import parse_timestamp  # noqa: PLC0415

        return parse_timestamp(text)
