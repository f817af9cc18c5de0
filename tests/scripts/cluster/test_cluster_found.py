"""cluster.sh up with resources that are incomplete, not ready, or of another name."""

from pathlib import Path
from typing import Any, Final

import boto3
import pytest
from moto.eks.models import eks_backends

from scripts.cluster.cluster_tools import CommandResult
from tests.support.aws_emulator import ACCOUNT, REGION, Answer, Request
from tests.support.checked.requests import calls
from tests.support.recorders.desk import Desk

UNREACHABLE: Final = "Unable to connect to the server: dial tcp: lookup A1B2.gr7.eu-west-1.eks.amazonaws.com"


pytestmark = pytest.mark.usefixtures("standing")


def eks(desk: Desk, *states: str) -> Any:
    """Let EKS report these states of the cluster one after another; the last one stays."""
    cluster, remaining = eks_backends[ACCOUNT][REGION].clusters["fruits-dev"], list(states)

    def rule(request: Request) -> None:
        if request.method == "GET" and request.path == "/clusters/fruits-dev" and remaining:
            cluster.status = remaining.pop(0)

    desk.cloud.rules.append(rule)
    return cluster


def test_a_cluster_that_is_being_made_is_waited_for(desk: Desk) -> None:
    eks(desk, "CREATING", "CREATING", "CREATING", "ACTIVE")
    outcome = desk("up", "--yes")
    assert outcome.code == 0 and "waiting until EKS cluster fruits-dev is ready (0 min)" in outcome.out
    assert desk.waited and all(seconds == 15 for seconds in desk.waited)


def test_a_cluster_that_never_gets_ready_is_not_waited_for_for_ever(desk: Desk) -> None:
    eks(desk, "CREATING")
    outcome = desk("up", "--yes")
    assert outcome.code == 1 and len(desk.waited) == 160
    assert "step cluster: waited 40 minutes until EKS cluster fruits-dev is ready, in vain" in outcome.err


def test_a_failed_cluster_is_said_to_be_one(desk: Desk) -> None:
    eks(desk, "FAILED")
    outcome = desk("up", "--yes")
    assert (
        outcome.code == 6 and "EKS cluster fruits-dev is FAILED (without a reason): remove it" in outcome.err
    )
    eks(desk, "FAILED")
    desk.memory.put("objects", [])  # it never had any
    assert desk("down", "--yes").code == 0
    assert desk.is_whole()


def test_logs_of_the_control_plane_get_an_end(desk: Desk) -> None:
    logs = boto3.client("logs")
    logs.create_log_group(logGroupName="/aws/eks/fruits-dev/cluster")
    assert desk("up", "--yes").code == 0
    (group,) = logs.describe_log_groups(logGroupNamePrefix="/aws/eks/fruits-dev")["logGroups"]
    assert group["retentionInDays"] == 90
    assert desk.is_whole()


def test_an_api_that_does_not_answer_is_asked_again_and_then_named(desk: Desk) -> None:
    desk.memory.put("unreachable", 3)  # the plan asks once
    desk.memory.put("no-pools-yet", 2)
    assert desk("up", "--yes").code == 0 and len(desk.waited) == 4
    desk.memory.put("unreachable", 1000)
    outcome = desk("up", "--yes")
    assert outcome.code == 1
    assert f"step namespace: kubectl does not reach EKS cluster fruits-dev ({UNREACHABLE}" in outcome.err


def test_a_namespace_that_differs_is_brought_in_line(desk: Desk) -> None:
    objects = desk.memory.get("objects")
    desk.memory.put("objects", [{**objects[0], "other": True}, *objects[1:]])
    outcome = desk("up", "--yes")
    assert "stage dev is complete\n" in outcome.out and "apply --server-side" in outcome.out
    assert desk.memory.get("objects") == objects


def test_a_virtual_cluster_of_another_name_is_used_and_gets_the_stages_tags(desk: Desk) -> None:
    (other,) = desk.cloud.virtual_clusters()
    other.name, other.tags = "somebodys", {}
    outcome = desk("up", "--yes")
    assert f"virtual cluster {other.id} (somebodys) is RUNNING" in outcome.out
    assert other.tags == {"project": "fruits", "stage": "dev"} and desk.is_whole()


@pytest.mark.parametrize("lost", ["arrested", "of a cluster that is gone"])
def test_a_virtual_cluster_that_lost_its_cluster_makes_room(lost: str, desk: Desk) -> None:
    (old,) = desk.cloud.virtual_clusters()
    if lost == "arrested":
        old.state = "ARRESTED"
    else:
        old.created_at = old.created_at.replace(year=2020)
    outcome = desk("up", "--yes")
    assert (
        outcome.code == 0
        and f"{old.id} (fruits-dev) belongs to a deleted cluster and is deleted" in outcome.out
    )
    assert old.state == "TERMINATED" and desk.is_whole()


def test_a_retried_creation_sends_the_same_token(desk: Desk, tmp_path: Path) -> None:
    desk.cloud.virtual_clusters()[0].state = "TERMINATED"
    desk.interrupt("create-virtual-cluster")
    assert desk("up", "--yes").code == 130
    virtual = desk.cloud.virtual_clusters()[1]
    virtual.container_provider["id"] = "unseen"  # EMR's list lacks it

    def see(line: str) -> None:
        if "create-virtual-cluster" in line:
            virtual.container_provider["id"] = "fruits-dev"

    desk.after.append(see)
    assert desk("up", "--yes").code == 0
    sent = [
        call.request for call in calls(tmp_path / "api-calls") if call.operation == "CreateVirtualCluster"
    ]
    assert sent[-2] == sent[-1] and sent[-1]["clientToken"] != "built"
    assert desk.cloud.virtual_clusters()[1:] == [virtual]


def test_who_may_call_a_standing_cluster_is_changed_only_if_that_is_said(desk: Desk) -> None:
    desk("up", "--yes")
    assert "update-cluster-config" not in desk("up", "--yes").out
    desk.before.append(lambda line: CommandResult(0, "") if "update-cluster-config" in line else None)
    outcome = desk("up", "--yes", "--public-access", "198.51.100.0/24")
    access = "--resources-vpc-config publicAccessCidrs=198.51.100.0/24"
    assert f"aws eks update-cluster-config --name fruits-dev {access} --region eu-west-1" in outcome.commands


@pytest.mark.parametrize(
    ("state", "mends"), [("Disabled", "enable-key"), ("PendingDeletion", "cancel-key-deletion")]
)
def test_a_key_that_does_not_open_is_said_with_what_keeps_the_data(
    state: str, mends: str, desk: Desk
) -> None:
    desk("up", "--yes")
    kms = boto3.client("kms")
    (key,) = kms.list_keys()["Keys"]
    if state == "Disabled":
        kms.disable_key(KeyId=key["KeyId"])
    else:
        kms.schedule_key_deletion(KeyId=key["KeyId"])
    outcome = desk("up", "--yes")
    assert outcome.code == 2 and f"is {state}" in outcome.err and f"aws kms {mends} --key-id" in outcome.err


def test_an_answer_that_is_not_awss_is_one_sentence(desk: Desk) -> None:
    page = Answer(200, b"<html>a proxy's page", (("Content-Type", "text/html"),))
    desk.cloud.rules.append(lambda request: page if request.action == "DescribeStacks" else None)
    outcome = desk("status")
    assert outcome.code == 6 and "look whether a proxy is in the way" in outcome.err
