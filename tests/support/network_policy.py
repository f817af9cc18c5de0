"""The connections that NetworkPolicies allow ("Network Policies" in Kubernetes's documentation).

Both ends must allow a connection: the egress policies of the pod that opens it, and the ingress policies of
the pod that accepts it. A pod without policies may do anything. An
``ipBlock`` also matches pods' addresses, as in EKS.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

Policy = dict[str, Any]


@dataclass(frozen=True)
class End:
    """One end of a connection: a pod, with its namespace, or an address alone."""

    address: str
    labels: dict[str, str] = field(default_factory=dict)
    namespace: str | None = None
    namespace_labels: dict[str, str] = field(default_factory=dict)


def allowed(policies: Iterable[Policy], source: End, target: End, port: int, protocol: str = "TCP") -> bool:
    """Tell whether a connection is allowed."""
    policies = list(policies)
    return _leave(policies, "Egress", source, target, port, protocol) and _leave(
        policies, "Ingress", target, source, port, protocol
    )


def _leave(policies: list[Policy], direction: str, own: End, other: End, port: int, protocol: str) -> bool:
    pod_policies = [
        policy for policy in policies if direction in policy["spec"]["policyTypes"] and _concerns(policy, own)
    ]
    side = {"Egress": "to", "Ingress": "from"}[direction]
    rules = [rule for policy in pod_policies for rule in policy["spec"].get(direction.lower(), [])]
    return not pod_policies or any(
        (side not in rule or any(_peer(peer, other, own) for peer in rule[side]))
        and ("ports" not in rule or any(_port(port_rule, port, protocol) for port_rule in rule["ports"]))
        for rule in rules
    )


def _concerns(policy: Policy, end: End) -> bool:
    return policy["metadata"]["namespace"] == end.namespace and selects(
        policy["spec"]["podSelector"], end.labels
    )


def _peer(peer: dict[str, Any], other: End, own: End) -> bool:
    if "ipBlock" in peer:
        address, block = ip_address(other.address), peer["ipBlock"]
        return address in ip_network(block["cidr"]) and not any(
            address in ip_network(exception) for exception in block.get("except", [])
        )
    if other.namespace is None:
        return False
    here = (
        selects(peer["namespaceSelector"], other.namespace_labels)
        if "namespaceSelector" in peer
        else other.namespace == own.namespace
    )
    return here and selects(peer.get("podSelector", {}), other.labels)


def _port(port_rule: dict[str, Any], port: int, protocol: str) -> bool:
    last = port_rule.get("endPort", port_rule["port"])
    return port_rule.get("protocol", "TCP") == protocol and bool(port_rule["port"] <= port <= last)


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Tell whether a label selector matches; an empty one matches all."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for expression in selector.get("matchExpressions", []):
        value = labels.get(expression["key"])
        matched = {
            "In": value in expression.get("values", []),
            "NotIn": value not in expression.get("values", []),
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not matched[expression["operator"]]:
            return False
    return True
