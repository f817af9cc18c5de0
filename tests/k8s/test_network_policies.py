"""In the namespace, job-runner, driver, executors and AWS may connect, and nobody else."""

from ipaddress import IPv4Network, collapse_addresses, ip_network
from typing import Any

import pytest

from scripts.cloud import manifests
from tests.support.emr_pods import driver, executor, job_runner
from tests.support.network_policy import End, Policy, allowed
from tests.support.schemas import STAGES, of_kind, rendered
from tests.support.templates import NETWORK, Stack


def pod(address: str, of: dict[str, Any]) -> End:
    return End(address, of["metadata"]["labels"], "fruits", {"kubernetes.io/metadata.name": "fruits"})


def other(namespace: str, address: str, **labels: str) -> End:
    return End(address, {}, namespace, {"kubernetes.io/metadata.name": namespace, **labels})


ENDS = {
    "job-runner": pod("10.20.0.10", job_runner()),
    "driver": pod("10.20.0.11", driver("medium")),
    "executor": pod("10.20.0.12", executor()),
    "another executor": pod("10.20.32.13", executor()),
    "the smoke test": End("10.20.0.15", {}, "fruits"),
    "a stray pod": End("10.20.0.14", {"app": "shell"}, "fruits"),
    "Prometheus": other("monitoring", "10.20.0.20", **{"fruits/scrape": "allowed"}),
    "a pod elsewhere": other("default", "10.20.0.21"),
    # Policies apply to service addresses before they are translated.
    "the resolver": End("172.20.0.10"),
    "the Kubernetes API": End("172.20.0.1"),
    "another service": End("172.20.7.7"),
    "an interface endpoint": End("10.20.96.5"),
    "S3": End("52.218.0.10"),  # of 52.218.0.0/17, S3 in eu-west-1 (AWS, ip-ranges.json)
    "instance metadata": End("169.254.169.254"),
    "pod identity": End("169.254.170.23"),
    "a peered network": End("192.168.1.1"),
    "a carrier's network": End("100.64.1.1"),
}
OPEN = [
    *((pod, "the resolver", 53, "UDP") for pod in ("job-runner", "driver", "executor")),
    *((pod, "the resolver", 53, "TCP") for pod in ("job-runner", "driver", "executor")),
    *((pod, "an interface endpoint", 443, "TCP") for pod in ("job-runner", "driver", "executor")),
    *((pod, "S3", 443, "TCP") for pod in ("job-runner", "driver", "executor")),
    ("job-runner", "the Kubernetes API", 443, "TCP"),
    ("driver", "the Kubernetes API", 443, "TCP"),
    ("the smoke test", "the resolver", 53, "UDP"),
    *(("the smoke test", end, 443, "TCP") for end in ("an interface endpoint", "S3", "the Kubernetes API")),
    ("executor", "driver", 7078, "TCP"),
    ("executor", "driver", 7079, "TCP"),
    ("driver", "executor", 7079, "TCP"),
    ("executor", "another executor", 7079, "TCP"),
    ("Prometheus", "driver", 4040, "TCP"),
]
SHUT = [
    # Executors handle the photos' bytes, and need nothing of Kubernetes.
    ("executor", "the Kubernetes API", 443, "TCP"),
    *((pod, "instance metadata", 80, "TCP") for pod in ("job-runner", "driver", "executor")),
    ("driver", "pod identity", 80, "TCP"),
    ("driver", "instance metadata", 443, "TCP"),
    ("driver", "another service", 443, "TCP"),
    ("driver", "a peered network", 443, "TCP"),
    ("driver", "a carrier's network", 443, "TCP"),
    ("driver", "a pod elsewhere", 443, "TCP"),
    ("executor", "S3", 80, "TCP"),
    ("executor", "S3", 53, "UDP"),
    ("driver", "an interface endpoint", 53, "UDP"),
    ("executor", "driver", 4040, "TCP"),
    ("executor", "driver", 22, "TCP"),
    ("driver", "executor", 7078, "TCP"),
    ("job-runner", "driver", 7078, "TCP"),
    ("a pod elsewhere", "job-runner", 8080, "TCP"),
    ("driver", "job-runner", 443, "TCP"),
    ("a stray pod", "driver", 7078, "TCP"),
    ("a stray pod", "executor", 7079, "TCP"),
    ("a pod elsewhere", "driver", 4040, "TCP"),
    ("a pod elsewhere", "driver", 7078, "TCP"),
    ("a pod elsewhere", "executor", 7079, "TCP"),
    ("Prometheus", "driver", 7078, "TCP"),
    ("Prometheus", "executor", 4040, "TCP"),
    ("driver", "a pod elsewhere", 8080, "TCP"),
]
Way = tuple[str, str, int, str]


def policies(stage: str) -> dict[str, Policy]:
    return of_kind(rendered(stage), "NetworkPolicy")


def is_open(by_name: dict[str, Policy], way: Way) -> bool:
    source, target, port, protocol = way
    return allowed(by_name.values(), ENDS[source], ENDS[target], port, protocol)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("way", OPEN, ids=str)
def test_what_a_run_needs_is_open(stage: str, way: Way) -> None:
    assert is_open(policies(stage), way)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("way", SHUT, ids=str)
def test_all_else_is_shut(stage: str, way: Way) -> None:
    assert not is_open(policies(stage), way)


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
def test_a_pod_that_nothing_is_allowed_can_do_nothing(stage: str) -> None:
    alone = {"deny-all": policies(stage)["deny-all"]}
    assert not any(is_open(alone, way) for way in (*OPEN, *SHUT))


@pytest.mark.parametrize("stage", STAGES)
def test_policies_are_enforced_at_all(stage: str) -> None:
    setting = of_kind(rendered(stage), "ConfigMap")["amazon-vpc-cni"]
    assert setting["metadata"]["namespace"] == "kube-system"
    assert setting["data"] == {"enable-network-policy-controller": "true"}
