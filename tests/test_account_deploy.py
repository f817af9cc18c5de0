"""Both stacks, made in an emulator by the real AWS CLI: what is there afterwards is what was written."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import boto3
import pytest

from tests.conftest import DUMMY
from tests.iam import Decision, Principal, Request, decide
from tests.s3_servers import REGION, running_moto
from tests.templates import ACCOUNT, ACCOUNT_ID, KEY_ID, NETWORK, Stack, identity_policies

AWS: Final = Path(sys.executable).with_name("aws")
EMULATED: Final = "123456789012"  # the emulator's account


class Emulator(NamedTuple):
    """AWS's stand-in, and the environment that leads to it."""

    url: str
    environment: Mapping[str, str]

    def aws(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run the AWS CLI."""
        command = [str(AWS), "--output", "json", *words]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)

    def client(self, service: Any) -> Any:
        """Return a client of boto3."""
        return _client(self.url, service)

    def stack(self, name: str) -> dict[str, Any]:
        """Return what CloudFormation says of a stack."""
        found: dict[str, Any] = self.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
        return found

    def plain(self, value: Any) -> Any:
        """Return a value with the account and the key that templates are worked out for."""
        key = self.client("kms").list_keys()["Keys"][0]["KeyId"]
        if isinstance(value, str):  # a policy, which moto hands out as Python writes it
            value = ast.literal_eval(value)
        return json.loads(json.dumps(value).replace(EMULATED, ACCOUNT_ID).replace(key, KEY_ID))


@cache
def _client(url: str, service: Any) -> Any:
    return boto3.Session("testing", "testing", region_name=REGION).client(service, endpoint_url=url)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Run the emulator, and make the two stacks of a stage in it."""
    with running_moto(tmp_path_factory.mktemp("stacks") / "log") as server:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        running = Emulator(server.url, {**inherited, **DUMMY, "AWS_ENDPOINT_URL": server.url})
        # By boto3, which is faster, and by the CLI. Not "deploy": moto forgets the outputs of its stacks.
        running.client("cloudformation").create_stack(
            StackName="fruits-dev",
            TemplateBody=ACCOUNT.read_text(encoding="utf-8"),
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        words = ["--stack-name", "fruits-dev-network", "--template-body", f"file://{NETWORK}"]
        done = running.aws("cloudformation", "create-stack", *words, "--capabilities", "CAPABILITY_IAM")
        assert done.returncode == 0, done.stderr
        yield running


def test_the_account_gives_its_outputs(emulator: Emulator) -> None:
    stack = emulator.stack("fruits-dev")
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    outputs = {one["OutputKey"]: one["OutputValue"] for one in stack["Outputs"]}
    assert emulator.plain(outputs) == Stack(ACCOUNT).outputs


def test_the_network_gives_its_outputs(emulator: Emulator) -> None:
    outputs = {
        one["OutputKey"]: one["OutputValue"] for one in emulator.stack("fruits-dev-network")["Outputs"]
    }
    assert set(outputs) == set(Stack(NETWORK).outputs)
    subnets = emulator.client("ec2").describe_subnets(
        SubnetIds=[outputs[f"PrivateSubnet{zone}"] for zone in "ABC"]
    )["Subnets"]
    assert {one["VpcId"] for one in subnets} == {outputs["VpcId"]}
    assert {one["AvailabilityZone"] for one in subnets} == {"eu-west-1a", "eu-west-1b", "eu-west-1c"}


def test_policies_are_made_as_the_other_tests_work_them_out(emulator: Emulator) -> None:
    iam = emulator.client("iam")
    job = iam.get_role_policy(RoleName="fruits-dev-job", PolicyName="job")["PolicyDocument"]
    submit = iam.get_policy_version(
        PolicyArn=f"arn:aws:iam::{EMULATED}:policy/fruits-dev-submit", VersionId="v1"
    )["PolicyVersion"]["Document"]
    made = {"ExecutionRole.job": emulator.plain(job), "SubmitPolicy": emulator.plain(submit)}
    assert made == dict(identity_policies(Stack(ACCOUNT)))
    key = emulator.client("kms").list_keys()["Keys"][0]["KeyId"]
    policy = emulator.client("kms").get_key_policy(KeyId=key, PolicyName="default")["Policy"]
    assert emulator.plain(policy) == Stack(ACCOUNT).resources["Key"]["Properties"]["KeyPolicy"]


def test_data_is_encrypted_with_the_one_key_which_grows_new_material(emulator: Emulator) -> None:
    kms, s3 = emulator.client("kms"), emulator.client("s3")
    (key,) = kms.list_keys()["Keys"]
    assert kms.get_key_rotation_status(KeyId=key["KeyId"])["KeyRotationEnabled"]
    aliases = {one["AliasName"]: one.get("TargetKeyId") for one in kms.list_aliases()["Aliases"]}
    assert aliases["alias/fruits-dev"] == key["KeyId"]
    for name in ("photos", "results", "logs"):
        found = s3.get_bucket_encryption(Bucket=f"fruits-dev-{name}-{EMULATED}")
        (rule,) = found["ServerSideEncryptionConfiguration"]["Rules"]
        assert rule["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"] == key["KeyArn"]


def test_the_repository_and_the_log_group_are_there(emulator: Emulator) -> None:
    (repository,) = emulator.client("ecr").describe_repositories()["repositories"]
    assert (repository["repositoryName"], repository["imageTagMutability"]) == ("fruits-dev", "IMMUTABLE")
    groups = emulator.client("logs").describe_log_groups(logGroupNamePrefix="/fruits/")["logGroups"]
    assert [(one["logGroupName"], one["retentionInDays"]) for one in groups] == [("/fruits/dev", 90)]


def test_the_network_has_its_endpoints_and_no_way_out(emulator: Emulator) -> None:
    ec2 = emulator.client("ec2")
    vpc = {"Name": "vpc-id", "Values": [emulator.stack("fruits-dev-network")["Outputs"][0]["OutputValue"]]}
    made = ec2.describe_vpc_endpoints(Filters=[vpc])["VpcEndpoints"]
    assert sorted(one["ServiceName"].partition("eu-west-1.")[2] for one in made) == [
        *("ec2", "ecr.api", "ecr.dkr", "eks", "logs", "s3", "sts")
    ]
    tables = ec2.describe_route_tables(Filters=[vpc])["RouteTables"]
    routes = {route.get("DestinationCidrBlock") for table in tables for route in table["Routes"]}
    assert routes - {None} == {"10.20.0.0/16"}, "and S3, by its prefix list"
    assert not ec2.describe_nat_gateways()["NatGateways"]
    (log,) = ec2.describe_flow_logs()["FlowLogs"]
    assert (log["ResourceId"], log["TrafficType"]) == (vpc["Values"][0], "ALL")


def test_the_cli_deploys_a_stage_and_a_second_time_changes_nothing(emulator: Emulator) -> None:
    cloudformation = emulator.client("cloudformation")
    words = ["--stack-name", "fruits-prod", "--template-file", str(ACCOUNT), "--tags", "project=fruits"]
    words += ["--parameter-overrides", "Stage=prod", "--capabilities", "CAPABILITY_NAMED_IAM"]
    first = emulator.aws("cloudformation", "deploy", *words)
    assert first.returncode == 0, first.stderr
    assert emulator.stack("fruits-prod")["StackStatus"] == "CREATE_COMPLETE"
    made = cloudformation.list_stack_resources(StackName="fruits-prod")["StackResourceSummaries"]
    assert len(made) > 10
    # AWS makes an empty change set, and the CLI ends with 0; moto answers as AWS does to update-stack.
    second = emulator.aws("cloudformation", "deploy", *words)
    assert "No updates are to be performed" in second.stderr
    again = cloudformation.list_stack_resources(StackName="fruits-prod")["StackResourceSummaries"]
    assert again == made
    cloudformation.delete_stack(StackName="fruits-prod")


def test_pods_join_the_role_that_let_nobody_in(emulator: Emulator) -> None:
    """What the AWS CLI appends is not held back by what the template began with, nor the other way round."""
    iam = emulator.client("iam")
    role = f"arn:aws:iam::{EMULATED}:role/fruits-dev-job"
    emulator.client("eks").create_cluster(name="fruits-dev", roleArn=role, resourcesVpcConfig={})
    words = ["--cluster-name", "fruits-dev", "--namespace", "fruits", "--role-name", "fruits-dev-job"]
    for _ in range(2):
        done = emulator.aws("emr-containers", "update-role-trust-policy", *words)
        assert done.returncode == 0, done.stderr
    trust = iam.get_role(RoleName="fruits-dev-job")["Role"]["AssumeRolePolicyDocument"]
    assert len(trust["Statement"]) == 2
    provider = trust["Statement"][1]["Principal"]["Federated"]
    pod = Principal(federated=provider)
    subject = f"{provider.partition('oidc-provider/')[2]}:sub"
    account = f"system:serviceaccount:fruits:emr-containers-sa-spark-driver-{EMULATED}-4bfx821rkad0m92ahx55cy"
    for name, expected in ((account, Decision.ALLOWED), (account.replace("fruits:", "x:"), Decision.DENIED)):
        request = Request(pod, "sts:AssumeRoleWithWebIdentity", role, EMULATED, {subject: name})
        assert decide(request, resource=trust) is expected
    admin = Principal(f"arn:aws:iam::{EMULATED}:role/admin", EMULATED)
    anything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    request = Request(admin, "sts:AssumeRole", role, EMULATED)
    assert decide(request, [anything], resource=trust) is Decision.FORBIDDEN
