"""Below ``s3``: boto3's sessions, where a bucket is, new tries, and S3's errors in a file system's words.

No word of S3's answer gets into an error but its status and its code: the answer to a bad token holds the
token.
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

# boto3's own tries of what is not about one object, with waits of up to 20 s.
RETRIES: Final = 8
CONNECT_SECONDS: Final = 5.0
# Without a byte. S3 begins to answer within some 0.2 s; a read that stalls holds up those behind it, and a
# new one mostly succeeds. A write's time counts from its beginning: a slow line needs some for a table.
READ_SECONDS: Final = 10.0
WRITE_SECONDS: Final = 30.0
# A page of a listing can take S3 long, where much was deleted.
LISTING_SECONDS: Final = 30.0
# Where S3 is asked for a bucket's region if the session has none: botocore would ask in the United States.
DEFAULT_REGION: Final = "eu-west-1"
STATUS_CODE: Final = re.compile(r"status code: (\d{3})")
ERROR_CODE: Final = re.compile(r"<Code>(\w+)</Code>")
# With these every request is refused: it says nothing about the object that was asked for.
BAD_CREDENTIALS: Final = (
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
)
# What may pass although its status is not 5xx; as S3 names them, in an answer or in one that deletes many.
TRANSIENT_CODES: Final = (
    "ConditionalRequestConflict",
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
)
# How obstore's errors name the line: a connection refused or reset, an answer cut, late or not coming.
NETWORK_ERROR: Final = "HTTP error: "
# Answers to a condition, not failures; but for 409, with which S3 asks to try again.
CONDITION_ERRORS: Final = (AlreadyExistsError, PreconditionError)
# Parts of the names of botocore's errors for credentials that are missing, incomplete or out of date.
CREDENTIAL_ERRORS: Final = ("Credential", "Token", "SSO", "Login")
# Seconds before the second try of what is about one object, and the most before a later one.
FIRST_WAIT_SECONDS: Final = 0.2
LONGEST_WAIT_SECONDS: Final = 10.0
# Workers are forks of one process: a generator that is seeded once would make them all wait the same times.
_random: Final = random.SystemRandom()


class TransientError(OSError):
    """Something has failed in a way that may pass: what was asked may be done or not."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """No try of what is about one object begins later than so many seconds after the first."""

    seconds: float = 60  # S3 needs time to grow with a load it slows down
    wait: Callable[[float], object] = time.sleep
    clock: Callable[[], float] = time.monotonic


RETRY_POLICY: Final = RetryPolicy()


@cache
def session() -> "Session":
    """Return this process's boto3 session; the second client it makes costs 7 ms instead of 120.

    It reads the times in a listing in its own way: that is most of what botocore would do there.

    Raises
    ------
    UsageError
        If the AWS configuration names a profile that does not exist, or cannot be read.
    """
    # Imported here: boto3 costs a worker 30 MB, and one that reads folders never needs it.
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
    """Return a boto3 client, which tries again so often, or as the user has configured."""
    from botocore.config import Config  # noqa: PLC0415

    tries: Any = None if retries is None else {"mode": "standard", "total_max_attempts": retries + 1}
    config = Config(
        retries=tries, connect_timeout=CONNECT_SECONDS, read_timeout=LISTING_SECONDS, max_pool_connections=32
    )
    made: S3Client = session().client("s3", region_name=region, config=config)
    return made


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

    answer: Any
    try:
        answer = client(session().region_name or DEFAULT_REGION).head_bucket(Bucket=bucket)[
            "ResponseMetadata"
        ]
    except ClientError as error:
        answer = error.response["ResponseMetadata"]
    except (BotoCoreError, ValueError) as error:
        raise connection_error(f"bucket {bucket!r}", error) from None
    status = answer.get("HTTPStatusCode")
    if status == 404:
        raise UsageError(f"there is no bucket {bucket!r}: check the name")
    region = answer.get("HTTPHeaders", {}).get("x-amz-bucket-region")
    if not region:
        raise JobError(f"S3 does not say where bucket {bucket!r} is (status {status}): check the credentials")
    return str(region)


def system_error(error: Exception, location: str) -> OSError:
    """Translate an error of obstore or boto3 about one object.

    Returns
    -------
    OSError
        FileNotFoundError or PermissionError if the object is missing or may not be read; otherwise one with
        ``EIO``: S3, the line or the credentials are at fault then, not the object. It is a TransientError if
        that may pass.
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
    of_the_line = isinstance(error, ConnectionError | HTTPClientError)
    if isinstance(error, BaseError):
        of_the_line = NETWORK_ERROR in text
    passing = (number >= 500 and number != 501) or number == 429 or name in TRANSIENT_CODES or of_the_line
    kind = TransientError if passing else OSError
    return kind(errno.EIO, f"S3 failed with {name}, status {number or 'unknown'}", location)


def retry(call: Callable[[], Result], location: str) -> Result:
    """Return what a call of obstore or boto3 about one object returns, tried again while its fault may pass.

    Waits double, and each is drawn between a half and all of that, so that many workers that failed together
    do not come back together.

    Raises
    ------
    AlreadyExistsError, PreconditionError
        As obstore raises them: they are answers to a condition.
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
    """Say why a location could not be listed."""
    code = error.response["Error"]["Code"]
    if code == "NoSuchBucket":
        return UsageError(f"there is no bucket for {location}: check the name")
    if code in BAD_CREDENTIALS:
        return UsageError(f"{location} may not be listed: S3 does not accept the credentials ({code})")
    if error.response["ResponseMetadata"].get("HTTPStatusCode") == 403:
        return UsageError(f"{location} may not be listed: these credentials lack s3:ListBucket on it")
    return JobError(f"{location} could not be listed: S3 answers {code}")


def connection_error(what: str, error: Exception) -> JobError:
    """Say why S3 could not be asked at all."""
    # The name alone: the text can quote what a credential process printed, or an endpoint with a password.
    name = type(error).__name__
    if any(part in name for part in CREDENTIAL_ERRORS):
        return UsageError(f"no AWS credentials for {what} ({name}): set AWS_PROFILE or log in")
    return JobError(f"S3 could not be asked about {what} ({name}): check the network and AWS_ENDPOINT_URL")


def _timestamp(text: Any) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):  # the forms that HTTP headers and other services use
        from botocore.utils import parse_timestamp  # noqa: PLC0415

        return parse_timestamp(text)
