"""The virtual cluster: EMR's request, and the same as ACK's resource."""

from collections.abc import Callable
from typing import Any

import pytest

from job.errors import UsageError
from scripts import manifests, service_model
from tests.schemas import ACK_VIRTUAL_CLUSTER, faults

VALUES = {
    "Stage": "dev",
    "Cluster": "fruits-dev",
    "VirtualCluster": "fruits-dev",
    "Namespace": "fruits",
    "ClientToken": "fruits-dev-virtual-cluster",
}


def request() -> dict[str, Any]:
    filled: dict[str, Any] = manifests.fill(manifests.load("emr/virtual-cluster.yaml"), VALUES)
    return filled


def resource() -> dict[str, Any]:
    filled: dict[str, Any] = manifests.fill(manifests.load("ack/virtual-cluster.yaml"), VALUES)
    return filled


def test_emr_takes_the_request() -> None:
    service_model.check("emr-containers", "CreateVirtualCluster", request())


@pytest.mark.parametrize(
    ("member", "value", "why"),
    [
        ("name", "fruits dev", "does not match"),
        ("name", "f" * 65, "65 characters"),
        ("clientToken", "t" * 65, "65 characters"),
        ("tag", {}, "tag"),
    ],
)
def test_emr_would_refuse_a_slip(member: str, value: Any, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        service_model.check("emr-containers", "CreateVirtualCluster", {**request(), member: value})


def test_another_kind_of_cluster_is_refused() -> None:
    made = request()
    made["containerProvider"]["type"] = "ECS"
    with pytest.raises(UsageError, match="not one of EKS"):
        service_model.check("emr-containers", "CreateVirtualCluster", made)


def test_ack_takes_the_resource() -> None:
    assert faults(resource(), ACK_VIRTUAL_CLUSTER) == []


def plain_type(made: dict[str, Any]) -> None:
    provider = made["spec"]["containerProvider"]
    provider["type"] = provider.pop("type_")


def token(made: dict[str, Any]) -> None:
    made["spec"]["clientToken"] = "a"


def unnamed(made: dict[str, Any]) -> None:
    del made["spec"]["name"]


def old(made: dict[str, Any]) -> None:
    made["apiVersion"] = "emrcontainers.services.k8s.aws/v1"


@pytest.mark.parametrize("break_it", [plain_type, token, unnamed, old])
def test_ack_would_refuse_a_slip(break_it: Callable[[dict[str, Any]], None]) -> None:
    made = resource()
    break_it(made)
    assert faults(made, ACK_VIRTUAL_CLUSTER)


def as_request(made: dict[str, Any]) -> dict[str, Any]:
    """Say an ACK resource as the request that its controller makes of EMR."""
    provider = dict(made["spec"]["containerProvider"])
    provider["type"] = provider.pop("type_")
    return {**made["spec"], "containerProvider": provider}


def test_both_say_the_same() -> None:
    asked = request()
    del asked["clientToken"]  # ACK has none: its controller looks before it makes
    assert as_request(resource()) == asked


def test_ack_makes_it_in_the_eu_whatever_its_controllers_region() -> None:
    assert resource()["metadata"]["annotations"]["services.k8s.aws/region"] == "eu-west-1"
