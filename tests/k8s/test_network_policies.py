"""The network policies as manifests; real pods ask what they let through."""

from ipaddress import IPv4Network, collapse_addresses, ip_network
from typing import Any

import pytest

from scripts.cloud import manifests
from tests.support.schemas import STAGES, of_kind, rendered
from tests.support.templates import NETWORK, Stack

Policy = dict[str, Any]


def policies(stage: str) -> dict[str, Policy]:
    return of_kind(rendered(stage), "NetworkPolicy")


def test_both_stages_have_the_same_policies() -> None:
    # Real pods ask one stage's: tests/kubernetes/test_network_policies.py.
    dev, prod = ({name: policy["spec"] for name, policy in policies(stage).items()} for stage in STAGES)
    assert dev == prod


def test_every_block_is_longer_than_the_exception_around_it() -> None:
    # In EKS the longest matching block decides, even an exception of another rule.
    peers = [
        peer["ipBlock"]
        for policy in policies("prod").values()
        for rule in policy["spec"].get("egress", [])
        for peer in rule["to"]
        if "ipBlock" in peer
    ]
    exceptions = [ip_network(exception) for peer in peers for exception in peer.get("except", [])]
    blocks = [ip_network(peer["cidr"]) for peer in peers if "except" not in peer]
    assert blocks and exceptions
    for block in blocks:
        around = [exception for exception in exceptions if block.overlaps(exception)]
        for exception in around:
            assert block.subnet_of(exception)  # type: ignore[arg-type]
            assert block.prefixlen > exception.prefixlen
        assert around, f"{block} is public: the rule for S3 covers it"


def test_the_addresses_are_those_of_the_cluster_and_the_network() -> None:
    services = ip_network(manifests.load("cluster.yaml")["kubernetesNetworkConfig"]["serviceIPv4CIDR"])
    by_name = policies("dev")
    (resolver, endpoints, _) = [
        rule["to"][0]["ipBlock"]["cidr"] for rule in by_name["allow-aws"]["spec"]["egress"]
    ]
    (api,) = [rule["to"][0]["ipBlock"]["cidr"] for rule in by_name["allow-kubernetes"]["spec"]["egress"]]
    assert (api, resolver) == (f"{services[1]}/32", f"{services[10]}/32"), "EKS gives these to the two"
    subnets = Stack(NETWORK).of_type("EC2::Subnet")
    blocks = {name: IPv4Network(subnet["CidrBlock"]) for name, subnet in subnets.items()}
    own = [block for name, block in blocks.items() if name.startswith("Endpoint")]
    assert list(collapse_addresses(own)) == [IPv4Network(endpoints)], "all of it, and nothing else"
    assert not any(ip_network(endpoints).overlaps(block) for block in blocks.values() if block not in own)


def test_the_ports_are_those_that_a_run_sets() -> None:
    configuration = manifests.load("emr/job-run.yaml")["configurationOverrides"]["applicationConfiguration"]
    (spark,) = [
        classification["properties"]
        for classification in configuration
        if classification["classification"] == "spark-defaults"
    ]
    # Without it, an executor's block manager takes any free port, which no policy allows.
    assert spark["spark.driver.port"] == "7078"
    assert spark["spark.driver.blockManager.port"] == spark["spark.blockManager.port"] == "7079"


@pytest.mark.parametrize("stage", STAGES)
def test_policies_are_enforced_at_all(stage: str) -> None:
    setting = of_kind(rendered(stage), "ConfigMap")["amazon-vpc-cni"]
    assert setting["metadata"]["namespace"] == "kube-system"
    assert setting["data"] == {"enable-network-policy-controller": "true"}
