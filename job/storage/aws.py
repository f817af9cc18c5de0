"""AWS access for :mod:`job.storage.s3`: boto3 sessions, bucket regions, retries and error translation.

Errors quote only the status and code of S3's response: its text can contain a rejected security token.
"""

import errno
import os
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeVar

from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

from job.errors import JobError, UsageError

if TYPE_CHECKING:
    from boto3 import Session
    from botocore.exceptions import ClientError
    from mypy_boto3_s3 import S3Client

Result = TypeVar("Result")

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
STATUS_CODE: Final = re.compile(r"status code: (\d{3})")
ERROR_CODE: Final = re.compile(r"<Code>(\w+)</Code>")
# Codes of refused credentials: they say nothing about the requested object.
BAD_CREDENTIALS: Final = (
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
)
# Codes of transient errors, also in responses whose status is not 5xx and in multi-object deletions.
TRANSIENT_CODES: Final = (
    "ConditionalRequestConflict",
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
)
# Prefix of obstore's network errors: refused or reset connections, truncated or late responses.
NETWORK_ERROR: Final = "HTTP error: "
# Results of conditional requests, not failures, except 409, by which S3 asks for a retry.
CONDITION_ERRORS: Final = (AlreadyExistsError, PreconditionError)
# Parts of the names of botocore's errors for credentials that are missing, incomplete or expired.
CREDENTIAL_ERRORS: Final = ("Credential", "Token", "SSO", "Login", "Profile")
# The pause before the first retry of a request about one object, and the longest one.
FIRST_WAIT_SECONDS: Final = 0.2
LONGEST_WAIT_SECONDS: Final = 10.0
# Workers are forks of one process: a generator seeded there would give all of them the same pauses.
_random: Final = random.SystemRandom()


class TransientError(OSError):
    """A failure that a retry may overcome; the request may have been carried out or not."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Retries of requests about one object: none starts later than `seconds` after the first try."""

    seconds: float = 60  # S3 answers SlowDown until it has scaled up
    wait: Callable[[float], object] = time.sleep
    clock: Callable[[], float] = time.monotonic


RETRY_POLICY: Final = RetryPolicy()


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
    if not region:
        raise JobError(f"S3 does not say where bucket {bucket!r} is (status {status}): check the credentials")
    return str(region)


def system_error(error: Exception, location: str) -> OSError:
    """Translate an error of obstore or boto3 about one object.

    Returns
    -------
    OSError
        FileNotFoundError or PermissionError if the object is missing or may not be read. Otherwise the fault
        is S3's, the network's or the credentials': ``EIO``, as a TransientError if a retry may help.
    """
    from botocore.exceptions import ConnectionError, HTTPClientError  # noqa: A004, PLC0415

    text = str(error)
    status, code = STATUS_CODE.search(text), ERROR_CODE.search(text)
    number, name = int(status[1]) if status else 0, code[1] if code else type(error).__name__
    if response := getattr(error, "response", None):
        number, name = response["ResponseMetadata"].get("HTTPStatusCode", 0), response["Error"]["Code"]
    if number in (401, 403) and name not in BAD_CREDENTIALS:
        return PermissionError(errno.EACCES, os.strerror(errno.EACCES), location)
    if number == 404 and name != "NoSuchBucket":
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), location)
    is_network_error = isinstance(error, ConnectionError | HTTPClientError)
    if isinstance(error, BaseError):
        is_network_error = NETWORK_ERROR in text
    is_transient = (
        (number >= 500 and number != 501) or number == 429 or name in TRANSIENT_CODES or is_network_error
    )
    kind = TransientError if is_transient else OSError
    return kind(errno.EIO, f"S3 failed with {name}, status {number or 'unknown'}", location)


def retry(call: Callable[[], Result], location: str) -> Result:
    """Call obstore or boto3 for one object, and retry transient failures within ``RETRY_POLICY.seconds``.

    The longest pause doubles each time, and each pause is drawn between half of it and all of it, so that
    workers that failed together do not retry together.

    Raises
    ------
    AlreadyExistsError, PreconditionError
        As obstore raises them, if a conditional request was not met.
    OSError
        Everything else, as :func:`system_error` translates it.
    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    fault: OSError
    end, longest = RETRY_POLICY.clock() + RETRY_POLICY.seconds, FIRST_WAIT_SECONDS
    while True:
        try:
            return call()
        except TransientError as error:
            fault = error
        except (BaseError, FileNotFoundError, BotoCoreError, ClientError) as error:
            fault = system_error(error, location)
            if isinstance(error, CONDITION_ERRORS) and not isinstance(fault, TransientError):
                raise
        pause = _random.uniform(longest / 2, longest)
        if not isinstance(fault, TransientError) or RETRY_POLICY.clock() + pause > end:
            raise fault
        RETRY_POLICY.wait(pause)
        longest = min(2 * longest, LONGEST_WAIT_SECONDS)


def listing_error(location: str, error: "ClientError") -> JobError:
    """Explain why a location could not be listed."""
    code = error.response["Error"]["Code"]
    if code == "NoSuchBucket":
        return UsageError(f"there is no bucket for {location}: check the name")
    if code in BAD_CREDENTIALS:
        return UsageError(f"{location} may not be listed: S3 does not accept the credentials ({code})")
    if error.response["ResponseMetadata"].get("HTTPStatusCode") == 403:
        return UsageError(f"{location} may not be listed: these credentials lack s3:ListBucket on it")
    return JobError(f"{location} could not be listed: S3 answers {code}")


def connection_error(what: str, error: Exception) -> JobError:
    """Explain why a request did not reach S3.

    Only the error's name is shown: its text can quote a credential process or an endpoint's password.
    """
    name = type(error).__name__
    if are_credentials_missing(error):
        return UsageError(f"no AWS credentials for {what} ({name}): set AWS_PROFILE or log in")
    return JobError(f"S3 could not be asked about {what} ({name}): check the network and AWS_ENDPOINT_URL")


def are_credentials_missing(error: Exception) -> bool:
    """Tell whether an error of botocore says that credentials are missing, incomplete or expired."""
    return any(part in type(error).__name__ for part in CREDENTIAL_ERRORS)


def _timestamp(text: Any) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):  # a form used by HTTP headers and other services
        from botocore.utils import parse_timestamp  # noqa: PLC0415

        return parse_timestamp(text)
