"""submit.sh against an emulator of AWS: runs that are started, followed, listed and cancelled."""

import json
import os
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from scripts.submit import __main__ as submit
from tests.support.aws_emulator import Request
from tests.support.checked.requests import calls
from tests.support.cloud_stage import CloudStage, line

ROOT = Path(__file__).parents[3]
SUMMARY: dict[str, Any] = {
    "run_id": "monday",
    "record": "runs/monday.2.json",  # of a driver that was started again
    "output": "s3://results/fruits",
    "counts": {"listed": 1570, "unchanged": 10, "featurized": 1558, "rejected": 2, "reasons": {"empty": 2}},
    "model": {"model_id": "pca-70", "components": 70, "variance_kept": 0.9502, "rank": 1280},
    "photos_per_second": 161.4,
    "cores": 8,
}


def is_start(request: Request) -> bool:
    return request.method == "POST" and request.path.endswith("/jobruns")


def schedule_states(dev_stage: CloudStage, *states: str, **last: Any) -> None:
    """Let a run go through states, one each time it is described; ``last`` are fields of the last state."""
    dev_stage.cloud.states.extend({"state": state} for state in states[:-1])
    dev_stage.cloud.states.append({"state": states[-1], **last})


def test_a_run_is_followed_from_nothing_to_its_end(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]
) -> None:
    dev_stage.cloud.states += [
        {"state": "PENDING"},
        {"state": "PENDING"},
        {"state": "SUBMITTED"},
        {
            "state": "RUNNING",
            "then": lambda: dev_stage.log("monday", line("run_started", "run monday"), "not ours"),
        },
        {"state": "RUNNING"},
        {"state": "COMPLETED", "then": lambda: dev_stage.log("monday", {**line("summary", ""), **SUMMARY})},
    ]
    assert dev_stage.submit("--run-id", "monday") == 0
    shown = capsys.readouterr()
    states = [words[1] for words in map(str.split, shown.out.splitlines()) if "after" in words]
    assert states == ["PENDING", "SUBMITTED", "RUNNING", "COMPLETED"]
    assert "run monday" in shown.out
    assert "not ours" not in shown.out
    assert "1,570 listed, 10 unchanged, 1,558 featurized, 2 rejected" in shown.out
    assert "161  (on 8 cores)" in shown.out
    assert "s3://results/fruits/runs/monday.2.json" in shown.out
    assert "about 0.0" in shown.out
    assert dev_stage.image in shown.err
    assert set(dev_stage.waited) == {5.0}
    assert len(dev_stage.cloud.runs()) == 1


def test_a_run_with_nothing_new_ends_like_any_other(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = {**line("summary", ""), **SUMMARY, "photos_per_second": None, "cores": None}
    dev_stage.cloud.states.append({"state": "COMPLETED", "then": lambda: dev_stage.log("monday", summary)})
    assert dev_stage.submit("--run-id", "monday") == 0
    assert "photos/second  none was read" in capsys.readouterr().out


@pytest.mark.parametrize("report", ["report.html", None])
def test_a_run_says_where_its_report_is_if_it_made_one(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str], report: str | None
) -> None:
    summary = {**line("summary", ""), **SUMMARY, "report": report}
    dev_stage.cloud.states.append({"state": "COMPLETED", "then": lambda: dev_stage.log("monday", summary)})
    assert dev_stage.submit("--run-id", "monday") == 0
    shown = capsys.readouterr().out
    place = "report         s3://results/fruits/report.html  (./scripts/submit.sh report monday fetches it)\n"
    assert shown.endswith(place) if report else "report" not in shown


