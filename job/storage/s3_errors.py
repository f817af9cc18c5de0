"""Errors of S3 and of the way to it, translated into the job's errors and Python's own.

Errors quote only the status and code of S3's response: its text can contain a rejected security token.
"""

import errno
import os
import re
from typing import TYPE_CHECKING, Final

from obstore.exceptions import BaseError

from job.errors import JobError, UsageError

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

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
ARCHIVED: Final = "InvalidObjectState"  # Glacier, or an archive tier of Intelligent-Tiering
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
# Parts of the names of botocore's errors for credentials that are missing, incomplete or expired.
CREDENTIAL_ERRORS: Final = ("Credential", "Token", "SSO", "Login", "Profile")


class TransientError(OSError):
    """A failure that a retry may overcome; the request may have been carried out or not."""


class ArchivedError(PermissionError):
    """An object lies in an archive of S3, and must be restored before it can be read."""


def system_error(error: Exception, location: str) -> OSError:
    """Translate an error of obstore or boto3 about one object.

    Returns
    -------
    OSError
        FileNotFoundError or PermissionError if the object is missing or may not be read, ArchivedError if it
        must be restored. Otherwise the fault is S3's, the network's or the credentials': ``EIO``, as a
        TransientError if a retry may help.
    """
    from botocore.exceptions import ConnectionError, HTTPClientError  # noqa: A004, PLC0415

    text = str(error)
    status, code = STATUS_CODE.search(text), ERROR_CODE.search(text)
    number, name = int(status[1]) if status else 0, code[1] if code else type(error).__name__
    if response := getattr(error, "response", None):
        number, name = response["ResponseMetadata"].get("HTTPStatusCode", 0), response["Error"]["Code"]
    if name == ARCHIVED:
        return ArchivedError(errno.EACCES, "it is archived by S3: restore it first", location)
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
