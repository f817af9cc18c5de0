"""CloudFormation templates with their functions evaluated.

It knows the functions and attributes that k8s/ uses; any other is an error.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from awscli.customizations.cloudformation.yamlhelper import yaml_parse  # type: ignore[import-untyped]

K8S: Final = Path(__file__).parents[2] / "k8s"
ACCOUNT: Final = K8S / "account.yaml"
NETWORK: Final = K8S / "network.yaml"
ACCOUNT_ID: Final = "111122223333"
KEY_ID: Final = "1234abcd-12ab-34cd-56ef-1234567890ab"
NO_VALUE: Final = object()
PSEUDO: Final[Mapping[str, Any]] = {
    "AWS::AccountId": ACCOUNT_ID,
    "AWS::Region": "eu-west-1",
    "AWS::NoValue": NO_VALUE,
}
VARIABLE: Final = re.compile(r"\$\{([^}]+)\}")
# Each type's property for its name, and its attributes (CloudFormation's resource reference).
NAMED: Final = {
    "AWS::S3::Bucket": "BucketName",
    "AWS::ECR::Repository": "RepositoryName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::IAM::Role": "RoleName",
}
ATTRIBUTES: Final = {
    ("AWS::S3::Bucket", "Arn"): "arn:aws:s3:::{name}",
    ("AWS::KMS::Key", "Arn"): "arn:aws:kms:{region}:{account}:key/" + KEY_ID,
    ("AWS::ECR::Repository", "Arn"): "arn:aws:ecr:{region}:{account}:repository/{name}",
    ("AWS::ECR::Repository", "RepositoryUri"): "{account}.dkr.ecr.{region}.amazonaws.com/{name}",
    ("AWS::IAM::Role", "Arn"): "arn:aws:iam::{account}:role/{name}",
    ("AWS::Logs::LogGroup", "Arn"): "arn:aws:logs:{region}:{account}:log-group:{name}:*",
    ("AWS::EC2::VPC", "CidrBlock"): "10.20.0.0/16",
    ("AWS::EC2::EIP", "AllocationId"): "eipalloc-0123456789abcdef0",
}


@cache
def read(file: Path) -> dict[str, Any]:
    """Read a template with functions in their long form. The result is cached and must not be changed."""
    return dict(yaml_parse(file.read_text(encoding="utf-8")))


class Stack:
    """A template with parameters: resources and outputs as CloudFormation would make them."""

    def __init__(self, file: Path, region: str = "eu-west-1", **parameters: str) -> None:
        self.template = read(file)
        self.pseudo = {**PSEUDO, "AWS::Region": region}
        declared = self.template["Parameters"]
        for name, value in parameters.items():
            allowed = [str(choice) for choice in declared[name].get("AllowedValues", [value])]
            assert value in allowed, f"{name} is one of {allowed}"
        self.parameters = {
            name: parameters.get(name, str(parameter["Default"])) for name, parameter in declared.items()
        }
        self.resources: dict[str, Any] = {
            name: self.resolve(resource)
            for name, resource in self.template["Resources"].items()
            if "Condition" not in resource or self._holds(resource["Condition"])
        }
        self.outputs: dict[str, str] = {
            name: self.resolve(output["Value"]) for name, output in self.template["Outputs"].items()
        }

    def of_type(self, kind: str) -> dict[str, Any]:
        """Return the properties of all resources of a type, by their logical names."""
        return {
            name: resource["Properties"]
            for name, resource in self.resources.items()
            if resource["Type"] == f"AWS::{kind}"
        }

    def resolve(self, value: Any) -> Any:
        """Evaluate the functions in a value."""
        if isinstance(value, list):
            return [item for item in map(self.resolve, value) if item is not NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, argument),) = value.items()
            if name == "Ref":
                return self._ref(argument)
            if name.startswith("Fn::"):
                return self._called(name.removeprefix("Fn::"), argument)
        resolved = {
            name: self.resolve(item) for name, item in value.items() if name != "Condition" or item != value
        }
        return {name: item for name, item in resolved.items() if item is not NO_VALUE}

    def _called(self, function: str, argument: Any) -> Any:
        match function:
            case "Sub":
                return VARIABLE.sub(lambda match: str(self._variable(match[1])), argument)
            case "GetAtt":
                return self._attribute(*argument)
            case "FindInMap":
                table, first, second = self.resolve(argument)
                return self.template["Mappings"][table][first][second]
            case "If":
                condition, yes, no = argument
                return self.resolve(yes if self._holds(condition) else no)
            case _:
                raise NotImplementedError(f"Fn::{function}")

    def _holds(self, condition: Any) -> bool:
        if isinstance(condition, str):
            condition = self.template["Conditions"][condition]
        ((name, argument),) = condition.items()
        if name == "Condition":
            return self._holds(argument)
        if name == "Fn::And":
            return all(map(self._holds, argument))
        if name == "Fn::Not":
            return not self._holds(argument[0])
        if name == "Fn::Equals":
            left, right = self.resolve(argument)
            return str(left) == str(right)
        raise NotImplementedError(name)

    def _variable(self, name: str) -> Any:
        return self._attribute(*name.split(".")) if "." in name else self._ref(name)

    def _ref(self, name: str) -> Any:
        if name in self.pseudo:
            return self.pseudo[name]
        if name in self.parameters:
            return self.parameters[name]
        resource = self.template["Resources"][name]
        if resource["Type"] == "AWS::KMS::Key":
            return KEY_ID
        if resource["Type"] == "AWS::SNS::Topic":
            topic = self.resolve(resource["Properties"]["TopicName"])
            return f"arn:aws:sns:{self.pseudo['AWS::Region']}:{ACCOUNT_ID}:{topic}"
        if resource["Type"] == "AWS::IAM::ManagedPolicy":
            name = self.resolve(resource["Properties"]["ManagedPolicyName"])
            return f"arn:aws:iam::{ACCOUNT_ID}:policy/{name}"
        return self.resolve(resource["Properties"].get(NAMED.get(resource["Type"], ""), name))

    def _attribute(self, name: str, attribute: str) -> str:
        template = ATTRIBUTES[self.template["Resources"][name]["Type"], attribute]
        return template.format(name=self._ref(name), region=self.pseudo["AWS::Region"], account=ACCOUNT_ID)


def identity_policies(stack: Stack) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield ``(name, document)`` of each identity policy."""
    for name, role in stack.of_type("IAM::Role").items():
        for policy in role.get("Policies", ()):
            yield f"{name}.{policy['PolicyName']}", policy["PolicyDocument"]
    for name, policy in stack.of_type("IAM::ManagedPolicy").items():
        yield name, policy["PolicyDocument"]


def resource_policies(stack: Stack) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield ``(name, document)`` of each resource policy."""
    for name, key in stack.of_type("KMS::Key").items():
        yield name, key["KeyPolicy"]
    for name, bucket in stack.of_type("S3::BucketPolicy").items():
        yield name, bucket["PolicyDocument"]
    for name, endpoint in stack.of_type("EC2::VPCEndpoint").items():
        yield name, endpoint["PolicyDocument"]
    for name, role in stack.of_type("IAM::Role").items():
        yield f"{name}.trust", role["AssumeRolePolicyDocument"]
