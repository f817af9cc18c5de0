"""boto3's side of ``s3``: its sessions, and its errors in the words of a file system or of a person.

No word of S3's answer gets into an error but its status and its code: the answer to a bad token holds the
token. Only ``s3`` imports this.
"""

import errno
import os
import re
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from job.errors import JobError, UsageError

if TYPE_CHECKING:
    from boto3 import Session
    from botocore.exceptions import ClientError

STATUS: Final = re.compile(r"status code: (\d{3})")
CODE: Final = re.compile(r"<Code>(\w+)</Code>")
# With these every request is refused: it says nothing about the object that was asked for.
BAD_CREDENTIALS: Final = (
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
)
# Parts of the names of botocore's errors for credentials that are missing, incomplete or out of date.
NO_CREDENTIALS: Final = ("Credential", "Token", "SSO", "Login")


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
        core.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_moment)
        return boto3.Session(botocore_session=core)
    except BotoCoreError as error:
        raise UsageError(f"the AWS configuration cannot be used: {error}") from None


def system_error(error: Exception, location: str) -> OSError:
    """Translate an error of obstore or boto3 about one object.

    Returns
    -------
    OSError
        FileNotFoundError or PermissionError if the object is missing or may not be read; otherwise one with
        ``EIO``: S3, the line or the credentials are at fault then, not the object.
    """
    text = str(error)
    status, code = STATUS.search(text), CODE.search(text)
    number, name = int(status[1]) if status else 0, code[1] if code else type(error).__name__
    if response := getattr(error, "response", None):
        number, name = response["ResponseMetadata"].get("HTTPStatusCode", 0), response["Error"]["Code"]
    if number in (401, 403) and name not in BAD_CREDENTIALS:
        return PermissionError(errno.EACCES, os.strerror(errno.EACCES), location)
    if number == 404 and name != "NoSuchBucket":
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), location)
    return OSError(errno.EIO, f"S3 failed with {name}, status {number or 'unknown'}", location)


def unlisted(location: str, error: "ClientError") -> JobError:
    """Say why a location could not be listed."""
    code = error.response["Error"]["Code"]
    if code == "NoSuchBucket":
        return UsageError(f"there is no bucket for {location}: check the name")
    if code in BAD_CREDENTIALS:
        return UsageError(f"{location} may not be listed: S3 does not accept the credentials ({code})")
    if error.response["ResponseMetadata"].get("HTTPStatusCode") == 403:
        return UsageError(f"{location} may not be listed: these credentials lack s3:ListBucket on it")
    return JobError(f"{location} could not be listed: S3 answers {code}")


def unasked(what: str, error: Exception) -> JobError:
    """Say why S3 could not be asked at all."""
    # The name alone: the text can quote what a credential process printed, or an endpoint with a password.
    name = type(error).__name__
    if any(part in name for part in NO_CREDENTIALS):
        return UsageError(f"no AWS credentials for {what} ({name}): set AWS_PROFILE or log in")
    return JobError(f"S3 could not be asked about {what} ({name}): check the network and AWS_ENDPOINT_URL")


def _moment(text: Any) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):  # the forms that HTTP headers and other services use
        from botocore.utils import parse_timestamp  # noqa: PLC0415

        return parse_timestamp(text)
