"""The advice for a failed run, and the log of its drivers."""

import json
from itertools import chain
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError

from job.errors import UsageError
from job.table import commits, provenance, takeover, writer
from scripts.cloud import failures, manifests, request_check
from scripts.cloud.failures import ADVICE, NOTHING_WRITTEN, UNKNOWN_CAUSE
from scripts.cloud.job_lines import job_event
from scripts.cloud.manifests import K8S
from scripts.cloud.stage import Stage
from scripts.submit.diagnosis import KARPENTER_LOG, KARPENTER_QUERY, Diagnosis
from scripts.submit.driver_log import DriverLog, unwrapped
from tests.support.aws_emulator import Answer
from tests.support.cloud_stage import CloudStage, line

DIAGNOSIS = Diagnosis(Stage("dev"), "monday")


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        ("An error occurred (AccessDenied) when calling the AssumeRoleWithWebIdentity operation", "trust"),
        ("Back-off pulling image: ImagePullBackOff", "cannot fetch the image"),
        ("ErrImagePull: no match for platform in manifest: not found", "for another processor"),
        ("exec /usr/bin/entrypoint.sh: exec format error", "for another processor"),
        ("Max number of executor failures (4) reached", "executors failed again and again"),
        ("Spark gave up after executors were lost (9 of them, the last one with: gone)", "again and again"),
        ("The executor with id 3 exited with exit code 137(SIGKILL)", "out of memory"),
        ('pods "spark-1" is forbidden: exceeded quota: executors', "smaller --size"),
        (
            "Forbidden!Configured service account doesn't have access. "
            'Service account may have been revoked. pods "x" is forbidden: '
            "maximum memory usage per Container is 2Gi, but limit is 4Gi.",
            "smaller --size",
        ),
        ('pods "x" is forbidden: violates PodSecurity "restricted:v1.35"', "baseline"),
        ("0/3 nodes are available: 3 Insufficient cpu.", "EC2 refuses, or a pool is full"),
        ("pods is forbidden: User emr-containers cannot create", "access entry"),
        ("AccessDenied: not authorized to perform s3:GetObject", "may not use a bucket"),
    ],
)
def test_each_sign_has_its_advice(message: str, advice: str) -> None:
    assert advice in failures.advice([message], True, DIAGNOSIS)


def test_the_jobs_own_refusals_have_their_advice(tmp_path: Path) -> None:
    output = str(tmp_path / "output")
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "_input.json").write_text('{"inputs": []}')
    with pytest.raises(UsageError) as outdated:
        provenance.first_actions(output, None, {}, overwrite=False)
    assert "--overwrite" in failures.advice([str(outdated.value), "AccessDenied"], True, DIAGNOSIS)
    first = [commits.protocol_action(), *provenance.first_actions(str(tmp_path), None, {}, False)]
    for version, actions in enumerate((first, [commits.command_action(commits.WRITER, 2)])):
        assert commits.write(str(tmp_path), version, actions, {})
    late_writer = writer.Writer(str(tmp_path), "tuesday", "run")
    with pytest.raises(takeover.OvertakenError) as overtaken:
        late_writer.commit()
    for sentence in (overtaken.value, takeover.busy_error(str(tmp_path), 1)):
        assert "one command at a time" in failures.advice([str(sentence), "AccessDenied"], True, DIAGNOSIS)


def test_every_advice_is_given_for_one_of_its_signs() -> None:
    for entry in ADVICE:
        for sign in entry.signs:
            remedy = entry.remedy.format(stage="dev")
            assert failures.advice([sign], True, DIAGNOSIS).startswith(remedy)


def test_every_command_that_is_advised_names_the_runs_stage() -> None:
    production = Diagnosis(Stage("prod"), "monday")
    for text in (entry.remedy for entry in (*ADVICE, UNKNOWN_CAUSE, NOTHING_WRITTEN)):
        assert "kubectl" not in text
        commands = text.count("/cluster.sh") + text.count("/submit.sh") + text.count("/push-image.sh")
        assert text.format(stage="prod").count("--stage prod") == commands
    kubectl = [line for line in production.text.splitlines() if "kubectl " in line]
    assert len(kubectl) == 4
    assert all(line.startswith("kubectl --kubeconfig build/kubeconfig-prod ") for line in kubectl)


def test_without_a_sign_it_says_where_to_look() -> None:
    assert failures.advice(["something else"], True, DIAGNOSIS) == UNKNOWN_CAUSE.remedy
    assert failures.advice(["something else"], False, DIAGNOSIS).startswith(NOTHING_WRITTEN.remedy)


