"""The network's template: pods reach AWS through endpoints, and have no route out."""

from ipaddress import IPv4Network
from itertools import combinations
from typing import Final

from tests.support.templates import NETWORK, Stack

# The endpoints that EKS documents for clusters without internet access, and that EMR's pods call.
INTERFACES: Final = {"ecr.api", "ecr.dkr", "sts", "logs", "ec2", "eks"}
SUBNETS: Final = ("PrivateSubnetA", "PrivateSubnetB", "PrivateSubnetC")
ENDPOINT_SUBNETS: Final = ("EndpointSubnetA", "EndpointSubnetB")
WAYS_OUT: Final = {"AWS::EC2::InternetGateway", "AWS::EC2::NatGateway", "AWS::EC2::Route", "AWS::EC2::EIP"}

PLAIN: Final = Stack(NETWORK)
PROPERTIES: Final = {name: resource["Properties"] for name, resource in PLAIN.resources.items()}


def ways_out(stack: Stack) -> list[str]:
    return [name for name, resource in stack.resources.items() if resource["Type"] in WAYS_OUT]


def test_private_subnets_in_three_zones_fit_the_network() -> None:
    network = IPv4Network(PROPERTIES["Vpc"]["CidrBlock"])
    ranges = [IPv4Network(PROPERTIES[name]["CidrBlock"]) for name in (*SUBNETS, *ENDPOINT_SUBNETS)]
    assert all(subnet.subnet_of(network) for subnet in ranges)
    assert not any(subnet.overlaps(other) for subnet, other in combinations(ranges, 2))
    subnets = [PROPERTIES[name] for name in SUBNETS]
    assert [subnet["AvailabilityZone"] for subnet in subnets] == [f"eu-west-1{zone}" for zone in "abc"]
    for subnet in subnets:
        assert not subnet["MapPublicIpOnLaunch"]
        assert {"Key": "kubernetes.io/role/internal-elb", "Value": "1"} in subnet["Tags"], "EKS looks for it"


def test_endpoints_have_subnets_in_which_eks_places_nothing() -> None:
    zones = [PROPERTIES[name]["AvailabilityZone"] for name in ENDPOINT_SUBNETS]
    assert zones == ["eu-west-1a", "eu-west-1b"]
    for name in ENDPOINT_SUBNETS:
        assert not any("kubernetes.io" in tag["Key"] for tag in PROPERTIES[name]["Tags"])
        assert not PROPERTIES[name]["MapPublicIpOnLaunch"]
    assert not {*ENDPOINT_SUBNETS} & {*PLAIN.outputs}, "cluster.yaml cannot name them"


def test_every_service_that_pods_call_has_an_endpoint_with_a_policy() -> None:
    endpoints = PLAIN.of_type("EC2::VPCEndpoint").values()
    by_service = {
        endpoint["ServiceName"].removeprefix("com.amazonaws.eu-west-1."): endpoint for endpoint in endpoints
    }
    assert set(by_service) == {"s3", *INTERFACES}
    for endpoint in by_service.values():
        assert all(statement["Action"] != "*" for statement in endpoint["PolicyDocument"]["Statement"])
    s3 = by_service.pop("s3")
    assert (s3["VpcEndpointType"], s3["RouteTableIds"]) == ("Gateway", ["PrivateRoutes"])
    for endpoint in by_service.values():
        assert endpoint["VpcEndpointType"] == "Interface" and endpoint["PrivateDnsEnabled"]
        assert endpoint["SubnetIds"] == list(ENDPOINT_SUBNETS)
        assert endpoint["SecurityGroupIds"] == ["EndpointAccess"]
    assert PROPERTIES["Vpc"]["EnableDnsSupport"] and PROPERTIES["Vpc"]["EnableDnsHostnames"], (
        "for their names"
    )


def test_endpoints_are_open_to_the_network_alone_and_call_nobody() -> None:
    (ingress,) = PROPERTIES["EndpointAccess"]["SecurityGroupIngress"]
    door = tuple(ingress[name] for name in ("IpProtocol", "FromPort", "ToPort", "CidrIp"))
    assert door == ("tcp", 443, 443, "10.20.0.0/16")
    (egress,) = PROPERTIES["EndpointAccess"]["SecurityGroupEgress"]
    assert egress["CidrIp"] == "127.0.0.1/32"


def test_the_flow_log_leaves_nothing_out_and_goes_in_time() -> None:
    assert (PROPERTIES["FlowLog"]["TrafficType"], PROPERTIES["FlowLog"]["ResourceType"]) == ("ALL", "VPC")
    assert "RetentionInDays" in PROPERTIES["FlowLogGroup"]


def test_a_way_out_is_there_only_when_it_is_asked_for() -> None:
    without, with_nat = PLAIN, Stack(NETWORK, Nat="yes")
    added = set(with_nat.resources) - set(without.resources)
    assert added == {
        *("Gateway", "GatewayAttachment", "NatAddress", "NatGateway", "NatRoute"),
        *("PublicRoute", "PublicRoutes", "PublicRoutesOfSubnet", "PublicSubnet"),
    }
    assert ways_out(without) == []
    assert ways_out(with_nat) == ["Gateway", "PublicRoute", "NatAddress", "NatGateway", "NatRoute"]
    assert {name: with_nat.resources[name] for name in without.resources} == without.resources
    public = IPv4Network(with_nat.resources["PublicSubnet"]["Properties"]["CidrBlock"])
    private = [IPv4Network(with_nat.resources[name]["Properties"]["CidrBlock"]) for name in SUBNETS]
    assert not any(public.overlaps(subnet) for subnet in private)


def test_the_stack_gives_what_the_cluster_asks_for() -> None:
    assert set(Stack(NETWORK).outputs) == {"VpcId", *SUBNETS}
