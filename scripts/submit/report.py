"""Fetches the report of a completed run from its output in S3 into a file on this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from job.cli.settings import Settings, parse_settings
from job.errors import UsageError
from job.storage import store
from job.storage.s3 import split
from scripts.cloud.aws_session import RETRIES
from scripts.cloud.run_outcome import FINAL
from scripts.submit import lookups

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from scripts.submit.submitter import Submitter

REPORT: Final = "report.html"
NO_REPORT: Final = "--no-report"


def fetch(submitter: "Submitter", run: dict[str, Any], file: Path | None) -> None:
    """Write a run's report to a file, by default ``report-<name>.html`` here, and print where it is.

    An output has one report. If a later run or command has made it again, that is printed too.

    Raises
    ------
    UsageError
        If the run has not ended, has failed or made no report, or if the file cannot be written.
    ResidencyError
        If the output's bucket is outside the regions that the run accepted.
    """
    name, settings = submitter.name(run), _settings(submitter, run)
    location = store.join(settings.output, REPORT)
    bucket, key = split(location)
    s3: S3Client = submitter.session.client("s3", config=RETRIES)
    lookups.check_buckets(s3, [bucket], settings.regions)
    try:
        report = s3.get_object(Bucket=bucket, Key=key)
    except s3.exceptions.NoSuchKey:
        raise UsageError(f"run {name} has no report: there is no {location}") from None
    page, made_at = report["Body"].read(), report["LastModified"]
    path = (file or Path(f"report-{name}.html")).absolute()
    try:
        path.write_bytes(page)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    text = f"the report of run {name} is in {path}; open it in a browser: {path.as_uri()}"
    if "finishedAt" in run and made_at > run["finishedAt"]:
        text += f"\na later command on {settings.output} made it again, at {made_at:%Y-%m-%d %H:%M} UTC"
    submitter.display.print_note(text, run=run["id"], source=location, file=str(path))


def _settings(submitter: "Submitter", run: dict[str, Any]) -> Settings:
    """Return the job's settings of a run; refuse a run that can have no report."""
    name, state = submitter.name(run), run["state"]
    if state not in FINAL:
        raise UsageError(f"run {name} has not ended, {state}: {submitter.follow_command(run)}")
    if state != "COMPLETED":
        raise UsageError(f"run {name} has no report: it ended {state}")
    details = submitter.emr.describe_job_run(virtualClusterId=submitter.virtual_cluster, id=run["id"])
    driver = details["jobRun"]["jobDriver"].get("sparkSubmitJobDriver", {})
    arguments = driver.get("entryPointArguments", [])
    if NO_REPORT in arguments:
        raise UsageError(f"run {name} has no report: it was started with {NO_REPORT}")
    try:
        return parse_settings(arguments, {})
    except UsageError as error:
        raise UsageError(f"run {name} has arguments that this version does not know: {error}") from None
