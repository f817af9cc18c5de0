"""What of k8s/ a cluster without EKS gets, and the network policies that fit it."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.kubernetes import base_objects
from scripts.kubernetes.kubectl import Kubectl
from tests.support.kubernetes import Api, in_namespace
from tests.support.schemas import KUBECTL, of_kind, rendered


def test_the_overlay_is_rendered_by_the_clusters_kubectl() -> None:
    assert base_objects.rendered(Kubectl((str(KUBECTL),))) == rendered("dev")


def test_a_cluster_without_eks_gets_what_every_kubernetes_knows() -> None:
    objects = base_objects.plain(rendered("dev"))
    kinds = {manifest["kind"] for manifest in objects}
    assert kinds == {"Namespace", "PriorityClass", "ResourceQuota", "LimitRange", "NetworkPolicy"}
    assert {manifest["kind"] for manifest in rendered("dev")} - kinds == {
        "ConfigMap",
        "NodeClass",
        "NodePool",
    }
    assert of_kind(objects, "ResourceQuota")["executors"]["spec"]["hard"]["pods"] == "24"


def ports(policy: dict[str, Any]) -> list[tuple[str, int]]:
    return [
        (rule.get("to", [{"ipBlock": {"cidr": "any"}}])[0]["ipBlock"]["cidr"], port["port"])
        for rule in policy["spec"]["egress"]
        for port in rule["ports"]
    ]


@pytest.mark.kubernetes
def test_the_clusters_own_addresses_are_allowed_beside_those_of_eks(kubernetes: Api) -> None:
    objects = base_objects.cluster_policies(
        {("10.96.0.1", 443), ("172.18.0.2", 6443), ("fd00::1", 443)}, 9000
    )
    name = kubernetes.namespace(rendered("dev")).name
    assert kubernetes.apply(in_namespace(policy, name) for policy in objects).refusals == []
    policies = of_kind(objects, "NetworkPolicy")
    assert ports(policies["allow-this-api-server"]) == [
        ("10.96.0.1/32", 443), ("172.18.0.2/32", 6443), ("fd00::1/128", 443),
    ]  # fmt: skip
    assert ports(policies["allow-this-dns-and-s3"]) == [("any", 53), ("any", 53), ("any", 9000)]
    base = of_kind(rendered("dev"), "NetworkPolicy")
    selector = policies["allow-this-api-server"]["spec"]["podSelector"]
    assert selector == base["allow-kubernetes"]["spec"]["podSelector"], "executors do not call Kubernetes"


def test_the_addresses_come_from_the_cluster_and_the_port_from_the_url(tmp_path: Path) -> None:
    service = {"spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 443}]}}
    slices = {"items": [{"endpoints": [{"addresses": ["172.18.0.2"]}], "ports": [{"port": 6443}]}]}
    script = tmp_path / "kubectl.py"
    script.write_text(
        f"import sys\nprint({json.dumps(service)!r} if 'service' in sys.argv else {json.dumps(slices)!r})"
    )
    kubectl = Kubectl((sys.executable, str(script)))
    for url, port in (("http://minio.storage:9000", 9000), ("http://minio.storage", 80)):
        api, open_ports = base_objects.policies(kubectl, url)
        assert ports(api) == [("10.96.0.1/32", 443), ("172.18.0.2/32", 6443)]
        assert ports(open_ports)[2:] == [("any", port)]
    for url_or_none in (None, "https://s3.example"):
        assert len(ports(base_objects.policies(kubectl, url_or_none)[1])) == 2, "k8s/base allows HTTPS"
