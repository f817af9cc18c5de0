"""cluster.sh down: runs, half-made stages, data, and what stands in the way."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

from scripts import cluster_state
from scripts.cluster_commands import Done
from tests.cloud import ACCOUNT, Cloud, Request
from tests.recorders.desk import Desk, sit
from tests.recorders.emulator import stacks

PHOTOS = f"fruits-dev-photos-{ACCOUNT}"


@pytest.fixture
def desk(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Desk:
    """Sit down where a stage is up."""
    made = sit(cloud, tmp_path, monkeypatch, capsys)
    made.build()
    return made


def start(desk: Desk, name: str) -> Any:
    """Start a run, and return moto's."""
    emr = boto3.client("emr-containers")
    emr.start_job_run(
        virtualClusterId=desk.cloud.virtual_clusters()[0].id,
        name=name,
        executionRoleArn=f"arn:aws:iam::{ACCOUNT}:role/fruits-dev-job",
        releaseLabel="emr-7.13.0-latest",
        jobDriver={"sparkSubmitJobDriver": {"entryPoint": "local:///opt/fruits/job/main.py"}},
        clientToken=name,
    )
    return desk.cloud.runs()[-1]


def later(desk: Desk, run: Any, polls: int) -> None:
    """Let a run that is cancelled take so many looks at it to end."""
    left = [polls]

    def rule(request: Request) -> None:
        if run.state == "CANCELLED" and left[0] == polls:
            run.state = "CANCEL_PENDING"
        if run.state == "CANCEL_PENDING" and "/jobruns?" in request.path:
            left[0] -= 1
            run.state = "CANCEL_PENDING" if left[0] > 0 else "CANCELLED"

    desk.cloud.rules.append(rule)


def test_runs_are_cancelled_and_waited_for_before_their_cluster_goes(desk: Desk) -> None:
    first, second, ended = start(desk, "one"), start(desk, "two"), start(desk, "three")
    ended.state, second.state = "COMPLETED", "PENDING"
    later(desk, first, 4)
    done = desk("down", "--yes")
    assert (done.code, done.err) == (0, "")
    assert f"run {first.id} (one), RUNNING: it is cancelled" in done.out and ended.id not in done.out
    assert [line.split()[2] for line in done.commands[:3]] == [
        "cancel-job-run", "cancel-job-run", "delete-virtual-cluster",
    ]  # fmt: skip
    assert (first.state, second.state, ended.state) == ("CANCELLED", "CANCELLED", "COMPLETED")
    assert "waiting until the runs have ended (0 min)" in done.out and desk.waited


def test_a_run_that_does_not_end_keeps_its_cluster(desk: Desk) -> None:
    later(desk, start(desk, "stuck"), 10_000)
    done = desk("down", "--yes")
    assert done.code == 1 and len(desk.waited) == 80
    assert done.err.startswith(
        "error: step runs: waited 20 minutes until the runs have ended, in vain; nothing"
    )
    assert boto3.client("eks").list_clusters()["clusters"] == ["fruits-dev"]


def test_nodes_go_before_their_cluster(desk: Desk) -> None:
    node = [{"metadata": {"name": "i-1"}}]
    desk.memory.put("nodes", [node, node, []])
    done = desk("down", "--yes")
    assert done.code == 0 and "waiting until the nodes are gone (0 min)" in done.out
    order = [line for line in desk.ran if "get nodes" in line or line.startswith("eksctl delete")]
    assert len(order) == 4 and order[-1].startswith("eksctl delete")


@pytest.mark.parametrize(
    ("command", "step"),
    [
        ("delete-virtual-cluster", "virtual cluster"),
        ("delete -k", "namespace"),
        ("eksctl delete", "cluster"),
        ("update-assume-role-policy", "trust"),
        ("delete-stack", "network"),
    ],
)
def test_ctrl_c_in_a_step_says_what_is_done_and_the_next_down_goes_on(
    command: str, step: str, desk: Desk
) -> None:
    desk.interrupt(command, after=True)
    done = desk("down", "--yes")
    assert done.code == 130 and done.err.startswith(f"error: step {step}: interrupted")
    assert done.err.endswith("./scripts/cluster.sh down --stage dev goes on from there\n")
    assert desk("down", "--yes").code == 0
    assert [one.name for one in stacks()] == ["fruits-dev"]
    assert desk("status").out.count("none") >= 5


def test_eksctls_stack_without_its_cluster_is_removed_too(desk: Desk) -> None:
    desk.memory.put("ends", "cluster")
    assert desk("down", "--yes").code == 130
    done = desk("down", "--yes")
    assert done.code == 0
    assert "aws cloudformation delete-stack --stack-name eksctl-fruits-dev-cluster" in done.out


def test_a_cluster_that_cannot_be_reached_is_removed_only_if_that_is_said(desk: Desk) -> None:
    desk.memory.put("unreachable", 1000)
    done = desk("down", "--yes")
    assert done.code == 1 and "step namespace: kubectl does not reach EKS cluster fruits-dev (" in done.err
    assert "say --without-kubectl, and look for what is left in EC2" in done.err
    desk.memory.put("objects", [])
    assert desk("down", "--yes", "--without-kubectl").code == 0
    assert boto3.client("eks").list_clusters()["clusters"] == []


