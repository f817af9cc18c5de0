"""cluster.sh down: runs, incomplete stages, and obstacles."""

from collections.abc import Callable
from typing import Any

import boto3
import pytest

from scripts.cluster import stage_state
from scripts.cluster.cluster_tools import CommandResult
from tests.support.aws_emulator import Request
from tests.support.recorders.desk import Desk
from tests.support.recorders.emulator import stacks

pytestmark = pytest.mark.usefixtures("standing")


def later(desk: Desk, run: Any, polls: int) -> None:
    """Let a cancelled run end after a number of polls."""
    polls_left = [polls]

    def rule(request: Request) -> None:
        if run.state == "CANCELLED" and polls_left[0] == polls:
            run.state = "CANCEL_PENDING"
        if run.state == "CANCEL_PENDING" and "/jobruns?" in request.path:
            polls_left[0] -= 1
            run.state = "CANCEL_PENDING" if polls_left[0] > 0 else "CANCELLED"

    desk.cloud.rules.append(rule)


def test_runs_are_cancelled_and_waited_for_before_their_cluster_goes(desk: Desk) -> None:
    first, second, ended = desk.start("one"), desk.start("two"), desk.start("three")
    ended.state, second.state = "COMPLETED", "PENDING"
    later(desk, first, 4)
    outcome = desk("down", "--yes")
    assert (outcome.code, outcome.err) == (0, "")
    assert f"run {first.id} (one), RUNNING: it is cancelled" in outcome.out and ended.id not in outcome.out
    assert [line.split()[2] for line in outcome.commands[:3]] == [
        "cancel-job-run", "cancel-job-run", "delete-virtual-cluster",
    ]  # fmt: skip
    assert (first.state, second.state, ended.state) == ("CANCELLED", "CANCELLED", "COMPLETED")
    assert "waiting until the runs have ended (0 min)" in outcome.out and desk.waited


def test_a_run_that_does_not_end_keeps_its_cluster(desk: Desk) -> None:
    later(desk, desk.start("stuck"), 10_000)
    outcome = desk("down", "--yes")
    assert outcome.code == 1 and len(desk.waited) == 80
    message = "error: step runs: waited 20 minutes until the runs have ended, in vain; nothing"
    assert outcome.err.startswith(message)
    assert boto3.client("eks").list_clusters()["clusters"] == ["fruits-dev"]


def test_nodes_go_before_their_cluster(desk: Desk) -> None:
    node = [{"metadata": {"name": "i-1"}}]
    desk.memory.put("nodes", [node, node, []])
    outcome = desk("down", "--yes")
    assert outcome.code == 0 and "waiting until the nodes are gone (0 min)" in outcome.out
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
    desk.interrupt(command)
    outcome = desk("down", "--yes")
    assert outcome.code == 130 and outcome.err.startswith(f"error: step {step}: interrupted")
    assert outcome.err.endswith("./scripts/cluster.sh down --stage dev goes on from there\n")
    assert desk("down", "--yes").code == 0
    assert [stack.name for stack in stacks()] == ["fruits-dev"]
    assert desk("status").out.count("none") >= 5


def test_the_command_that_goes_on_has_every_option_of_the_first(desk: Desk) -> None:
    options = ["--delete-data", "--without-kubectl"]
    desk.interrupt("delete-virtual-cluster")
    outcome = desk("down", "--yes", *options)
    assert outcome.err.endswith(f"cluster.sh down --stage dev {' '.join(options)} goes on from there\n")


def test_eksctls_stack_without_its_cluster_is_removed_too(desk: Desk) -> None:
    desk.memory.put("ends", "cluster")
    assert desk("down", "--yes").code == 130
    outcome = desk("down", "--yes")
    assert outcome.code == 0
    assert "aws cloudformation delete-stack --stack-name eksctl-fruits-dev-cluster" in outcome.out


def test_a_cluster_that_cannot_be_reached_is_removed_only_if_that_is_said(desk: Desk) -> None:
    desk.memory.put("unreachable", 1000)
    outcome = desk("down", "--yes")
    assert (
        outcome.code == 1 and "step namespace: kubectl does not reach EKS cluster fruits-dev (" in outcome.err
    )
    assert "say --without-kubectl, and look for what is left in EC2: security groups" in outcome.err
    assert "describe-instances --include-managed-resources" in outcome.err
    desk.memory.put("objects", [])
    assert desk("down", "--yes", "--without-kubectl").code == 0
    assert boto3.client("eks").list_clusters()["clusters"] == []


def test_a_protected_cluster_is_unprotected_after_the_question(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage_state, "cluster", protected(stage_state.cluster))
    line = "+ aws eks update-cluster-config --name fruits-dev --no-deletion-protection --region eu-west-1\n"
    assert line in desk("down", "--dry-run").out


def protected(cluster: Callable[..., Any]) -> Callable[..., Any]:
    """Add deletion protection, which moto lacks, to EKS's answer."""
    return lambda *about: {**(cluster(*about) or {}), "deletionProtection": True}


def test_a_dry_run_shows_what_would_go_and_changes_nothing(desk: Desk) -> None:
    shown = desk("down", "--dry-run", "--delete-data")
    assert shown.code == 0 and shown.out.rstrip().endswith("dry run: nothing was changed")
    assert desk.cloud.virtual_clusters()[0].state == "RUNNING" and len(stacks()) == 3
    outcome = desk("down", "--yes", "--delete-data")
    assert [line.split()[:3] for line in shown.commands] == [line.split()[:3] for line in outcome.commands]


def test_a_stack_that_cannot_go_says_which_resource_keeps_it(desk: Desk) -> None:
    def refuse(line: str) -> Any:
        if "delete-stack --stack-name fruits-dev-network" not in line:
            return None
        (stack,) = [stack for stack in stacks() if stack.name == "fruits-dev-network"]
        stack._add_stack_event("DELETE_FAILED", resource_status_reason="The subnet has dependencies.")
        stack.events[-1].logical_resource_id = "A"
        stack.status = "DELETE_FAILED"
        return CommandResult(0, "")

    desk.before.append(refuse)
    outcome = desk("down", "--yes")
    assert outcome.code == 6
    assert "stack fruits-dev-network is in DELETE_FAILED: A: The subnet has dependencies; done" in outcome.err
    desk.before.clear()
    assert desk("down", "--yes").code == 0


def test_a_run_that_ends_before_it_is_cancelled_is_no_error(desk: Desk) -> None:
    run = desk.start("monday")

    def end(line: str) -> None:
        if "cancel-job-run" in line:
            run.state = "COMPLETED"

    desk.before.append(end)
    outcome = desk("down", "--yes")
    assert outcome.code == 0 and "it has ended meanwhile" in outcome.out