def test_what_is_sent_is_what_was_asked_for(dev_stage: CloudStage, tmp_path: Path) -> None:
    job_arguments = ("--input", f"s3://{dev_stage.outputs['PhotosBucket']}/photos/2026", "--variance", "0.9")
    assert dev_stage.submit("--run-id", "monday", "--size", "medium", "--detach", "--", *job_arguments) == 0
    request = next(call.request for call in calls(tmp_path / "api-calls") if call.operation == "StartJobRun")
    driver = request["jobDriver"]["sparkSubmitJobDriver"]
    assert driver["entryPointArguments"] == [
        *job_arguments, "--output", f"s3://{dev_stage.outputs['ResultsBucket']}/results/fruits",
        "--run-id", "monday", "--log-format", "json",
    ]  # fmt: skip
    assert f"spark.kubernetes.container.image={dev_stage.image}" in driver["sparkSubmitParameters"]
    assert "spark.dynamicAllocation.maxExecutors=10" in driver["sparkSubmitParameters"]
    assert request["executionRoleArn"] == dev_stage.outputs["ExecutionRoleArn"]
    assert request["tags"] == {"project": "fruits", "stage": "dev", "size": "medium"}
    monitoring = request["configurationOverrides"]["monitoringConfiguration"]
    assert monitoring["cloudWatchMonitoringConfiguration"]["logGroupName"] == dev_stage.outputs["LogGroup"]
    s3 = boto3.client("s3")
    for role in ("driver", "executor"):
        key = f"submissions/monday/{role}-pod.yaml"
        pod = yaml.safe_load(s3.get_object(Bucket=dev_stage.outputs["ResultsBucket"], Key=key)["Body"].read())
        assert pod["metadata"]["labels"]["fruits/run"] == "monday"
        assert f"s3://{dev_stage.outputs['ResultsBucket']}/{key}" in driver["sparkSubmitParameters"]


def test_a_failed_run_says_why_and_what_to_do(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]
) -> None:
    error = "java.lang.OutOfMemoryError: Java heap space"
    schedule_states(
        dev_stage, "RUNNING", "FAILED", failure_reason="USER_ERROR", state_details="exit code 137",
        then=lambda: dev_stage.log("monday", error, kind="stderr"),
    )  # fmt: skip
    assert dev_stage.submit("--run-id", "monday") == 1
    shown = capsys.readouterr()
    assert "error: run monday failed: USER_ERROR: exit code 137" in shown.err
    assert "what to do: a container ran out of memory" in shown.err
    assert "  | java.lang.OutOfMemoryError" in shown.err


@pytest.mark.parametrize(
    ("code", "reason"), [(3, "20 of 100 photos were rejected"), (4, "bucket is in London")]
)
def test_the_exit_code_is_the_jobs_own(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str], code: int, reason: str
) -> None:
    assert dev_stage.submit("--run-id", "monday", "--detach") == 0
    dev_stage.log("monday", line("run_failed", reason, exit_code=code) | {"level": "error"})
    schedule_states(dev_stage, "FAILED", failure_reason="USER_ERROR", state_details="see the log")
    assert dev_stage.submit("follow", "monday") == code
    shown = capsys.readouterr()
    assert f"error: {reason}" in shown.out
    assert f"error: run monday failed: {reason}" in shown.err


def test_a_run_that_fails_before_its_driver_starts_says_where_to_look(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]
) -> None:
    schedule_states(
        dev_stage, "PENDING", "FAILED", failure_reason="INTERNAL_ERROR", state_details="nothing known"
    )
    assert dev_stage.submit("--run-id", "monday") == 1
    assert "kubectl --kubeconfig build/kubeconfig-dev -n fruits get events" in capsys.readouterr().err


def test_a_cancelled_run_ends_with_5(dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]) -> None:
    schedule_states(dev_stage, "RUNNING", "CANCEL_PENDING", "CANCELLED")
    assert dev_stage.submit("--run-id", "monday") == 5
    stderr = capsys.readouterr().err
    assert "error: run monday was cancelled; nothing of it is committed\n" in stderr
    assert "goes on" not in stderr


