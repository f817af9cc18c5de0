"""AWS for cluster.sh and submit.sh: sessions inside the EU, and AWS's refusals as one sentence.

Exit codes: those of the job, and 5 for a run that was cancelled, 6 where AWS refused or did not answer.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.parsers import ResponseParserError

from job.errors import JobError, ResidencyError, UsageError
from job.storage.residency import EU_REGIONS
from job.storage.s3_errors import are_credentials_missing

ROOT: Final = Path(__file__).resolve().parents[2]
RELEASE: Final = ROOT / "docker" / "release.env"
# Throttling and broken connections are tried again by botocore, each time after a longer pause.
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


class RunFailedError(JobError):
    """The run failed; the sentence says why, as far as AWS and the driver do."""


class Hangup(KeyboardInterrupt):
    """The terminal was closed, or the process is to end: nobody can be asked."""


@contextmanager
def hanging_up() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the work as Ctrl-C does, so that it can say how to go on."""

    def hang_up(sign: int, frame: FrameType | None) -> NoReturn:
        del sign, frame
        raise Hangup

    before = [(sign, signal.signal(sign, hang_up)) for sign in (signal.SIGTERM, signal.SIGHUP)]
    try:
        yield
    finally:
        for sign, handler in before:
            signal.signal(sign, handler)


def release(name: str) -> str:
    """Return a value of docker/release.env."""
    lines = RELEASE.read_text().splitlines()
    return next(line.partition("=")[2] for line in lines if line.startswith(f"{name}="))


def session(profile: str | None, region: str) -> boto3.Session:
    """Return a session in a region of the EU.

    Raises
    ------
    ResidencyError
        If the region is another one.
    """
    if region not in EU_REGIONS:
        raise ResidencyError(f"region {region} is not one of the EU's: {', '.join(EU_REGIONS)}")
    return boto3.Session(profile_name=profile, region_name=region)


def default_region() -> str:
    """Return the region of the environment, else that of docker/release.env."""
    names = ("AWS_REGION", "AWS_DEFAULT_REGION")
    return next((os.environ[name] for name in names if os.environ.get(name)), release("AWS_REGION"))


def answer(work: Callable[[], int]) -> int:
    """Do a command's work and return its exit code; what a user can mend is one sentence on stderr."""
    try:
        return work()
    except JobError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except (ClientError, BotoCoreError) as error:
        refused = explained(error)
        print(f"error: {refused}", file=sys.stderr)
        return refused.exit_code
    except ResponseParserError:
        print("error: AWS's answer cannot be read: look whether a proxy is in the way", file=sys.stderr)
        return AwsRefusedError.exit_code
    except ValueError as error:
        if "endpoint" not in str(error).lower():
            raise
        print("error: AWS_ENDPOINT_URL is no URL", file=sys.stderr)
        return UsageError.exit_code
    except BrokenPipeError:  # the reader of our output has gone
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 (Python flushes it at its end)
        return 1


def explained(error: ClientError | BotoCoreError) -> AwsRefusedError:
    """Say in one sentence why AWS did not do what it was asked."""
    if isinstance(error, ClientError):
        return AwsRefusedError(_refusal(error))
    # The name alone: the text can quote what a credential process printed.
    name = type(error).__name__
    if name in ("ConfigParseError", "ConfigNotFound"):
        return AwsRefusedError(f"the AWS configuration cannot be read ({name}): look at ~/.aws/config")
    if are_credentials_missing(error):
        return AwsRefusedError(f"no AWS credentials ({name}): log in, or name a profile with --profile")
    return AwsRefusedError(f"AWS could not be asked ({name}): look at the network")


def _refusal(error: ClientError) -> str:
    said: Any = error.response["Error"]
    code, what = said.get("Code", "an unknown error"), error.operation_name
    if code in EXPIRED:
        return f"AWS says that the credentials have expired ({what}): log in again"
    if code in BAD_CREDENTIALS:
        return f"AWS does not accept the credentials ({what}: {code}): log in again"
    if "AccessDenied" in code or "Unauthorized" in code or code == "403":
        return f"these credentials may not {what}: ask an administrator for that right"
    if "Throttl" in code or "TooManyRequests" in code:
        return f"AWS throttled {what} six times: wait a minute, then try again"
    return f"AWS refuses {what} ({code}): {_one_line(said.get('Message', ''))}"


def is_network(error: BaseException) -> bool:
    """Tell whether an error is of the network or temporary at AWS, so that a retry may help."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= 500 or "Throttl" in error.response["Error"].get("Code", "")
    return isinstance(error, HTTPClientError)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300] or "without a reason"
