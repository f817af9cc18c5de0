"""What there is of a stage on AWS: read with boto3, never changed here."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from scripts.cloud.aws_session import RETRIES
from scripts.cloud.stage import NAMESPACE, Stage
from scripts.cluster import trust

if TYPE_CHECKING:
    from boto3 import Session
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_eks import EKSClient
    from mypy_boto3_eks.type_defs import ClusterTypeDef
    from mypy_boto3_emr_containers import EMRContainersClient
    from mypy_boto3_emr_containers.literals import JobRunStateType, VirtualClusterStateType
    from mypy_boto3_emr_containers.type_defs import JobRunTypeDef, VirtualClusterTypeDef
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client

GONE: Final = ("ResourceNotFoundException", "NoSuchEntity", "NotFoundException", "404", "NoSuchBucket")
# A run that still has pods, or will have.
ALIVE: Final[Sequence["JobRunStateType"]] = ("PENDING", "SUBMITTED", "RUNNING", "CANCEL_PENDING")
# Virtual clusters that keep the namespace to themselves.
THERE: Final[Sequence["VirtualClusterStateType"]] = ("RUNNING", "TERMINATING", "ARRESTED")


@dataclass(frozen=True)
class Aws:
    """AWS in one region, with one's credentials."""

    account: str
    cloudformation: "CloudFormationClient"
    eks: "EKSClient"
    emr: "EMRContainersClient"
    iam: "IAMClient"
    kms: "KMSClient"
    logs: "CloudWatchLogsClient"
    s3: "S3Client"

    @classmethod
    def of(cls, session: "Session") -> "Aws":
        """Ask AWS who we are, so that the credentials are known to be good, and be ready to ask more."""
        client = partial(session.client, config=RETRIES)
        account = client("sts").get_caller_identity()["Account"]
        names = ("cloudformation", "eks", "emr-containers", "iam", "kms", "logs", "s3")
        return cls(account, *(client(name) for name in names))


@dataclass(frozen=True)
class StackState:
    """A CloudFormation stack."""

    name: str
    status: str
    outputs: dict[str, str]
    parameters: dict[str, str]

    @property
    def is_ready(self) -> bool:
        """Tell whether it stands, as its template says or as the one before."""
        return self.status.endswith("_COMPLETE") and self.status not in (
            "ROLLBACK_COMPLETE",
            "DELETE_COMPLETE",
        )


def stack(aws: Aws, name: str) -> StackState | None:
    """Return a stack, if there is one."""
    try:
        found = aws.cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":
            return None
        raise
    outputs = {one["OutputKey"]: one["OutputValue"] for one in found.get("Outputs", [])}
    parameters = {one["ParameterKey"]: one["ParameterValue"] for one in found.get("Parameters", [])}
    return StackState(name, found["StackStatus"], outputs, parameters)


def why(aws: Aws, name: str) -> str:
    """Return why a stack's last operation failed: its first resource that did, and the reason."""
    events: list[Any] = []
    for page in aws.cloudformation.get_paginator("describe_stack_events").paginate(StackName=name):
        events += page["StackEvents"]
        if any(_is_start(one, name) for one in page["StackEvents"]):
            break
    start = next((number for number, one in enumerate(events) if _is_start(one, name)), len(events))
    for one in reversed(events[: start + 1]):
        reason = one.get("ResourceStatusReason", "")
        if one["ResourceStatus"].endswith("_FAILED") and reason and "cancelled" not in reason:
            return f"{one['LogicalResourceId']}: {' '.join(reason.split())}"[:400].rstrip(".")
    return "without a reason"


def _is_start(event: Any, name: str) -> bool:
    """Tell whether an event, newest first, is where an operation on the whole stack began."""
    mine = event["LogicalResourceId"] == name
    return mine and event["ResourceStatus"] in (
        "CREATE_IN_PROGRESS",
        "UPDATE_IN_PROGRESS",
        "DELETE_IN_PROGRESS",
    )


def cluster(aws: Aws, stage: Stage) -> "ClusterTypeDef | None":
    """Return the EKS cluster, if there is one."""
    try:
        return aws.eks.describe_cluster(name=stage.cluster)["cluster"]
    except ClientError as error:
        if error.response["Error"]["Code"] in GONE:
            return None
        raise


def issuer(found: "ClusterTypeDef") -> str:
    """Return where a cluster's service accounts get their identity, without ``https://``."""
    return found.get("identity", {}).get("oidc", {}).get("issuer", "").removeprefix("https://")


def provider(aws: Aws, found: "ClusterTypeDef") -> str:
    """Return the ARN of the identity provider by which IAM knows a cluster's service accounts."""
    return f"arn:aws:iam::{aws.account}:oidc-provider/{issuer(found)}"


def has_provider(aws: Aws, found: "ClusterTypeDef") -> bool:
    """Tell whether IAM knows the identity provider; eksctl makes it late, so it can be missing."""
    providers = aws.iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]
    return any(one["Arn"] == provider(aws, found) for one in providers)


def virtual_clusters(aws: Aws, stage: Stage) -> list["VirtualClusterTypeDef"]:
    """Return the virtual clusters that the stage's namespace has, or has had, oldest first."""
    pages = aws.emr.get_paginator("list_virtual_clusters").paginate(
        containerProviderId=stage.cluster, containerProviderType="EKS"
    )
    found = [one for page in pages for one in page["virtualClusters"] if _namespace(one) == NAMESPACE]
    return sorted(found, key=_created)


def _namespace(one: "VirtualClusterTypeDef") -> str:
    return one.get("containerProvider", {}).get("info", {}).get("eksInfo", {}).get("namespace", "")


def _created(one: "VirtualClusterTypeDef") -> datetime:
    return one["createdAt"]


def is_of(one: "VirtualClusterTypeDef", found: "ClusterTypeDef | None") -> bool:
    """Tell whether a virtual cluster is of this cluster, and not of one of the same name that is gone."""
    return found is not None and one["createdAt"] >= found["createdAt"]


def runs(aws: Aws, virtual_cluster: str) -> list["JobRunTypeDef"]:
    """Return the runs of a virtual cluster that have not ended, oldest first."""
    pages = aws.emr.get_paginator("list_job_runs").paginate(
        virtualClusterId=virtual_cluster, states=list(ALIVE)
    )
    return sorted((one for page in pages for one in page["jobRuns"]), key=lambda one: one["createdAt"])


def role(stage: Stage) -> str:
    """Return the name of the job's role."""
    return f"{stage.cluster}-job"


def trust_policy(aws: Aws, stage: Stage) -> dict[str, Any] | None:
    """Return the trust policy of the job's role, if there is the role."""
    try:
        document: Any = aws.iam.get_role(RoleName=role(stage))["Role"].get("AssumeRolePolicyDocument", {})
    except ClientError as error:
        if error.response["Error"]["Code"] in GONE:
            return None
        raise
    return dict(document)


def is_trusted(aws: Aws, stage: Stage, found: "ClusterTypeDef") -> bool:
    """Tell whether the job's role lets in the pods of EMR's runs, and by this cluster."""
    document = trust_policy(aws, stage)
    wanted = trust.subject(NAMESPACE, aws.account, role(stage))
    return document is not None and trust.is_trusted(document, provider(aws, found), wanted)
