"""What NetworkPolicies let through, as Kubernetes defines them ("Network Policies" in its documentation).

A connection needs leave at both ends: of the policies that concern the pod that makes it (egress) and of
those that concern the pod that takes it (ingress). A pod that no policy concerns may do anything. An
``ipBlock`` is held against pods' addresses too, as EKS does.
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
    """Tell whether a connection comes about."""
    policies = list(policies)
    return _leave(policies, "Egress", source, target, port, protocol) and _leave(
        policies, "Ingress", target, source, port, protocol
    )


def _leave(policies: list[Policy], direction: str, own: End, other: End, port: int, protocol: str) -> bool:
    mine = [one for one in policies if direction in one["spec"]["policyTypes"] and _concerns(one, own)]
    side = {"Egress": "to", "Ingress": "from"}[direction]
    rules = [rule for one in mine for rule in one["spec"].get(direction.lower(), [])]
    return not mine or any(
        (side not in rule or any(_peer(peer, other, own) for peer in rule[side]))
        and ("ports" not in rule or any(_port(one, port, protocol) for one in rule["ports"]))
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
            address in ip_network(one) for one in block.get("except", [])
        )
    if other.namespace is None:
        return False
    here = (
        selects(peer["namespaceSelector"], other.namespace_labels)
        if "namespaceSelector" in peer
        else other.namespace == own.namespace
    )
    return here and selects(peer.get("podSelector", {}), other.labels)


def _port(one: dict[str, Any], port: int, protocol: str) -> bool:
    last = one.get("endPort", one["port"])
    return one.get("protocol", "TCP") == protocol and bool(one["port"] <= port <= last)


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Tell whether a label selector matches; an empty one matches all."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for one in selector.get("matchExpressions", []):
        value = labels.get(one["key"])
        matched = {
            "In": value in one.get("values", []),
            "NotIn": value not in one.get("values", []),
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not matched[one["operator"]]:
            return False
    return True
