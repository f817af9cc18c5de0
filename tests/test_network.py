"""The network's template: what a pod can reach, and that a way out would be noticed."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from ipaddress import IPv4Network
from typing import Any, Final

import pytest

from tests.templates import NETWORK, Stack

# What EKS documents for clusters without internet access, and what pods of EMR call.
INTERFACES: Final = {"ecr.api", "ecr.dkr", "sts", "logs", "ec2", "eks"}
SUBNETS: Final = ("PrivateSubnetA", "PrivateSubnetB", "PrivateSubnetC")
WAYS_OUT: Final = {"AWS::EC2::InternetGateway", "AWS::EC2::NatGateway", "AWS::EC2::Route", "AWS::EC2::EIP"}

Resources = dict[str, Any]


def faults(resources: Resources) -> Iterator[str]:
    """Yield what is wrong with the resources of a network's stack."""
    properties = {name: one["Properties"] for name, one in resources.items()}
    if out := [name for name, one in resources.items() if one["Type"] in WAYS_OUT]:
        yield f"there is a way out: {', '.join(out)}"
    network = IPv4Network(properties["Vpc"]["CidrBlock"])
    ranges = [IPv4Network(properties[name]["CidrBlock"]) for name in SUBNETS]
    if not all(one.subnet_of(network) for one in ranges) or any(
        one.overlaps(other) for one in ranges for other in ranges if one is not other
    ):
        yield "subnets do not fit"
    if [properties[name]["AvailabilityZone"] for name in SUBNETS] != [f"eu-west-1{zone}" for zone in "abc"]:
        yield "subnets are not in three zones"
    for name in SUBNETS:
        if properties[name]["MapPublicIpOnLaunch"]:
            yield f"{name} gives public addresses"
        if {"Key": "kubernetes.io/role/internal-elb", "Value": "1"} not in properties[name]["Tags"]:
            yield f"{name} is not found by EKS"
    if not properties["Vpc"]["EnableDnsSupport"] or not properties["Vpc"]["EnableDnsHostnames"]:
        yield "endpoints have no names"
    yield from _faults_of_endpoints(resources)
    yield from _faults_of_the_door(properties["EndpointAccess"])
    flow = properties["FlowLog"]
    if (flow["TrafficType"], flow["ResourceType"]) != ("ALL", "VPC"):
        yield "the flow log leaves something out"
    if "RetentionInDays" not in properties["FlowLogGroup"]:
        yield "the flow log is kept for ever"


def _faults_of_endpoints(resources: Resources) -> Iterator[str]:
    found = {
        one["Properties"]["ServiceName"].removeprefix("com.amazonaws.eu-west-1."): one["Properties"]
        for one in resources.values()
        if one["Type"] == "AWS::EC2::VPCEndpoint"
    }
    if set(found) != {"s3", *INTERFACES}:
        yield f"endpoints are {', '.join(sorted(found))}"
    for service, endpoint in found.items():
        for statement in endpoint.get("PolicyDocument", {"Statement": [{"Action": "*"}]})["Statement"]:
            if statement["Action"] == "*":
                yield f"{service} has no policy"
    s3 = found.pop("s3")
    if (s3["VpcEndpointType"], s3.get("RouteTableIds")) != ("Gateway", ["PrivateRoutes"]):
        yield "s3 has no gateway"
    for service, endpoint in found.items():
        if endpoint["VpcEndpointType"] != "Interface" or not endpoint["PrivateDnsEnabled"]:
            yield f"{service} has no private name"
        if endpoint["SubnetIds"] != list(SUBNETS[:2]):
            yield f"{service} is not in two zones"
        if endpoint["SecurityGroupIds"] != ["EndpointAccess"]:
            yield f"{service} is open"


def _faults_of_the_door(access: Resources) -> Iterator[str]:
    (ingress,) = access["SecurityGroupIngress"]
    door = tuple(ingress[name] for name in ("IpProtocol", "FromPort", "ToPort", "CidrIp"))
    if door != ("tcp", 443, 443, "10.20.0.0/16"):
        yield "endpoints are open"
    (egress,) = access["SecurityGroupEgress"]
    if egress["CidrIp"] != "127.0.0.1/32":
        yield "endpoints may call out"


