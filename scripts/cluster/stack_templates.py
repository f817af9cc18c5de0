"""The two CloudFormation templates in k8s/: their parameters, and their resources billed by the hour."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import yaml

from job.errors import UsageError
from scripts.cloud import manifests

NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")
ACCOUNT: Final = "account.yaml"
NETWORK: Final = "network.yaml"


class Loader(yaml.SafeLoader):
    """A YAML loader that reads CloudFormation's tags, such as ``!Ref``, as their plain argument."""


def _inside(loader: Loader, _: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    assert isinstance(node, yaml.ScalarNode)
    return loader.construct_scalar(node)


Loader.add_multi_constructor("!", _inside)


def text(name: str) -> str:
    """Return a template's text."""
    return (manifests.K8S / name).read_text(encoding="utf-8")


def template(name: str) -> dict[str, Any]:
    """Return a template as a mapping."""
    return dict(yaml.load(text(name), Loader))  # noqa: S506 (a SafeLoader)


def parameters(assignments: Iterable[str]) -> dict[str, dict[str, str]]:
    """Sort assignments ``Name=Value`` by the template that declares the parameter.

    Returns
    -------
    dict
        The parameters' values by name, for each template's file name.

    Raises
    ------
    UsageError
        If neither template declares the parameter, or it is the stage.
    """
    declared = {name: template(name).get("Parameters", {}) for name in (ACCOUNT, NETWORK)}
    values: dict[str, dict[str, str]] = {ACCOUNT: {}, NETWORK: {}}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        templates = [name for name in declared if key in declared[name] and key != "Stage"]
        if not equals or not templates:
            names = sorted({key for parameters in declared.values() for key in parameters if key != "Stage"})
            raise UsageError(
                f"--parameter {assignment}: give Name=Value, where Name is {', '.join(names) or 'nothing'}"
            )
        for name in templates:
            if fault := _fault(declared[name][key], value):
                raise UsageError(f"--parameter {assignment}: {key} {fault}")
            values[name][key] = value
    return values


def _fault(declaration: Mapping[str, Any], value: str) -> str | None:
    """Return why a template's parameter cannot have a value, or None."""
    allowed = [str(choice) for choice in declaration.get("AllowedValues", [value])]
    if value not in allowed:
        return f"is one of {', '.join(allowed)}"
    if declaration["Type"] == "Number":
        if not NUMBER.fullmatch(value):
            return "is a number"
        if float(value) < declaration.get("MinValue", float(value)):
            return f"is at least {declaration['MinValue']}"
        if float(value) > declaration.get("MaxValue", float(value)):
            return f"is at most {declaration['MaxValue']}"
    if not re.fullmatch(declaration.get("AllowedPattern", ".*"), value):
        return f"does not match {declaration['AllowedPattern']} ({declaration['Description']})"
    return None


def billed_resources(parameters: Mapping[str, str]) -> tuple[int, int]:
    """Return how many interface endpoints, one for each zone, and NAT gateways the network has.

    Parameters
    ----------
    parameters : mapping
        The network stack's parameters; endpoints always exist, gateways only if ``Nat`` is ``yes``.
    """
    resources = template(NETWORK).get("Resources", {}).values()
    gateways = sum(resource["Type"] == "AWS::EC2::NatGateway" for resource in resources)
    return sum(endpoint_zones()), gateways if parameters.get("Nat") == "yes" else 0


def endpoint_zones() -> list[int]:
    """Return for each interface endpoint of the network in how many zones it is."""
    return [
        len(resource["Properties"].get("SubnetIds", []))
        for resource in template(NETWORK).get("Resources", {}).values()
        if resource["Type"] == "AWS::EC2::VPCEndpoint"
        and resource["Properties"].get("VpcEndpointType") == "Interface"
    ]
