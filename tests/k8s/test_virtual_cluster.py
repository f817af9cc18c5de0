"""The virtual cluster as EMR's request and as ACK's resource."""

from typing import Any

from scripts.cloud import manifests, request_check
from tests.support.schemas import ACK_VIRTUAL_CLUSTER, faults

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
    request_check.check("emr-containers", "CreateVirtualCluster", request())


def test_ack_takes_the_resource() -> None:
    assert faults(resource(), ACK_VIRTUAL_CLUSTER) == []


def as_request(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the request that ACK's controller sends for a resource."""
    provider = dict(manifest["spec"]["containerProvider"])
    provider["type"] = provider.pop("type_")
    return {**manifest["spec"], "containerProvider": provider}


def test_both_say_the_same() -> None:
    create_request = request()
    del create_request["clientToken"]  # ACK's controller looks for the virtual cluster instead
    assert as_request(resource()) == create_request


def test_ack_makes_it_in_the_eu_whatever_its_controllers_region() -> None:
    assert resource()["metadata"]["annotations"]["services.k8s.aws/region"] == "eu-west-1"
