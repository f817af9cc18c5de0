"""The two CloudFormation templates in k8s/: what parameters they take, and what of them costs by the hour."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import yaml

from job.errors import UsageError
from scripts.cloud import manifests

ACCOUNT: Final = "account.yaml"
NETWORK: Final = "network.yaml"


class Loader(yaml.SafeLoader):
    """YAML with CloudFormation's ``!Ref`` and the like, which are kept as what they are applied to."""


def _inside(loader: Loader, _: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    assert isinstance(node, yaml.ScalarNode)
    return loader.construct_scalar(node)


Loader.add_multi_constructor("!", _inside)


def text(name: str) -> str:
    """Return a template as it is written."""
    return (manifests.K8S / name).read_text(encoding="utf-8")


def template(name: str) -> dict[str, Any]:
    """Return a template."""
    return dict(yaml.load(text(name), Loader))  # noqa: S506 (a SafeLoader)


def parameters(given: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return what is given as ``Name=Value`` for each template.

    Raises
    ------
    UsageError
        If neither template takes such a parameter, or it is the stage.
    """
    taken = {name: template(name).get("Parameters", {}) for name in (ACCOUNT, NETWORK)}
    found: dict[str, dict[str, str]] = {ACCOUNT: {}, NETWORK: {}}
    for one in given:
        key, equals, value = one.partition("=")
        files = [name for name in taken if key in taken[name] and key != "Stage"]
        if not equals or not files:
            names = sorted({key for some in taken.values() for key in some if key != "Stage"})
            raise UsageError(
                f"--parameter {one}: give Name=Value, where Name is {', '.join(names) or 'nothing'}"
            )
        for name in files:
            allowed = [str(choice) for choice in taken[name][key].get("AllowedValues", [value])]
            if value not in allowed:
                raise UsageError(f"--parameter {one}: {key} is one of {', '.join(allowed)}")
            found[name][key] = value
    return found


def hourly(nat: Mapping[str, str]) -> tuple[int, int]:
    """Return how many interface endpoints, one for each zone, and NAT gateways the network has.

    Parameters
    ----------
    nat : mapping
        The network stack's parameters; a gateway is made if ``Nat`` is ``yes``, and endpoints always are.
    """
    endpoints = gateways = 0
    for one in template(NETWORK).get("Resources", {}).values():
        about = one.get("Properties", {})
        if one["Type"] == "AWS::EC2::VPCEndpoint" and about.get("VpcEndpointType") == "Interface":
            endpoints += len(about.get("SubnetIds", []))
        if one["Type"] == "AWS::EC2::NatGateway" and nat.get("Nat") == "yes":
            gateways += 1
    return endpoints, gateways
