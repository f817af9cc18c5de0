"""Both stacks in the emulator are as the other tests evaluate them."""

import ast
import json
from typing import Any

import boto3

from tests.support import aws_emulator as clouds
from tests.support.aws_emulator import Cloud
from tests.support.cloud_stage import CloudStage
from tests.support.templates import ACCOUNT, ACCOUNT_ID, KEY_ID, NETWORK, Stack, identity_policies


def plain(value: Any) -> Any:
    """Return a value with the account and key of the evaluated templates."""
    key = boto3.client("kms").list_keys()["Keys"][0]["KeyId"]
    if isinstance(value, str):  # moto returns a policy as Python's repr
        value = ast.literal_eval(value)
    return json.loads(json.dumps(value).replace(clouds.ACCOUNT, ACCOUNT_ID).replace(key, KEY_ID))


def test_the_account_gives_its_outputs(dev_stage: CloudStage) -> None:
    assert plain(dev_stage.outputs) == Stack(ACCOUNT).outputs


def test_policies_are_made_as_the_other_tests_work_them_out(dev_stage: CloudStage) -> None:
    iam, kms = boto3.client("iam"), boto3.client("kms")
    job = iam.get_role_policy(RoleName="fruits-dev-job", PolicyName="job")["PolicyDocument"]
    submit = iam.get_policy_version(PolicyArn=dev_stage.outputs["SubmitPolicyArn"], VersionId="v1")
    documents = {
        "ExecutionRole.job": plain(job),
        "SubmitPolicy": plain(submit["PolicyVersion"]["Document"]),
    }
    assert documents == dict(identity_policies(Stack(ACCOUNT)))
    policy = kms.get_key_policy(KeyId=dev_stage.outputs["KeyArn"], PolicyName="default")["Policy"]
    assert plain(policy) == Stack(ACCOUNT).resources["Key"]["Properties"]["KeyPolicy"]


def test_the_network_gives_its_outputs_and_has_no_way_out(cloud: Cloud) -> None:
    assert not cloud.runs()
    stacks, ec2 = boto3.client("cloudformation"), boto3.client("ec2")
    stacks.create_stack(StackName="fruits-dev-network", TemplateBody=NETWORK.read_text(encoding="utf-8"))
    stack = stacks.describe_stacks(StackName="fruits-dev-network")["Stacks"][0]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    assert set(outputs) == set(Stack(NETWORK).outputs)
    zones = [outputs[f"PrivateSubnet{zone}"] for zone in "ABC"]
    subnets = ec2.describe_subnets(SubnetIds=zones)["Subnets"]
    assert {subnet["VpcId"] for subnet in subnets} == {outputs["VpcId"]}
    vpc: Any = [{"Name": "vpc-id", "Values": [outputs["VpcId"]]}]
    tables = ec2.describe_route_tables(Filters=vpc)["RouteTables"]
    routes = {route.get("DestinationCidrBlock") for table in tables for route in table["Routes"]}
    assert routes - {None} == {"10.20.0.0/16"}, "and S3, by its prefix list"
