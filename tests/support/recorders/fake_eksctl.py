"""A stand-in for eksctl: it refuses what eksctl refuses, and creates clusters in the emulator.

Flags, messages and the order of work are those of its sources (pkg/ctl, pkg/actions/cluster,
pkg/eks/tasks.go) and of its issues 1967, 4662 and 7704.
"""

import re
import sys
from collections.abc import Sequence
from typing import IO, Any, Final

import boto3
import yaml
from botocore.exceptions import ClientError

from tests.support.eksctl import CLUSTER_CONFIG
from tests.support.recorders.arguments import Line, Memory, Refused, read
from tests.support.schemas import faults

VERSION: Final = "0.230.0"
SUPPORTED: Final = ("1.31", "1.32", "1.33", "1.34", "1.35", "1.36")
SWITCHES: Final = ("wait", "approve", "disable-nodegroup-eviction", "force", "write-kubeconfig")
SHORT: Final = {"f": "config-file", "n": "name", "r": "region", "w": "wait", "p": "profile"}
STACK: Final = "{Resources: {Queue: {Type: AWS::SQS::Queue}}}"


def main(arguments: Sequence[str], source: IO[str]) -> int:
    """Run eksctl's command and return the exit code."""
    memory = Memory.here()
    memory.note("eksctl", arguments)
    try:
        line = read(arguments, SWITCHES, SHORT)
        if line.words == ["version"]:
            print(memory.get("eksctl-version", VERSION))
            return 0
        work = {
            ("create", "cluster"): _create,
            ("delete", "cluster"): _delete,
            ("utils", PROVIDER): _associate,
        }
        if tuple(line.words) not in work:
            raise Refused(f'Error: unknown command "{" ".join(line.words)}" for "eksctl"')
        work[tuple(line.words)](line, memory, source)  # type: ignore[index]
    except Refused as refused:
        print(refused, file=sys.stderr)
        return 1
    return 0


ACCESS_POLICIES: Final = "arn:aws:eks::aws:cluster-access-policy/"
PROVIDER: Final = "associate-iam-oidc-provider"


def _create(line: Line, memory: Memory, source: IO[str]) -> None:
    line.take("config-file", "write-kubeconfig", "profile")
    if line.flags.get("config-file") != "-":
        raise Refused("Error: only standard input is read here")
    if line.flags.get("write-kubeconfig") != "false":
        raise Refused("here: this would write into the user's own kubeconfig")
    text = source.read()
    memory.put("eksctl-config", text)
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise Refused(f'Error: loading config file "-": error converting YAML to JSON: {error}') from None
    _check(config)
    name, region = config["metadata"]["name"], config["metadata"]["region"]
    clients = boto3.Session(region_name=region)
    print(f'2026-11-22 10:00:00 [▶]  building cluster stack "eksctl-{name}-cluster"')
    try:
        clients.client("cloudformation").create_stack(StackName=f"eksctl-{name}-cluster", TemplateBody=STACK)
    except ClientError:
        stack = f"eksctl-{name}-cluster"
        message = (
            f'creating CloudFormation stack "{stack}": AlreadyExistsException: Stack [{stack}] already exists'
        )
        cross = f"2026-11-22 10:00:01 [✖]  {message}"
        raise Refused(f'{cross}\nError: failed to create cluster "{name}"') from None
    memory.ends_at("stack")
    subnets = [subnet["id"] for subnet in config["vpc"]["subnets"]["private"].values()]
    clients.client("eks").create_cluster(
        name=name,
        version=config["metadata"]["version"],
        roleArn="arn:aws:iam::123456789012:role/eksctl-made",
        resourcesVpcConfig={"subnetIds": subnets},
        encryptionConfig=[
            {"resources": ["secrets"], "provider": {"keyArn": config["secretsEncryption"]["keyARN"]}}
        ],
        tags=config["metadata"]["tags"],
    )
    # EKS does that by itself.
    role = config["autoModeConfig"]["nodeRoleARN"]
    memory.put("access-entries", {role: [f"{ACCESS_POLICIES}AmazonEKSAutoNodePolicy"]})
    memory.ends_at("cluster")
    if config["iam"]["withOIDC"]:
        _provide(clients, name)
    print(f'2026-11-22 10:15:00 [✔]  EKS cluster "{name}" in "{region}" region is ready')


def _check(config: Any) -> None:
    """Refuse a configuration that eksctl refuses, or that has places not filled in."""
    for fault in faults(config, CLUSTER_CONFIG):
        raise Refused(f'Error: loading config file "-": {fault}')
    if config["metadata"].get("version") not in SUPPORTED:
        raise Refused(f"Error: invalid version, supported values: {', '.join(SUPPORTED)}")
    if place := re.search(r"\$\{|<[A-Z]", yaml.safe_dump(config)):
        raise Refused(f"here: {place[0]} is not filled in")
    region = config["metadata"]["region"]
    subnets = [subnet["id"] for subnet in config["vpc"]["subnets"]["private"].values()]
    try:
        boto3.client("ec2", region_name=region).describe_subnets(SubnetIds=subnets)
        boto3.client("kms", region_name=region).describe_key(KeyId=config["secretsEncryption"]["keyARN"])
    except ClientError as error:
        raise Refused(f"Error: {error}") from None


def _delete(line: Line, memory: Memory, _: IO[str]) -> None:
    line.take("name", "region", "wait", "disable-nodegroup-eviction", "force", "profile")
    name, clients = line.flags["name"], boto3.Session(region_name=line.flags["region"])
    if line.flags.get("wait") != "true":
        raise Refused("here: without --wait the cluster is still there afterwards")
    cluster = _described(clients, name)
    if memory.get("unreachable") and line.flags.get("force") != "true":
        raise Refused('Error: cannot list Kubernetes Services: Get "https://x/api/v1/services": i/o timeout')
    if memory.get("objects"):
        raise Refused("here: there are pools of nodes left, so EKS would leave a security group")
    issuer = cluster["identity"]["oidc"]["issuer"].removeprefix("https://")
    iam = clients.client("iam")
    for provider in iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]:
        if provider["Arn"].endswith(issuer):
            iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=provider["Arn"])
    clients.client("eks").delete_cluster(name=name)
    memory.ends_at("cluster")
    clients.client("cloudformation").delete_stack(StackName=f"eksctl-{name}-cluster")
    print("2026-11-22 11:00:00 [✔]  all cluster resources were deleted")


def _associate(line: Line, _: Memory, __: IO[str]) -> None:
    line.take("cluster", "region", "approve", "profile")
    if line.flags.get("approve") != "true":
        print("[!]  no changes were applied, run again with '--approve' to apply the changes")
        return
    clients = boto3.Session(region_name=line.flags["region"])
    _described(clients, line.flags["cluster"])
    _provide(clients, line.flags["cluster"])


def _described(clients: boto3.Session, name: str) -> Any:
    try:
        return clients.client("eks").describe_cluster(name=name)["cluster"]
    except ClientError as error:
        raise Refused(
            f"Error: unable to describe cluster control plane: operation error EKS: {error}"
        ) from None


def _provide(clients: boto3.Session, name: str) -> None:
    issuer = _described(clients, name)["identity"]["oidc"]["issuer"]
    clients.client("iam").create_open_id_connect_provider(Url=issuer, ClientIDList=["sts.amazonaws.com"])
