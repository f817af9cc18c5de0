"""submit.sh report: the report of a completed run comes into a file here, or one sentence says why not."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest

from job.table import layout
from scripts.image import run as image_run
from scripts.submit.report import REPORT
from tests.support.aws_emulator import Answer
from tests.support.checked.requests import calls
from tests.support.cloud_stage import CloudStage

PAGE = b"<!doctype html><title>monday</title>"
DENIED = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"


@pytest.fixture(autouse=True)
def folder(dev_stage: CloudStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder, which is the current one."""
    del dev_stage  # which reads files of the checkout
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def complete(dev_stage: CloudStage, *job_arguments: str, finished: datetime | None = None) -> None:
    """Start the run monday and let it be completed."""
    assert dev_stage.submit("--run-id", "monday", "--detach", "--", *job_arguments) == 0
    run = dev_stage.cloud.runs()[-1]
    run.state, run.finished_at = "COMPLETED", finished or datetime.now(UTC) + timedelta(minutes=1)


def put_report(bucket: str, prefix: str = "results/fruits") -> None:
    boto3.client("s3").put_object(Bucket=bucket, Key=f"{prefix}/{REPORT}", Body=PAGE)


def refusal(dev_stage: CloudStage, capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> str:
    """Ask for a report in vain, and return the one sentence."""
    capsys.readouterr()
    assert dev_stage.submit("report", *(arguments or ("monday",))) == code
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1
    assert not list(Path.cwd().iterdir())
    return shown.err


def test_the_report_is_fetched_and_it_is_said_how_to_open_it(
    dev_stage: CloudStage, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    complete(dev_stage)
    put_report(dev_stage.outputs["ResultsBucket"])
    capsys.readouterr()
    assert dev_stage.submit("report", "monday") == 0
    file = folder / "report-monday.html"
    assert file.read_bytes() == PAGE
    sentence = f"the report of run monday is in {file}; open it in a browser: file://{file}\n"
    assert capsys.readouterr().out == sentence
    assert [call.operation for call in calls(tmp_path / "api-calls")][-2:] == ["HeadBucket", "GetObject"]


def test_it_comes_from_the_output_of_the_run_into_the_file_that_is_named(
    dev_stage: CloudStage, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    location = {"LocationConstraint": "eu-west-3"}
    s3 = boto3.client("s3", region_name="eu-west-3")
    s3.create_bucket(Bucket="elsewhere", CreateBucketConfiguration=location)
    complete(dev_stage, "--output=s3a://elsewhere/of/mine/")
    put_report("elsewhere", "of/mine")
    capsys.readouterr()
    identifier = dev_stage.cloud.runs()[-1].id
    assert dev_stage.submit("report", identifier, "--to", "mine.html", "--json") == 0
    assert (folder / "mine.html").read_bytes() == PAGE
    note = json.loads(capsys.readouterr().out)
    assert note["source"] == f"s3://elsewhere/of/mine/{REPORT}"
    assert (note["run"], note["file"]) == (identifier, str(folder / "mine.html"))


def test_a_report_that_was_made_after_the_run_is_told_apart(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]
) -> None:
    complete(dev_stage, finished=datetime.now(UTC) - timedelta(hours=1))
    put_report(dev_stage.outputs["ResultsBucket"])
    assert dev_stage.submit("report", "monday") == 0
    location = f"s3://{dev_stage.outputs['ResultsBucket']}/results/fruits"
    assert f"a later command on {location} made it again, at 20" in capsys.readouterr().out


def test_an_unknown_run_is_refused_with_2(dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no run nobody on virtual cluster" in refusal(dev_stage, capsys, 2, "nobody")


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ("RUNNING", "run monday has not ended, RUNNING: ./scripts/submit.sh follow monday"),
        ("CANCEL_PENDING", "run monday has not ended"),
        ("FAILED", "run monday has no report: it ended FAILED"),
        ("CANCELLED", "run monday has no report: it ended CANCELLED"),
    ],
)
def test_a_run_that_is_not_completed_is_refused_with_2(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str], state: str, sentence: str
) -> None:
    complete(dev_stage)
    put_report(dev_stage.outputs["ResultsBucket"])  # of an earlier run
    dev_stage.cloud.runs()[-1].state = state
    assert sentence in refusal(dev_stage, capsys, 2)


def test_an_output_without_a_report_is_refused_with_2(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]
) -> None:
    complete(dev_stage)
    location = f"s3://{dev_stage.outputs['ResultsBucket']}/results/fruits/{REPORT}"
    sentence = f"error: run monday has no report: there is no {location}\n"
    assert refusal(dev_stage, capsys, 2) == sentence


def test_a_run_that_was_to_make_no_report_is_refused_with_2(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]
) -> None:
    complete(dev_stage)
    put_report(dev_stage.outputs["ResultsBucket"])  # of an earlier run
    driver = dev_stage.cloud.runs()[-1].job_driver["sparkSubmitJobDriver"]
    driver["entryPointArguments"].append("--no-report")
    sentence = "error: run monday has no report: it was started with --no-report\n"
    assert refusal(dev_stage, capsys, 2) == sentence


def test_a_run_with_other_arguments_than_the_jobs_is_refused_with_2(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]
) -> None:
    complete(dev_stage)
    driver = dev_stage.cloud.runs()[-1].job_driver["sparkSubmitJobDriver"]
    driver["entryPointArguments"] = ["--colour", "red"]
    message = "run monday has arguments that this version does not know: unknown argument '--colour red'"
    assert message in refusal(dev_stage, capsys, 2)


def test_a_report_that_may_not_be_read_is_refused_with_6(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]
) -> None:
    complete(dev_stage)
    put_report(dev_stage.outputs["ResultsBucket"])
    answer = Answer(403, DENIED, (("Content-Type", "application/xml"),))
    dev_stage.cloud.rules.append(lambda request: answer if request.path.endswith(REPORT) else None)
    assert refusal(dev_stage, capsys, 6) == (
        "error: these credentials may not GetObject: ask an administrator for that right\n"
    )


def test_a_bucket_outside_the_regions_of_the_run_is_refused_with_4(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    complete(dev_stage)
    driver = dev_stage.cloud.runs()[-1].job_driver["sparkSubmitJobDriver"]
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="far-away")
    put_report("far-away", "x")
    driver["entryPointArguments"] += ["--output", "s3://far-away/x"]
    before = len(calls(tmp_path / "api-calls"))
    assert "bucket 'far-away' is in us-east-1" in refusal(dev_stage, capsys, 4)
    assert "GetObject" not in [call.operation for call in calls(tmp_path / "api-calls")[before:]]


def test_a_file_that_cannot_be_written_is_refused_with_2(
    dev_stage: CloudStage, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    complete(dev_stage)
    put_report(dev_stage.outputs["ResultsBucket"])
    sentence = refusal(dev_stage, capsys, 2, "monday", "--to", "none/such.html")
    assert sentence == f"error: {folder}/none/such.html cannot be written: No such file or directory\n"


def test_the_name_of_the_report_is_the_jobs_own() -> None:
    assert {REPORT, image_run.REPORT} == {layout.REPORT}