def test_a_protected_cluster_is_unprotected_after_the_question(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_state, "cluster", protected(cluster_state.cluster))
    line = "+ aws eks update-cluster-config --name fruits-dev --no-deletion-protection --region eu-west-1\n"
    assert line in desk("down", "--dry-run").out


def protected(cluster: Callable[..., Any]) -> Callable[..., Any]:
    """Let EKS say of a cluster what moto does not know."""
    return lambda *about: {**(cluster(*about) or {}), "deletionProtection": True}


def test_a_dry_run_shows_what_would_go_and_changes_nothing(desk: Desk) -> None:
    shown = desk("down", "--dry-run", "--delete-data")
    assert shown.code == 0 and shown.out.rstrip().endswith("dry run: nothing was changed")
    assert desk.cloud.virtual_clusters()[0].state == "RUNNING" and len(stacks()) == 3
    done = desk("down", "--yes", "--delete-data")
    assert [line.split()[:3] for line in shown.commands] == [line.split()[:3] for line in done.commands]


def test_delete_data_deletes_every_version_and_the_key(desk: Desk) -> None:
    s3, logs = boto3.client("s3"), boto3.client("logs")
    s3.put_bucket_versioning(Bucket=PHOTOS, VersioningConfiguration={"Status": "Enabled"})
    for number in range(3):
        s3.put_object(Bucket=PHOTOS, Key="photos/a.jpg", Body=bytes(number))
    s3.delete_object(Bucket=PHOTOS, Key="photos/a.jpg")
    s3.create_multipart_upload(Bucket=PHOTOS, Key="photos/b.jpg")
    s3.create_bucket(Bucket="somebodys", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    logs.create_log_group(logGroupName="/aws/eks/fruits-dev/cluster")
    (key,) = boto3.client("kms").list_keys()["Keys"]
    done = desk("down", "--yes", "--delete-data")
    assert (done.code, done.err) == (0, "")
    assert f"s3://{PHOTOS} is deleted: no command of the CLI does that\n  5 deleted\n" in done.out
    assert [one["Name"] for one in s3.list_buckets()["Buckets"]] == ["somebodys"]
    state = boto3.client("kms").describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"]
    assert state == "PendingDeletion" and stacks() == []
    assert logs.describe_log_groups()["logGroups"] == []
    assert desk("down", "--delete-data").out.splitlines()[1] == "there is nothing to remove"
    boto3.client("iam").delete_policy(PolicyArn=f"arn:aws:iam::{ACCOUNT}:policy/fruits-dev-submit")  # moto's
    assert desk("up", "--yes").code == 0, "nothing is in the way of a new one"


def test_data_is_deleted_only_if_the_stages_name_is_typed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    done = desk("down", "--delete-data", answer="y")
    assert done.code == 2 and done.err == "error: the answer was not 'dev': nothing was changed\n"
    assert desk.cloud.virtual_clusters()[0].state == "RUNNING"
    assert desk("down", "--delete-data", answer="dev").code == 0


@pytest.mark.parametrize(
    "command", ["schedule-key-deletion", "delete-stack --stack-name fruits-dev ", "delete-bucket"]
)
def test_a_deletion_of_data_that_was_ended_is_said_by_up_and_goes_on(command: str, desk: Desk) -> None:
    desk.interrupt(command, after=True)
    assert desk("down", "--yes", "--delete-data").code == 130
    done = desk("up", "--yes")
    if command == "schedule-key-deletion":
        assert (
            done.code == 2 and "is PendingDeletion, a removal was left half-done: finish it with" in done.err
        )
    assert desk("down", "--yes", "--delete-data").code == 0
    assert boto3.client("s3").list_buckets()["Buckets"] == [] and stacks() == []


def test_data_stays_while_people_hold_the_policy(desk: Desk) -> None:
    iam = boto3.client("iam")
    policy = f"arn:aws:iam::{ACCOUNT}:policy/fruits-dev-submit"
    iam.create_user(UserName="ada")
    iam.attach_user_policy(UserName="ada", PolicyArn=policy)
    done = desk("down", "--yes", "--delete-data")
    assert done.code == 2
    assert (
        done.err == f"error: policy {policy} is attached to user ada: detach it first; nothing was changed\n"
    )
    assert desk.cloud.virtual_clusters()[0].state == "RUNNING"


def test_a_stack_that_cannot_go_says_which_resource_keeps_it(desk: Desk) -> None:
    def refuse(line: str) -> Any:
        if "delete-stack --stack-name fruits-dev-network" not in line:
            return None
        (stack,) = [one for one in stacks() if one.name == "fruits-dev-network"]
        stack._add_stack_event("DELETE_FAILED", resource_status_reason="The subnet has dependencies.")
        stack.events[-1].logical_resource_id = "A"
        stack.status = "DELETE_FAILED"
        return Done(0, "")

    desk.before.append(refuse)
    done = desk("down", "--yes")
    assert done.code == 6
    assert "stack fruits-dev-network is in DELETE_FAILED: A: The subnet has dependencies; done" in done.err
    desk.before.clear()
    assert desk("down", "--yes").code == 0
