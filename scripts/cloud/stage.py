"""A stage of Fruits! in the cloud, ``dev`` or ``prod``: its names, and its CloudFormation stacks.

Each stage has its own cluster, stacks, key, buckets and role; two stages share nothing.
"""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from botocore.exceptions import ClientError

from job.errors import UsageError
from scripts.cloud.sizes import SIZES

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient

STAGES: Final = ("dev", "prod")
# Each cluster has one namespace for runs, and that namespace has one virtual cluster.
NAMESPACE: Final = "fruits"
# The node pools in k8s/base have this architecture, so images must have it.
ARCHITECTURE: Final = "amd64"
# The largest size of run that fits the quotas in k8s/overlays.
LARGEST: Final = {"dev": "medium", "prod": "xlarge"}
# The outputs of k8s/account.yaml that the scripts need.
REQUIRED_OUTPUTS: Final = {
    "PhotosBucket", "ResultsBucket", "LogsBucket", "KeyArn", "RepositoryName", "RepositoryUri", "LogGroup",
    "ExecutionRoleArn",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stage:
    """The names of a stage."""

    name: str

    @property
    def account_stack(self) -> str:
        """The CloudFormation stack of the buckets, key, repository, logs and roles."""
        return f"fruits-{self.name}"

    @property
    def repository(self) -> str:
        """The ECR repository in the account stack."""
        return f"fruits-{self.name}"

    @property
    def network_stack(self) -> str:
        """The CloudFormation stack of the VPC and its endpoints."""
        return f"fruits-{self.name}-network"

    @property
    def cluster(self) -> str:
        """The name of both the EKS cluster and its EMR virtual cluster."""
        return f"fruits-{self.name}"

    @property
    def largest_size(self) -> str:
        """The largest size of run that fits the stage's quota."""
        return LARGEST[self.name]

    def accepts(self, size: str) -> bool:
        """Tell whether a run of a size fits the stage's quota."""
        sizes = list(SIZES)
        return sizes.index(size) <= sizes.index(self.largest_size)

    @property
    def up_command(self) -> str:
        """The command that creates this stage."""
        return f"./scripts/cluster.sh up --stage {self.name}"

    @property
    def push_command(self) -> str:
        """The command that pushes the image to this stage's repository."""
        return f"./scripts/push-image.sh --stage {self.name}"


def default_stage() -> str:
    """Return the name of the stage in FRUITS_STAGE, or else ``dev``.

    Raises
    ------
    UsageError
        If there is no such stage.
    """
    name = os.environ.get("FRUITS_STAGE") or "dev"
    if name not in STAGES:
        raise UsageError(f"FRUITS_STAGE is {name!r}, not one of {', '.join(STAGES)}")
    return name


@dataclass(frozen=True)
class Stack:
    """A CloudFormation stack."""

    name: str
    status: str
    outputs: dict[str, str]
    parameters: dict[str, str]

    @property
    def is_ready(self) -> bool:
        """Whether the stack can be used, with its new template or, after a failed update, its last one."""
        return self.status.endswith("_COMPLETE") and self.status not in (
            "ROLLBACK_COMPLETE",
            "DELETE_COMPLETE",
        )


def find_stack(cloudformation: "CloudFormationClient", name: str) -> Stack | None:
    """Return a stack, or None if there is none of that name.

    Raises
    ------
    ClientError
        If CloudFormation refuses for another reason.
    """
    try:
        response = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":
            return None
        raise
    outputs = {output["OutputKey"]: output["OutputValue"] for output in response.get("Outputs", [])}
    parameters = {
        parameter["ParameterKey"]: parameter["ParameterValue"] for parameter in response.get("Parameters", [])
    }
    return Stack(name, response["StackStatus"], outputs, parameters)


def account_outputs(cloudformation: "CloudFormationClient", stage: Stage) -> dict[str, str]:
    """Return the outputs of the stage's account stack by name.

    Raises
    ------
    UsageError
        If the stack does not exist, or lacks an output that the scripts need.
    """
    stack = find_stack(cloudformation, stage.account_stack)
    if stack is None or not stack.outputs:
        region = cloudformation.meta.region_name
        raise UsageError(
            f"there is no stack {stage.account_stack} in {region}: make it with {stage.up_command}"
        )
    if missing := REQUIRED_OUTPUTS - stack.outputs.keys():
        raise UsageError(
            f"stack {stage.account_stack} lacks {', '.join(sorted(missing))}: {stage.up_command} mends it"
        )
    return stack.outputs
