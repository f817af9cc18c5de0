"""How runs are followed, by what a real cluster answered about them, and by small changes of it."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from scripts.cloud.display import Display
from scripts.cloud.run_outcome import RunOutcome
from scripts.kubernetes import follow, job_run
from scripts.kubernetes.directions import ClusterDirections
from scripts.kubernetes.ending import print_outcome
from scripts.kubernetes.follow import Follower
from scripts.kubernetes.job_run import JobRun
from scripts.kubernetes.kubectl import Kubectl, KubectlError
from scripts.kubernetes.pod_log import PodLog
from scripts.kubernetes.run_pods import RunPods
from tests.support.kubectl import calls, recorded, recorded_kubectl

DIRECTIONS = ClusterDirections("kubectl --context kind", "monday")


def a_run(name: str) -> JobRun:
    return JobRun(job_run.small_plan(name, "eu-west-1", "fruits:latest", (), 2), {})


def outcome_of(kubectl: Kubectl, name: str, poll: float = 1.0) -> RunOutcome:
    seconds = 0.0

    def wait(time: float) -> None:
        nonlocal seconds
        seconds += time

    display = Display(as_json=False)
    return Follower(kubectl, a_run(name), DIRECTIONS, display, poll, wait, lambda: seconds).follow()


def states(text: str) -> list[str]:
    return [words[1] for words in map(str.split, text.splitlines()) if "after" in words[:3]]


def pod(name: str, phase: str, state: dict[str, Any], **labels: str) -> dict[str, Any]:
    container = {"driver": "spark-kubernetes-driver", "executor": "spark-kubernetes-executor"}.get(
        labels.get("spark-role", ""), "job-runner"
    )
    return {
        "kind": "Pod",
        "metadata": {
            "name": name, "uid": f"uid of {name}", "creationTimestamp": "2026-11-27T12:00:00Z",
            "labels": {"fruits/run": "monday", **labels},
        },
        "status": {"phase": phase, "containerStatuses": [{"name": container, "state": state}]},
    }  # fmt: skip


def runner(phase: str = "Running", **state: Any) -> dict[str, Any]:
    return pod("monday-runner", phase, state or {"running": {}})


def driver(phase: str = "Running", **state: Any) -> dict[str, Any]:
    return pod("spark-monday-driver", phase, state or {"running": {}}, **{"spark-role": "driver"})


def executor(number: int, phase: str = "Running", **state: Any) -> dict[str, Any]:
    labels = {"spark-role": "executor", "spark-exec-id": str(number)}
    return pod(f"spark-monday-exec-{number}", phase, state or {"running": {}}, **labels)


def ended(code: int, reason: str = "Error") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "finishedAt": "2026-11-27T12:03:00Z"}}


def line(event: str, message: str, **fields: Any) -> str:
    time = "2026-11-27T12:00:05.000Z"
    record = {"ts": time, "level": "info", "event": event, "message": message, **fields}
    return f"2026-11-27T12:00:05.{len(message):09d}Z {json.dumps(record)}"


def test_a_completed_run_is_followed_from_its_first_pod_to_its_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kubectl = recorded_kubectl(tmp_path, *recorded("completed"))
    outcome = outcome_of(kubectl, "completed")
    assert print_outcome(outcome, DIRECTIONS, lambda text: text.replace("s3://results", "here")) == 0
    shown = capsys.readouterr()
    assert states(shown.out) == ["PENDING", "SUBMITTED", "RUNNING", "COMPLETED"]
    assert "   480 photos listed" in shown.out
    assert "warning" not in shown.out, "configurations that come a moment after their pod are no news"
    results = dict(text.split(None, 1) for text in shown.out.splitlines()[-7:])
    assert results["photos"] == "480 listed, 0 unchanged, 480 featurized, 0 rejected"
    assert results["output"] == "here/completed"
    assert results["run"] == "completed" and results["took"].endswith(" minutes")
    assert shown.err == ""
    assert outcome.run["finishedAt"] > outcome.run["createdAt"]


@pytest.mark.parametrize(
    ("name", "code", "last_state", "sentences"),
    [
        ("no-image", 1, "PENDING", ["the job-runner does not start: ErrImagePull", "cannot fetch the image"]),
        (
            "unschedulable",
            1,
            "SUBMITTED",
            ["the driver does not start: FailedScheduling", "has room for a pod: fewer --executors"],
        ),
        ("driver-deleted", 1, "RUNNING", ["the driver's pod was deleted"]),
        ("bad-key", 2, "RUNNING", ["run bad-key failed"]),
        ("quota", 1, "SUBMITTED", ["the job-runner ended with exit code 1 before there was a driver"]),
    ],
)
def test_a_failed_run_tells_why_and_what_to_do(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    code: int,
    last_state: str,
    sentences: list[str],
) -> None:
    if name in ("no-image", "unschedulable"):  # which would wait for 20 minutes
        monkeypatch.setattr(JobRun, "start_timeout", 40.0)
    outcome = outcome_of(recorded_kubectl(tmp_path, *recorded(name)), name)
    assert print_outcome(outcome, DIRECTIONS) == code
    shown = capsys.readouterr()
    assert states(shown.out)[-2:] == [last_state, "FAILED"]
    for sentence in sentences:
        assert sentence in shown.out + shown.err
    assert f"error: run {name} failed: " in shown.err
    assert "\nwhat to do: " in shown.err


def test_a_reason_is_given_once_and_with_the_commands_that_show_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JobRun, "start_timeout", 40.0)
    outcome_of(recorded_kubectl(tmp_path, *recorded("no-image")), "no-image")
    shown = capsys.readouterr().out
    assert shown.count("warning: ") == 1
    assert "\n  kubectl --context kind -n fruits describe pods -l fruits/run=monday\n" in shown


def test_executors_that_wait_for_one_reason_are_one_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting = [executor(number, "Pending", waiting={}) for number in (1, 2)]
    events = [
        {
            "kind": "Event", "type": "Warning", "reason": "FailedScheduling",
            "eventTime": "2026-11-27T12:00:00Z",
            "message": "0/2 nodes are available: 2 Insufficient cpu.", "metadata": {"name": "x"},
            "involvedObject": {"uid": item["metadata"]["uid"]},
        }
        for item in waiting
    ]  # fmt: skip
    moments = [[runner(), driver(), *waiting, *events]] * 14 + [[runner(), driver("Succeeded", **ended(0))]]
    outcome_of(recorded_kubectl(tmp_path, moments, []), "monday")
    shown = capsys.readouterr().out
    assert shown.count("does not start") == 1
    assert "executor 1 does not start: FailedScheduling: 0/2 nodes are available" in shown
    assert "has room for a pod: fewer --executors" in shown


def test_an_executor_that_runs_out_of_memory_is_a_warning_and_one_that_spark_ends_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    released = executor(2, **ended(143))
    released["metadata"]["deletionTimestamp"] = "2026-11-27T12:01:00Z"
    moments = [
        [runner(), driver(), executor(1, **ended(137, "OOMKilled")), released],
        [runner(), driver(), executor(3, "Failed", **ended(11))],
        [runner(), driver("Succeeded", **ended(0))],
    ]
    outcome_of(recorded_kubectl(tmp_path, moments, []), "monday")
    shown = capsys.readouterr().out
    assert "warning: executor 1 ended with exit code 137 (OOMKilled)\n" in shown
    assert "warning: executor 3 ended with exit code 11\n" in shown
    assert "executor 2" not in shown


def test_the_jobs_own_reason_and_exit_code_are_the_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = [
        line("run_failed", "there is no bucket nowhere", level="error", exit_code=2),
        "2026-11-27T12:01:00Z at",
    ]
    moments = [[runner(), driver()], [runner(), driver("Failed", **ended(2))]]
    outcome = outcome_of(recorded_kubectl(tmp_path, moments, log), "monday")
    assert print_outcome(outcome, DIRECTIONS) == 2
    shown = capsys.readouterr()
    assert "error: run monday failed: there is no bucket nowhere\n" in shown.err
    assert "what to do: a bucket is not there: " in shown.err
    assert "FAILED  after 3:00  the driver ended with exit code 2" in shown.out


def test_the_last_lines_leave_out_the_frames_of_stack_traces(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = ["java.io.IOException: why", "\tat one.Class", "\t... 3 more", "", "the end"]
    log = [f"2026-11-27T12:00:0{number}.000000000Z {text}" for number, text in enumerate(texts)]
    moments = [[runner(), driver()], [runner(), driver("Failed", **ended(1))]]
    outcome = outcome_of(recorded_kubectl(tmp_path, moments, log), "monday")
    assert outcome.last_lines == ["java.io.IOException: why", "the end"]
    assert print_outcome(outcome, DIRECTIONS) == 1
    assert "the last 2 lines of the driver's log:\n  | java.io.IOException: why\n" in capsys.readouterr().err


def test_lines_come_once_although_kubectl_begins_again(tmp_path: Path) -> None:
    log = [line("a", "1"), line("b", "22")]
    kubectl = recorded_kubectl(tmp_path, [], log)
    pod_log = PodLog(kubectl, "spark-monday-driver", "spark-kubernetes-driver")
    first = pod_log.remaining_lines()
    assert [json.loads(text)["event"] for text in first] == ["a", "b"]
    (tmp_path / "logs.txt").write_text("".join(f"{text}\n" for text in (*log[1:], line("c", "333"))))
    pod_log.end()
    assert [json.loads(text)["event"] for text in pod_log.remaining_lines()] == ["c"]
    assert calls(tmp_path)[-1].endswith(f"--since-time={log[1].split()[0]}")


@pytest.mark.parametrize(
    ("moments", "reason"),
    [
        ([[runner()], []], "the job-runner's pod was deleted"),
        ([[runner(), driver()], [runner()]], "the driver's pod was deleted"),
        (
            [[runner()], [runner("Failed", terminated={"exitCode": 1, "reason": "Error"})]],
            "the job-runner ended with exit code 1 before there was a driver",
        ),
    ],
)
def test_pods_that_go_end_the_run(tmp_path: Path, moments: list[Any], reason: str) -> None:
    outcome = outcome_of(recorded_kubectl(tmp_path, moments, []), "monday")
    assert outcome.run["state"] == "FAILED"
    assert outcome.reason == reason


def test_an_evicted_driver_says_what_kubernetes_says(tmp_path: Path) -> None:
    evicted = driver("Failed")
    evicted["status"] = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory."}
    outcome = outcome_of(recorded_kubectl(tmp_path, [[runner(), evicted]], []), "monday")
    assert outcome.reason == "the driver failed: Evicted: The node was low on memory."


def test_a_driver_that_does_not_start_ends_the_run_as_on_emr(tmp_path: Path) -> None:
    waiting = driver("Pending", waiting={"reason": "ImagePullBackOff", "message": "Back-off"})
    outcome = outcome_of(recorded_kubectl(tmp_path, [[runner(), waiting]], []), "monday", poll=600.0)
    assert outcome.reason == (
        "the driver has not started after 20 minutes (job-start-timeout); ImagePullBackOff: Back-off"
    )


def test_a_cluster_that_does_not_answer_is_asked_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: Any = "Unable to connect to the server: EOF"
    moments = [[runner()], lost, lost, [runner(), driver("Succeeded", **ended(0))]]
    assert outcome_of(recorded_kubectl(tmp_path, moments, []), "monday").run["state"] == "COMPLETED"
    shown = capsys.readouterr().out
    assert (
        shown.count("kubectl get: Unable to connect to the server: EOF; the run goes on; asking again") == 1
    )
    assert shown.count("the cluster answers again") == 1
    monkeypatch.setattr(follow, "LOST_SECONDS", 2.0)
    with pytest.raises(KubectlError, match="Unable to connect"):
        outcome_of(recorded_kubectl(tmp_path, [[runner()], lost], []), "monday")


def test_other_runs_in_the_namespace_are_not_looked_at() -> None:
    other = driver()
    other["metadata"]["labels"]["fruits/run"] = "tuesday"
    pods = RunPods.of(a_run("monday"), [runner(), other])
    assert pods.driver is None and pods.runner is not None
    assert pods.runner.created_at == datetime(2026, 11, 27, 12, tzinfo=UTC)


def test_kubectls_refusal_is_one_sentence(tmp_path: Path) -> None:
    script = "import sys; sys.exit('Warning: old\\nerror: context \"kind\" does not exist')"
    with pytest.raises(KubectlError, match=r'^kubectl get: context "kind" does not exist$'):
        Kubectl((sys.executable, "-c", script)).get("pod", "x")
    with pytest.raises(KubectlError, match="was not found: install kubectl"):
        Kubectl((str(tmp_path / "kubectl"),)).run("version")
