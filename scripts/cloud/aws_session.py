"""AWS for the commands: sessions inside the EU, and AWS's refusals as sentences.

Exit codes: those of the job, and 5 for a cancelled run, 6 where AWS refused or did not answer.
"""

import os
from pathlib import Path
from typing import Final

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    ProfileNotFound,
)
from botocore.parsers import ResponseParserError

from job.errors import JobError, ResidencyError, UsageError
from job.storage.residency import EU_REGIONS
from job.storage.s3_errors import are_credentials_missing

ROOT: Final = Path(__file__).resolve().parents[2]
RELEASE_FILE: Final = ROOT / "docker" / "release.env"
# botocore retries throttled requests and broken connections, after ever longer pauses.
RETRIES: Final = Config(
    retries={"mode": "standard", "total_max_attempts": 6}, connect_timeout=5, read_timeout=30
)
EXPIRED: Final = ("ExpiredToken", "ExpiredTokenException", "RequestExpired")
BAD_CREDENTIALS: Final = (
    "AuthFailure",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
)


class AwsRefusedError(JobError):
    """AWS refused, or could not be asked."""

    exit_code = 6


class CancelledError(JobError):
    """The run was cancelled."""

    exit_code = 5


def release_value(name: str) -> str:
    """Return a value of docker/release.env."""
    lines = RELEASE_FILE.read_text().splitlines()
    return next(line.partition("=")[2] for line in lines if line.startswith(f"{name}="))


def session(profile: str | None, region: str) -> boto3.Session:
    """Return a session in a region of the EU.

    Raises
    ------
    ResidencyError
        If the region is outside the EU.
    """
    if region not in EU_REGIONS:
        raise ResidencyError(f"region {region} is not one of the EU's: {', '.join(EU_REGIONS)}")
    return boto3.Session(profile_name=profile, region_name=region)


def variables(profile: str | None) -> dict[str, str]:
    """Return a profile's credentials and region as environment variables.

    Raises
    ------
    BotoCoreError, ClientError
        If there are none, or they have expired.
    """
    chosen = boto3.Session(profile_name=profile)
    credentials = chosen.get_credentials()
    keys = credentials.get_frozen_credentials() if credentials else None
    if keys is None or not keys.access_key:
        raise NoCredentialsError
    values = {
        "AWS_ACCESS_KEY_ID": keys.access_key,
        "AWS_SECRET_ACCESS_KEY": keys.secret_key,
        "AWS_SESSION_TOKEN": keys.token,
        "AWS_REGION": chosen.region_name,
    }
    return {name: value for name, value in values.items() if value}


def default_region() -> str:
    """Return the region that the environment names, or else that of docker/release.env."""
    names = ("AWS_REGION", "AWS_DEFAULT_REGION")
    regions = (os.environ[name] for name in names if os.environ.get(name))
    return next(regions, release_value("AWS_REGION"))


def user_error(error: Exception) -> JobError | None:
    """Return an error of boto3 as one that a user can mend; None if the code is at fault."""
    if isinstance(error, ClientError | BotoCoreError):
        return aws_refusal(error)
    if isinstance(error, ResponseParserError):
        return AwsRefusedError("AWS's answer cannot be read: look whether a proxy is in the way")
    if isinstance(error, ValueError) and "endpoint" in str(error).lower():
        return UsageError("AWS_ENDPOINT_URL is no URL")
    return None


def aws_refusal(error: ClientError | BotoCoreError) -> AwsRefusedError:
    """Explain in one sentence why AWS did not fulfil a request."""
    if isinstance(error, ClientError):
        return AwsRefusedError(_client_error_sentence(error))
    if isinstance(error, ProfileNotFound):
        return AwsRefusedError(f"there is no AWS profile {error.kwargs['profile']}: look at ~/.aws/config")
    # Of other errors only the name is shown: their text can quote the output of a credential process.
    name = type(error).__name__
    if name in ("ConfigParseError", "ConfigNotFound"):
        return AwsRefusedError(f"the AWS configuration cannot be read ({name}): look at ~/.aws/config")
    if are_credentials_missing(error):
        return AwsRefusedError(f"no AWS credentials ({name}): log in, or name a profile with --profile")
    return AwsRefusedError(f"AWS could not be asked ({name}): look at the network")


def _client_error_sentence(error: ClientError) -> str:
    details, operation = error.response["Error"], error.operation_name
    code = details.get("Code", "an unknown error")
    if code in EXPIRED:
        return f"AWS says that the credentials have expired ({operation}): log in again"
    if code in BAD_CREDENTIALS:
        return f"AWS does not accept the credentials ({operation}: {code}): log in again"
    if "AccessDenied" in code or "Unauthorized" in code or code == "403":
        return f"these credentials may not {operation}: ask an administrator for that right"
    if "Throttl" in code or "TooManyRequests" in code:
        return f"AWS throttled {operation} six times: wait a minute, then try again"
    message = " ".join(details.get("Message", "").split())[:300] or "without a reason"
    return f"AWS refuses {operation} ({code}): {message}"


def is_network(error: BaseException) -> bool:
    """Tell whether an error comes from the network or is temporary at AWS, so that a retry may help."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= 500 or "Throttl" in error.response["Error"].get("Code", "")
    return isinstance(error, HTTPClientError)
