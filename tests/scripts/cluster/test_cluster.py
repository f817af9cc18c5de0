"""cluster.sh: a stage from nothing and back, with the real AWS CLI."""

import json
from pathlib import Path
from typing import Final

import boto3
import pytest

from scripts.cluster import trust
from tests.support.aws_emulator import ACCOUNT
from tests.support.checked.requests import calls
from tests.support.recorders.desk import Desk

# The pods' subject as the AWS CLI writes it for this role.
SUBJECT: Final = f"system:serviceaccount:fruits:emr-containers-sa-*-*-{ACCOUNT}-4bfx821rkad0m92ahx55cy"


def changes(file: Path) -> list[str]:
    """Return the operations that change something at AWS."""
    looking = ("Describe", "List", "Get", "Head")
    return [call.operation for call in calls(file) if not call.operation.startswith(looking)]


def test_up_makes_a_stage_step_by_step(desk: Desk) -> None:
    outcome = desk("up", "--yes")
    assert (outcome.code, outcome.err) == (0, "")
    assert [line.split(" --")[0] for line in outcome.commands] == [
        "aws cloudformation deploy",
        "aws cloudformation deploy",
        "eksctl create cluster -f -",
        "aws eks update-kubeconfig",
        "kubectl",
        "kubectl",
        "aws emr-containers create-virtual-cluster",
        "aws emr-containers update-role-trust-policy",
        *["kubectl"] * 3,
    ]
    assert "\nstage dev is complete\n" in outcome.out
    (virtual,) = desk.cloud.virtual_clusters()
    assert (virtual.name, virtual.namespace, virtual.container_provider_id) == (
        "fruits-dev",
        "fruits",
        "fruits-dev",
    )
    assert virtual.tags == {"project": "fruits", "stage": "dev"}
    kinds = {manifest["kind"] for manifest in desk.memory.get("objects")}
    assert {"Namespace", "NodePool", "NetworkPolicy", "ResourceQuota"} <= kinds


def test_the_cluster_is_what_the_stacks_have_made(desk: Desk) -> None:
    desk("up", "--yes", "--public-access", "198.51.100.0/24,203.0.113.7/32")
    stacks = boto3.client("cloudformation")
    outputs = stacks.describe_stacks(StackName="fruits-dev-network")["Stacks"][0]["Outputs"]
    network = {output["OutputKey"]: output["OutputValue"] for output in outputs}
    cluster = boto3.client("eks").describe_cluster(name="fruits-dev")["cluster"]
    subnets = [network[f"PrivateSubnet{zone}"] for zone in "ABC"]
    assert cluster["resourcesVpcConfig"]["subnetIds"] == subnets
    (encryption,) = cluster["encryptionConfig"]
    described = boto3.client("kms").describe_key(KeyId=encryption["provider"]["keyArn"])
    assert described["KeyMetadata"]["KeyState"] == "Enabled"
    assert "- 198.51.100.0/24\n  - 203.0.113.7/32\n" in desk.memory.get("eksctl-config")
    assert f"id: {network['VpcId']}" in desk.memory.get("eksctl-config")


def test_the_runs_of_this_cluster_and_nobody_else_may_become_the_role(desk: Desk) -> None:
    desk("up", "--yes")
    role = boto3.client("iam").get_role(RoleName="fruits-dev-job")["Role"]
    document = role["AssumeRolePolicyDocument"]
    issuer = boto3.client("eks").describe_cluster(name="fruits-dev")["cluster"]["identity"]["oidc"]["issuer"]
    provider = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{issuer.removeprefix('https://')}"
    assert trust.is_trusted(dict(document), provider, SUBJECT)
    assert "Deny" in json.dumps(document), "the statement that lets nobody in stays"


def test_a_second_up_changes_nothing_and_says_so(desk: Desk, tmp_path: Path) -> None:
    desk("up", "--yes")
    before, objects = len(changes(tmp_path / "api-calls")), desk.memory.get("objects")
    outcome = desk("up")  # asks no question
    assert (outcome.code, outcome.err) == (0, "")
    assert "stage dev is complete: nothing was changed" in outcome.out
    assert [line.split(" --")[0] for line in outcome.commands] == ["aws eks update-kubeconfig"]
    assert len(changes(tmp_path / "api-calls")) == before and desk.memory.get("objects") == objects


def test_a_dry_run_shows_every_command_and_changes_nothing(desk: Desk, tmp_path: Path) -> None:
    shown = desk("up", "--dry-run")
    assert (shown.code, shown.err) == (0, "")
    assert changes(tmp_path / "api-calls") == [] and desk.ran == []
    for unknown in ("<KeyArn>", "<VpcId>", "<PrivateSubnetC>", "<ClientToken>"):
        assert unknown in shown.out
    outcome = desk("up", "--yes")
    assert [line.split()[:4] for line in shown.commands] == [line.split()[:4] for line in outcome.commands]
    plan = desk("up", "--dry-run")
    steps = plan.out.split("== account")[1].split("dry run")[0].replace("<<'END'", "")
    assert plan.code == 0 and "<" not in steps