@pytest.mark.parametrize(
    ("message", "driver_wrote"),
    [("0/3 nodes are available: 3 Insufficient cpu.", True), ("job-start-timeout", True), ("unknown", False)],
)
def test_where_nodes_may_be_missing_the_commands_and_the_query_are_named(
    message: str, driver_wrote: bool
) -> None:
    advice = failures.advice([message], driver_wrote, DIAGNOSIS)
    assert advice.endswith(f"; {DIAGNOSIS.text}")
    assert (
        "or ask an administrator to:\nkubectl --kubeconfig build/kubeconfig-dev -n fruits get pods" in advice
    )
    assert "log group /aws/eks/fruits-dev/cluster, or that of the cluster's AUTO_MODE_COMPUTE_LOGS" in advice
    assert "\n  fields @timestamp" in advice
    assert "Insights" not in failures.advice(["exceeded quota"], driver_wrote, DIAGNOSIS)


def test_the_query_is_one_that_cloudwatch_takes_and_the_readme_names() -> None:
    times = {"startTime": 0, "endTime": 1}
    request = {"logGroupName": DIAGNOSIS.audit_log, "queryString": KARPENTER_QUERY, **times}
    request_check.check("logs", "StartQuery", request)
    readme = (K8S / "README.md").read_text()
    assert f"```\n{KARPENTER_QUERY}\n```" in readme
    assert KARPENTER_LOG in readme
    assert all(f"  {command}\n" in readme for command in DIAGNOSIS.kubectl_commands)


def test_the_commands_select_the_runs_pods_by_the_label_of_the_pod_templates() -> None:
    template = manifests.load("emr/driver-pod.yaml")["metadata"]["labels"]
    assert template == {"fruits/run": "${RunName}"}
    assert DIAGNOSIS.kubectl_commands[1].endswith("-n fruits describe pods -l fruits/run=monday")


def test_a_long_log_is_read_once_and_whole(dev_stage: CloudStage) -> None:
    dev_stage.submit("--run-id", "monday", "--detach")
    lines = [f"line {number}" for number in range(25)]
    dev_stage.log("monday", *lines[:20])
    dev_stage.log("monday", "an executor's", pod="spark-x-exec-1")
    log = DriverLog(boto3.client("logs"), dev_stage.outputs["LogGroup"], "monday/", page_size=7)
    assert [*chain(*log.new_lines())] == lines[:20]
    assert not list(log.new_lines())
    dev_stage.log("monday", *lines[20:])
    assert [*chain(*log.new_lines())] == lines[20:]


def test_a_page_that_fails_loses_no_line(dev_stage: CloudStage) -> None:
    dev_stage.submit("--run-id", "monday", "--detach")
    lines = [f"line {number}" for number in range(10)]
    dev_stage.log("monday", *lines)
    log = DriverLog(boto3.client("logs"), dev_stage.outputs["LogGroup"], "monday/", page_size=4)
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


@pytest.mark.parametrize("key", ["log", "message"])
def test_lines_that_fluentd_has_wrapped_are_read(dev_stage: CloudStage, key: str) -> None:
    dev_stage.submit("--run-id", "monday", "--detach")
    job_line = line("run_started", "run monday")
    dev_stage.log("monday", {key: json.dumps(job_line) + "\n", "stream": "stdout"})
    dev_stage.log("monday", {key: "Traceback (most recent call last):\n"}, kind="stderr")
    log = DriverLog(boto3.client("logs"), dev_stage.outputs["LogGroup"], "monday/")
    ((text,),) = log.new_lines()
    assert job_event(text) == job_line
    assert log.last_lines(20) == ["Traceback (most recent call last):"]


def test_a_line_of_the_program_itself_stays_as_it_is() -> None:
    for text in (
        json.dumps(line("run_started", "run monday")),
        '{"level": "ERROR", "message": "lost"}',
        "[1]",
    ):
        assert unwrapped(text) == text


@pytest.mark.parametrize(
    ("pod", "is_driver"),
    [
        ("spark-000000037b4uegnu8q5-driver", True),
        ("spark-000000037b4uegnu8q5-driver-x7k2p", True),
        ("spark-000000037b4uegnu8q5-x7k2p-exec-1", False),
        ("spark-000000037b4uegnu8q5-driver-x7k2p-exec-1", False),
        ("spark-000000037b4uegnu8q5-exec-1-x7k2p", False),
        ("000000037b4uegnu8q5-vwtjf", False),
    ],
)
def test_the_drivers_streams_are_those_of_both_names(
    dev_stage: CloudStage, pod: str, is_driver: bool
) -> None:
    dev_stage.submit("--run-id", "monday", "--detach")
    dev_stage.log("monday", "a line", pod=pod)
    dev_stage.log("monday", "why", pod=pod, kind="stderr")
    log = DriverLog(boto3.client("logs"), dev_stage.outputs["LogGroup"], "monday/")
    assert list(log.new_lines()) == ([["a line"]] if is_driver else [])
    assert log.last_lines(20) == (["why"] if is_driver else [])
