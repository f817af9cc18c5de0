"""The objects of k8s/overlays/dev on a cluster: all of them, or those that a cluster without EKS knows."""

import urllib.parse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from scripts.cloud.manifests import K8S
from scripts.cloud.stage import NAMESPACE
from scripts.kubernetes.kubectl import Kubectl

Object = dict[str, Any]

OVERLAY: Final[Path] = K8S / "overlays" / "dev"
# EKS's kinds are Karpenter's pools and AWS's node classes. In its kube-system, EKS's own settings stand.
PLAIN_GROUPS: Final = ("", "networking.k8s.io", "scheduling.k8s.io")
HTTPS: Final = 443


def rendered(kubectl: Kubectl) -> list[Object]:
    """Return all objects of the overlay."""
    return list(yaml.safe_load_all(kubectl.run("kustomize", str(OVERLAY))))


def plain(objects: Iterable[Object]) -> list[Object]:
    """Return the objects that every Kubernetes knows: namespace, priorities, quotas, limits, policies."""
    return [
        manifest
        for manifest in objects
        if _group(manifest) in PLAIN_GROUPS and manifest["metadata"].get("namespace", NAMESPACE) == NAMESPACE
    ]


def policies(kubectl: Kubectl, endpoint: str | None) -> list[Object]:
    """Return the network policies that let a run reach this cluster's DNS and API server, and its S3.

    k8s/base allows them at EKS's addresses. Policies add up, so these two stand beside those. An enforcer
    sees either the address of a service or that behind it, and so both are allowed.

    Parameters
    ----------
    kubectl : Kubectl
        The cluster's.
    endpoint : str, optional
        The URL of an S3 that is not AWS's.
    """
    service = kubectl.get("service", "kubernetes", "default") or {}
    addresses = {
        (service["spec"]["clusterIP"], port["port"]) for port in service.get("spec", {}).get("ports", ())
    }
    selector = "kubernetes.io/service-name=kubernetes"
    for endpoints in kubectl.items("endpointslices", "-n", "default", "-l", selector):
        addresses |= {
            (address, port["port"])
            for item in endpoints["endpoints"]
            for address in item["addresses"]
            for port in endpoints["ports"]
        }
    return cluster_policies(addresses, _port(endpoint))


def cluster_policies(api: Iterable[tuple[str, int]], s3_port: int) -> list[Object]:
    """Return the policies for the addresses and ports of an API server, and for the port of an S3."""
    api_rules = [
        {"to": [{"ipBlock": {"cidr": _block(address)}}], "ports": [{"protocol": "TCP", "port": port}]}
        for address, port in sorted(api)
    ]
    open_rules = [{"ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]}]
    if s3_port != HTTPS:
        # An S3 in the cluster or beside it may have any address.
        open_rules.append({"ports": [{"protocol": "TCP", "port": s3_port}]})
    not_executors = {"key": "spark-role", "operator": "NotIn", "values": ["executor"]}
    return [
        _egress("allow-this-api-server", {"matchExpressions": [not_executors]}, api_rules),
        _egress("allow-this-dns-and-s3", {}, open_rules),
    ]


def _egress(name: str, selector: Mapping[str, Any], rules: list[Object]) -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"podSelector": selector, "policyTypes": ["Egress"], "egress": rules},
    }  # fmt: skip


def _group(manifest: Object) -> str:
    group, slash, _ = str(manifest["apiVersion"]).partition("/")
    return group if slash else ""


def _block(address: str) -> str:
    return f"{address}/{128 if ':' in address else 32}"


def _port(endpoint: str | None) -> int:
    """Return the port of an S3's URL; AWS's is HTTPS."""
    if endpoint is None:
        return HTTPS
    url = urllib.parse.urlsplit(endpoint)
    return url.port or (80 if url.scheme == "http" else HTTPS)