def test_up_says_what_it_makes_and_what_that_costs_before_it_asks(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    refused = desk("up", answer="n")
    assert refused.code == 2 and desk.cloud.virtual_clusters() == []
    assert refused.err == "error: the answer was not 'y': nothing was changed\n"
    plan, _, question = refused.out.rpartition("\nMake it?")
    assert question and "the whole stage costs 0.101 USD an hour at rest, 74 USD a month" in plan
    for part in ("stack fruits-dev-network", "EKS cluster fruits-dev", "virtual cluster fruits-dev of EMR"):
        assert part in plan
    assert desk("up", answer="Y ").code == 0


def test_status_shows_what_there_is_and_what_it_costs_and_changes_nothing(desk: Desk, tmp_path: Path) -> None:
    nothing = desk("status")
    assert nothing.code == 0
    assert nothing.out.splitlines()[1:] == ["nothing: ./scripts/cluster.sh up --stage dev makes it"]
    desk("up", "--yes")
    (virtual,), before = desk.cloud.virtual_clusters(), len(changes(tmp_path / "api-calls"))
    lines = desk("status").out.splitlines()
    assert lines[1] == "stack           fruits-dev: CREATE_COMPLETE"
    assert "cluster         fruits-dev: ACTIVE, Kubernetes 1.35" in lines
    assert "namespace       Active" in lines
    assert f"virtual cluster {virtual.id} (fruits-dev): RUNNING" in lines
    assert "trust           the runs may become the job's role" in lines
    assert lines[-1].startswith(
        "costs           0.101 USD an hour (account 0.001, network 0.000, cluster 0.100"
    )
    assert len(changes(tmp_path / "api-calls")) == before


def test_down_removes_all_but_the_data_and_a_second_one_nothing(desk: Desk, tmp_path: Path) -> None:
    desk("up", "--yes")
    outcome = desk("down", "--yes")
    assert (outcome.code, outcome.err) == (0, "")
    assert [" ".join(line.replace("--kubeconfig ", "").split()[:4]) for line in outcome.commands] == [
        "aws emr-containers delete-virtual-cluster --id",
        "aws eks update-kubeconfig --name",
        f"kubectl {tmp_path}/build/kubeconfig-dev delete -k",
        "eksctl delete cluster --name",
        "aws iam update-assume-role-policy --role-name",
        "aws cloudformation delete-stack --stack-name",
    ]
    stacks = [stack["StackName"] for stack in boto3.client("cloudformation").describe_stacks()["Stacks"]]
    assert stacks == ["fruits-dev"]
    assert boto3.client("eks").list_clusters()["clusters"] == [] and desk.memory.get("objects") == []
    assert len(boto3.client("s3").list_buckets()["Buckets"]) == 3
    assert not (tmp_path / "build" / "kubeconfig-dev").exists()
    again = desk("down")  # asks no question
    assert again.code == 0 and again.commands == []
    kept = "stack fruits-dev with its data is kept: --delete-data deletes it too"
    assert again.out.splitlines()[1] == f"there is nothing to remove; {kept}"


def test_a_stage_comes_back_with_its_data(desk: Desk) -> None:
    desk("up", "--yes")
    boto3.client("s3").put_object(Bucket=f"fruits-dev-photos-{ACCOUNT}", Key="photos/a.jpg", Body=b"a")
    desk("down", "--yes")
    outcome = desk("up", "--yes")
    assert (outcome.code, outcome.err) == (0, "")
    assert boto3.client("s3").get_object(Bucket=f"fruits-dev-photos-{ACCOUNT}", Key="photos/a.jpg")
    states = sorted(virtual.state for virtual in desk.cloud.virtual_clusters())
    assert states == ["RUNNING", "TERMINATED"], "the second is another one, by another token"


def test_a_virtual_cluster_that_somebody_deleted_is_made_anew(desk: Desk) -> None:
    desk("up", "--yes")
    (first,) = desk.cloud.virtual_clusters()
    first.state = "TERMINATED"
    assert desk("up", "--yes").code == 0, "the first one's token would give the first one back"
    assert desk.cloud.virtual_clusters()[1].state == "RUNNING"


def test_stages_do_not_touch_each_other(desk: Desk) -> None:
    desk("up", "--yes", "--stage", "prod")
    assert desk("down", "--yes", "--delete-data").out.splitlines()[1] == "there is nothing to remove"
    lines = desk("status", "--stage", "prod").out.splitlines()
    assert "cluster         fruits-prod: ACTIVE, Kubernetes 1.35" in lines
    assert desk("status").out.splitlines()[1].startswith("nothing")