def test_cancel_cancels_and_waits(dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]) -> None:
    assert dev_stage.submit("--run-id", "monday", "--detach") == 0
    assert dev_stage.submit("cancel", "monday") == 0
    assert dev_stage.cloud.runs()[0].state == "CANCELLED"
    assert dev_stage.submit("cancel", "monday") == 2
    assert "run monday is over, CANCELLED: nothing is cancelled" in capsys.readouterr().err


def test_runs_are_listed_newest_first(dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]) -> None:
    assert dev_stage.submit("list") == 0
    assert capsys.readouterr().out == "no runs yet\n"
    for day, name in enumerate(("monday", "tuesday"), 1):
        dev_stage.submit("--run-id", name, "--detach")
        dev_stage.cloud.runs()[-1].created_at = datetime(2026, 11, day, tzinfo=UTC)
    capsys.readouterr()
    assert dev_stage.submit("list") == 0
    assert [text.split()[-1] for text in capsys.readouterr().out.splitlines()] == ["tuesday", "monday"]
    assert dev_stage.submit("list", "--json") == 0
    listed = [json.loads(text)["name"] for text in capsys.readouterr().out.splitlines()]
    assert listed == ["tuesday", "monday"]


def test_json_is_one_object_a_line(dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]) -> None:
    schedule_states(
        dev_stage, "RUNNING", "COMPLETED", then=lambda: dev_stage.log("monday", "no line of ours")
    )
    assert dev_stage.submit("--run-id", "monday", "--json") == 0
    events = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["note", "state", "state", "ended"]
    assert events[0]["run"] == "monday" and events[0]["image"] == dev_stage.image
    assert "./scripts/submit.sh follow monday" in events[0]["watch"]
    assert events[-1]["state"] == "COMPLETED" and events[-1]["run"] == dev_stage.cloud.runs()[0].id


def test_a_dry_run_starts_nothing(dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]) -> None:
    assert dev_stage.submit("--run-id", "monday", "--dry-run") == 0
    request = yaml.safe_load(capsys.readouterr().out)
    assert request["name"] == "monday"
    assert dev_stage.submit("--run-id", "monday", "--dry-run", "--json") == 0
    assert json.loads(capsys.readouterr().out) == request
    assert not dev_stage.cloud.runs()
    assert not boto3.client("s3").list_objects_v2(Bucket=dev_stage.outputs["ResultsBucket"]).get("Contents")


def test_acks_resource_is_printed_and_its_pod_templates_are_uploaded(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dev_stage.submit("--run-id", "monday", "--ack") == 0
    resource = yaml.safe_load(capsys.readouterr().out)
    assert (resource["kind"], resource["metadata"]["name"]) == ("JobRun", "monday")
    listed = boto3.client("s3").list_objects_v2(Bucket=dev_stage.outputs["ResultsBucket"])["Contents"]
    for key in (item["Key"] for item in listed):
        url = f"s3://{dev_stage.outputs['ResultsBucket']}/{key}"
        assert url in resource["spec"]["jobDriver"]["sparkSubmitJobDriver"]["sparkSubmitParameters"]
    assert len(listed) == 2
    assert not dev_stage.cloud.runs()


def test_the_shell_command_answers_in_any_folder(dev_stage: CloudStage, tmp_path: Path) -> None:
    process = subprocess.run(
        [ROOT / "scripts" / "submit.sh", "--run-id", "monday", "--detach"],
        capture_output=True, text=True, check=False, env=dict(os.environ), cwd=tmp_path,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert process.stdout == "started: ./scripts/submit.sh follow monday\n"
    assert len(dev_stage.cloud.runs()) == 1


def test_help_tells_readers_of_the_table_what_the_readme_tells(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        submit.main(["--help"])
    options = re.findall(r"^  (--(?:jars|conf) .+)$", capsys.readouterr().out, flags=re.MULTILINE)
    assert len(options) == 3 and "\n".join(options) in (ROOT / "k8s" / "README.md").read_text()