def test_the_network_is_without_fault() -> None:
    assert list(faults(Stack(NETWORK).resources)) == []


WORSE: Final[dict[str, Callable[[Resources], object]]] = {
    "there is a way out": lambda r: r.update(
        Route={"Type": "AWS::EC2::Route", "Properties": {"DestinationCidrBlock": "0.0.0.0/0"}}
    ),
    "subnets do not fit": lambda r: r["PrivateSubnetC"]["Properties"].update(CidrBlock="10.20.32.0/20"),
    "subnets are not in three": lambda r: r["PrivateSubnetC"]["Properties"].update(
        AvailabilityZone="eu-west-1a"
    ),
    "PrivateSubnetB gives": lambda r: r["PrivateSubnetB"]["Properties"].update(MapPublicIpOnLaunch=True),
    "PrivateSubnetA is not found": lambda r: r["PrivateSubnetA"]["Properties"].update(Tags=[]),
    "endpoints have no names": lambda r: r["Vpc"]["Properties"].update(EnableDnsHostnames=False),
    "the flow log leaves": lambda r: r["FlowLog"]["Properties"].update(TrafficType="REJECT"),
    "the flow log is kept": lambda r: r["FlowLogGroup"]["Properties"].pop("RetentionInDays"),
    "endpoints are ec2, ecr.api, ecr.dkr, eks, logs, s3": lambda r: r.pop("StsEndpoint"),
    "logs has no policy": lambda r: r["LogsEndpoint"]["Properties"].pop("PolicyDocument"),
    "s3 has no gateway": lambda r: r["S3Endpoint"]["Properties"].update(RouteTableIds=[]),
    "sts has no private name": lambda r: r["StsEndpoint"]["Properties"].update(PrivateDnsEnabled=False),
    "ecr.dkr is not in two": lambda r: r["EcrDkrEndpoint"]["Properties"]["SubnetIds"].pop(),
    "ec2 is open": lambda r: r["Ec2Endpoint"]["Properties"].update(SecurityGroupIds=["default"]),
    "endpoints are open": lambda r: r["EndpointAccess"]["Properties"]["SecurityGroupIngress"][0].update(
        CidrIp="0.0.0.0/0"
    ),
    "endpoints may call out": lambda r: r["EndpointAccess"]["Properties"]["SecurityGroupEgress"][0].update(
        CidrIp="0.0.0.0/0"
    ),
}


@pytest.mark.parametrize("fault", WORSE)
def test_a_worse_network_would_be_noticed(fault: str) -> None:
    resources = deepcopy(Stack(NETWORK).resources)
    WORSE[fault](resources)
    assert any(found.startswith(fault) for found in faults(resources))


def test_a_way_out_is_there_only_when_it_is_asked_for() -> None:
    without, with_nat = Stack(NETWORK), Stack(NETWORK, Nat="yes")
    added = set(with_nat.resources) - set(without.resources)
    assert added == {
        *("Gateway", "GatewayAttachment", "NatAddress", "NatGateway", "NatRoute"),
        *("PublicRoute", "PublicRoutes", "PublicRoutesOfSubnet", "PublicSubnet"),
    }
    assert list(faults(with_nat.resources)) == [
        "there is a way out: Gateway, PublicRoute, NatAddress, NatGateway, NatRoute"
    ]
    assert {name: with_nat.resources[name] for name in without.resources} == without.resources
    public = IPv4Network(with_nat.resources["PublicSubnet"]["Properties"]["CidrBlock"])
    taken = [IPv4Network(with_nat.resources[name]["Properties"]["CidrBlock"]) for name in SUBNETS]
    assert not any(public.overlaps(one) for one in taken)


def test_the_stack_gives_what_the_cluster_asks_for() -> None:
    assert set(Stack(NETWORK).outputs) == {"VpcId", *SUBNETS}
