"""cluster.sh up gives the nodes' role and a role of administrators their access entries."""

from pathlib import Path
from typing import Any, Final

import boto3
import pytest

from tests.support.aws_emulator import ACCOUNT
from tests.support.checked.requests import calls
from tests.support.recorders.desk import Desk

NODES: Final = f"arn:aws:iam::{ACCOUNT}:role/fruits-dev-node"
ADMINS: Final = f"arn:aws:iam::{ACCOUNT}:role/teams/admins"
POLICIES: Final = "arn:aws:eks::aws:cluster-access-policy/"


@pytest.fixture(autouse=True)
def _admins(desk: Desk) -> None:
    assert desk.ran == []
    boto3.client("iam").create_role(RoleName="admins", Path="/teams/", AssumeRolePolicyDocument="{}")


@pytest.mark.parametrize(
    ("role", "message"),
    [
        ("arn:aws:iam::999999999999:role/teams/admins", f"it is of account 999999999999, not of {ACCOUNT}"),
        (f"arn:aws:iam::{ACCOUNT}:role/nobody", "there is no such role"),
        (f"arn:aws:iam::{ACCOUNT}:role/admins", f"the role of that name is {ADMINS}"),
    ],
)
def test_a_role_of_administrators_that_is_not_there_is_refused(role: str, message: str, desk: Desk) -> None:
    outcome = desk("up", "--yes", "--admin-role", role)
    assert (outcome.code, outcome.err) == (2, f"error: --admin-role {role}: {message}\n")
    assert outcome.commands == []


def requests(folder: Path, operation: str) -> list[Any]:
    return [call.request for call in calls(folder / "api-calls") if call.operation == operation]


def test_eks_lets_the_nodes_in_and_up_lets_the_administrators_in(desk: Desk, tmp_path: Path) -> None:
    outcome = desk("up", "--yes", "--admin-role", ADMINS)
    assert (outcome.code, outcome.err) == (0, "")
    assert f"nodeRoleARN: {NODES}\n" in desk.memory.get("eksctl-config")
    assert desk.memory.get("access-entries") == {
        NODES: [f"{POLICIES}AmazonEKSAutoNodePolicy"],
        ADMINS: [f"{POLICIES}AmazonEKSClusterAdminPolicy"],
    }
    (entry,) = requests(tmp_path, "CreateAccessEntry")
    assert entry == {"clusterName": "fruits-dev", "principalArn": ADMINS, "type": "STANDARD"}
    (association,) = requests(tmp_path, "AssociateAccessPolicy")
    assert association["accessScope"] == {"type": "cluster"}
    again = desk("up", "--admin-role", ADMINS)
    assert "stage dev is complete: nothing was changed" in again.out


@pytest.mark.usefixtures("standing")
@pytest.mark.parametrize("entries", [{}, {NODES: []}])
def test_a_cluster_of_an_older_configuration_lets_the_nodes_in_too(
    entries: dict[str, list[str]], desk: Desk
) -> None:
    desk.memory.put("access-entries", entries)
    outcome = desk("up", "--yes")
    assert outcome.code == 0
    assert ("create-access-entry" in outcome.out) == (not entries)
    assert desk.memory.get("access-entries") == {NODES: [f"{POLICIES}AmazonEKSAutoNodePolicy"]}


def test_a_dry_run_shows_the_administrators_entry(desk: Desk) -> None:
    outcome = desk("up", "--dry-run", "--admin-role", ADMINS)
    commands = [line for line in outcome.commands if " eks " in line and "kubeconfig" not in line]
    assert [line.split()[2] for line in commands] == ["create-access-entry", "associate-access-policy"]
