"""A stage of Fruits! in the cloud, ``dev`` or ``prod``: its names, and what its stacks say they have made.

Each stage has a cluster, stacks, a key, buckets and a role of its own, so nothing is shared between two.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from botocore.exceptions import ClientError

from job.errors import UsageError
from scripts.cloud.sizes import SIZES

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient

STAGES: Final = ("dev", "prod")
# One virtual cluster a namespace, one namespace of ours a cluster.
NAMESPACE: Final = "fruits"
# What the quotas in k8s/overlays are made for.
LARGEST: Final = {"dev": "medium", "prod": "xlarge"}
# What the scripts need of k8s/account.yaml.
GROUND: Final = {
    "PhotosBucket", "ResultsBucket", "LogsBucket", "KeyArn", "RepositoryName", "RepositoryUri", "LogGroup",
    "ExecutionRoleArn",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stage:
    """The names of a stage."""

    name: str

    @property
    def account_stack(self) -> str:
        """The CloudFormation stack of buckets, key, repository, logs and roles."""
        return f"fruits-{self.name}"

    @property
    def network_stack(self) -> str:
        """The CloudFormation stack of the VPC and its endpoints."""
        return f"fruits-{self.name}-network"

    @property
    def cluster(self) -> str:
        """The EKS cluster, and the EMR virtual cluster on it."""
        return f"fruits-{self.name}"

    @property
    def largest(self) -> str:
        """The largest size of run that the stage's quota holds."""
        return LARGEST[self.name]

    def takes(self, size: str) -> bool:
        """Tell whether the stage's quota holds a run of a size."""
        sizes = list(SIZES)
        return sizes.index(size) <= sizes.index(self.largest)

    @property
    def up(self) -> str:
        """The command that makes this stage."""
        return f"./scripts/cluster.sh up --stage {self.name}"


def outputs(cloudformation: "CloudFormationClient", stack: str) -> dict[str, str]:
    """Return a stack's outputs by name; none for a stack that does not exist or is not finished.

    Raises
    ------
    ClientError
        If CloudFormation refuses for another reason.
    """
    try:
        found = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":
            return {}
        raise
    return {one["OutputKey"]: one["OutputValue"] for one in found.get("Outputs", [])}


def ground(cloudformation: "CloudFormationClient", stage: Stage) -> dict[str, str]:
    """Return what the account's stack has made.

    Raises
    ------
    UsageError
        If there is no such stack yet.
    """
    made = outputs(cloudformation, stage.account_stack)
    if not made:
        region = cloudformation.meta.region_name
        raise UsageError(f"there is no stack {stage.account_stack} in {region}: make it with {stage.up}")
    if missing := GROUND - made.keys():
        raise UsageError(
            f"stack {stage.account_stack} lacks {', '.join(sorted(missing))}: {stage.up} mends it"
        )
    return made
