"""What a failed run is answered with: the advice that its signs ask for."""

import json
from itertools import chain
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError

from job.errors import UsageError
from job.table import commits, provenance, writer
from scripts.submit import failures
from scripts.submit.driver_log import DriverLog, job_event
from scripts.submit.failures import ADVICE, NOTHING_WRITTEN, UNKNOWN_CAUSE
from tests.support.aws_emulator import Answer
from tests.support.cloud_stage import CloudStage, line


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("An error occurred (AccessDenied) when calling the AssumeRoleWithWebIdentity operation", "trust"),
        ("Back-off pulling image: ImagePullBackOff", "cannot fetch the image"),
        ("The executor with id 3 exited with exit code 137(SIGKILL)", "out of memory"),
        ('pods "spark-1" is forbidden: exceeded quota: executors', "smaller --size"),
        ('pods "x" is forbidden: violates PodSecurity "restricted:v1.35"', "baseline"),
        ("0/3 nodes are available: 3 Insufficient cpu.", "kubectl get nodeclaims"),
        ("pods is forbidden: User emr-containers cannot create", "access entry"),
        ("AccessDenied: not authorized to perform s3:GetObject", "may not use a bucket"),
    ],
)
def test_each_sign_has_its_advice(said: str, advice: str) -> None:
    assert advice in failures.advice([said], driver_wrote=True)


def test_the_jobs_own_refusals_have_their_advice(tmp_path: Path) -> None:
    output = str(tmp_path / "output")
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "_input.json").write_text('{"inputs": []}')
    with pytest.raises(UsageError) as earlier:
        provenance.first_actions(output, None, {}, overwrite=False)
    assert "--overwrite" in failures.advice([str(earlier.value), "AccessDenied"], driver_wrote=True)
    first = [commits.protocol_action(), *provenance.first_actions(str(tmp_path), None, {}, False)]
    for version, actions in enumerate((first, [commits.command_action(commits.WRITER, 2)])):
        assert commits.write(str(tmp_path), version, actions, {})
    overtaken = writer.Writer(str(tmp_path), "tuesday", "run")
    with pytest.raises(writer.OvertakenError) as later:
        overtaken.commit()
    for sentence in (later.value, overtaken._busy_error(1)):
        assert "one command at a time" in failures.advice([str(sentence), "AccessDenied"], driver_wrote=True)


def test_every_advice_is_given_for_one_of_its_signs() -> None:
    for known in ADVICE:
        for sign in known.signs:
            assert failures.advice([sign], driver_wrote=True) == known.remedy


def test_without_a_sign_it_says_where_to_look() -> None:
    assert failures.advice(["something else"], driver_wrote=True) == UNKNOWN_CAUSE
    assert failures.advice(["something else"], driver_wrote=False) == NOTHING_WRITTEN


def test_a_long_log_is_read_once_and_whole(dev_stage: CloudStage) -> None:
    dev_stage.submit("--run-id", "monday", "--detach")
    lines = [f"line {number}" for number in range(25)]
    dev_stage.log("monday", *lines[:20])
    dev_stage.log("monday", "an executor's", pod="spark-x-exec-1")
    log = DriverLog(boto3.client("logs"), dev_stage.outputs["LogGroup"], "monday/", page=7)
    assert [*chain(*log.new_lines())] == lines[:20]
    assert not list(log.new_lines())
    dev_stage.log("monday", *lines[20:])
    assert [*chain(*log.new_lines())] == lines[20:]


def test_a_page_that_fails_loses_no_line(dev_stage: CloudStage) -> None:
    dev_stage.submit("--run-id", "monday", "--detach")
    lines = [f"line {number}" for number in range(10)]
    dev_stage.log("monday", *lines)
    log = DriverLog(boto3.client("logs"), dev_stage.outputs["LogGroup"], "monday/", page=4)
    pages = log.new_lines()
    assert next(pages) == lines[:4]
    assert next(pages) == lines[4:8]
    denied = Answer(400, b'{"__type": "AccessDeniedException", "message": "no"}')
    dev_stage.cloud.fail_once(lambda request: request.action == "GetLogEvents", denied)
    with pytest.raises(ClientError):
        next(pages)
    assert [*chain(*log.new_lines())] == lines[8:]


def test_a_driver_that_is_started_again_is_read_too(dev_stage: CloudStage) -> None:
    dev_stage.submit("--run-id", "monday", "--detach")
    log = DriverLog(boto3.client("logs"), dev_stage.outputs["LogGroup"], "monday/")
    assert not list(log.new_lines())
    dev_stage.log("monday", "first")
    dev_stage.log("monday", "second", pod="spark-y-driver")
    assert list(log.new_lines()) == [["first"], ["second"]]
    dev_stage.log("monday", "why", kind="stderr")
    assert log.last_lines(20) == ["why"]


def test_a_log_group_that_is_gone_is_no_error(dev_stage: CloudStage) -> None:
    boto3.client("logs").delete_log_group(logGroupName=dev_stage.outputs["LogGroup"])
    log = DriverLog(boto3.client("logs"), dev_stage.outputs["LogGroup"], "monday/")
    assert not list(log.new_lines())
    assert log.last_lines(20) == []


@pytest.mark.parametrize(
    "line", ["", "plain", "[1]", "3", '{"a": 1}', '{"event": "x"', '{"ts": "", "event": ""}']
)
def test_other_lines_are_not_the_jobs(line: str) -> None:
    assert job_event(line) is None


def test_a_line_that_an_agent_has_wrapped_is_the_jobs() -> None:
    ours = line("run_started", "run monday")
    assert job_event(json.dumps({"log": json.dumps(ours) + "\n", "stream": "stdout"})) == ours
