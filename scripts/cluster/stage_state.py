"""Reads with boto3 what exists of a stage on AWS, and changes nothing."""

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
    from mypy_boto3_ecr import ECRClient
    from mypy_boto3_eks import EKSClient
    from mypy_boto3_eks.type_defs import ClusterTypeDef
    from mypy_boto3_emr_containers import EMRContainersClient
    from mypy_boto3_emr_containers.literals import JobRunStateType, VirtualClusterStateType
    from mypy_boto3_emr_containers.type_defs import JobRunTypeDef, VirtualClusterTypeDef
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client

NOT_FOUND: Final = ("ResourceNotFoundException", "NoSuchEntity", "NotFoundException", "404", "NoSuchBucket")
# The states in which a run has pods, or will have.
ACTIVE_RUN_STATES: Final[Sequence["JobRunStateType"]] = ("PENDING", "SUBMITTED", "RUNNING", "CANCEL_PENDING")
# The states in which a virtual cluster keeps the namespace to itself.
PRESENT_STATES: Final[Sequence["VirtualClusterStateType"]] = ("RUNNING", "TERMINATING", "ARRESTED")


@dataclass(frozen=True)
class AwsClients:
    """The session, its account's id, and the clients of services, in one region."""

    session: "Session"
    account: str
    cloudformation: "CloudFormationClient"
    ecr: "ECRClient"
    eks: "EKSClient"
    emr: "EMRContainersClient"
    iam: "IAMClient"
    kms: "KMSClient"
    logs: "CloudWatchLogsClient"
    s3: "S3Client"

    @classmethod
    def from_session(cls, session: "Session") -> "AwsClients":
        """Make the clients, and ask AWS for the account, which also checks the credentials."""
        client = partial(session.client, config=RETRIES)
        account = client("sts").get_caller_identity()["Account"]
        names = ("cloudformation", "ecr", "eks", "emr-containers", "iam", "kms", "logs", "s3")
        return cls(session, account, *(client(name) for name in names))


def failure_reason(aws: AwsClients, name: str) -> str:
    """Return the first resource that failed in a stack's last operation, and the reason."""
    events: list[Any] = []
    for page in aws.cloudformation.get_paginator("describe_stack_events").paginate(StackName=name):
        events += page["StackEvents"]
        if any(_is_start(event, name) for event in page["StackEvents"]):
            break
    start = next((number for number, event in enumerate(events) if _is_start(event, name)), len(events))
    for event in reversed(events[: start + 1]):
        reason = event.get("ResourceStatusReason", "")
        if event["ResourceStatus"].endswith("_FAILED") and reason and "cancelled" not in reason:
            return f"{event['LogicalResourceId']}: {' '.join(reason.split())}"[:400].rstrip(".")
    return "without a reason"


def _is_start(event: Any, name: str) -> bool:
    """Tell whether an event is the start of an operation on the whole stack."""
    is_stack = event["LogicalResourceId"] == name
    return is_stack and event["ResourceStatus"] in (
        "CREATE_IN_PROGRESS",
        "UPDATE_IN_PROGRESS",
        "DELETE_IN_PROGRESS",
    )


def cluster(aws: AwsClients, stage: Stage) -> "ClusterTypeDef | None":
    """Return the EKS cluster, if there is one."""
    try:
        return aws.eks.describe_cluster(name=stage.cluster)["cluster"]
    except ClientError as error:
        if error.response["Error"]["Code"] in NOT_FOUND:
            return None
        raise


def issuer(eks: "ClusterTypeDef") -> str:
    """Return the address of a cluster's OIDC issuer, without ``https://``."""
    return eks.get("identity", {}).get("oidc", {}).get("issuer", "").removeprefix("https://")


def identity_provider(aws: AwsClients, eks: "ClusterTypeDef") -> str:
    """Return the ARN of the IAM identity provider for a cluster's service accounts."""
    return f"arn:aws:iam::{aws.account}:oidc-provider/{issuer(eks)}"


def has_identity_provider(aws: AwsClients, eks: "ClusterTypeDef") -> bool:
    """Tell whether the IAM identity provider exists; eksctl creates it late, so it can be missing."""
    providers = aws.iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]
    return any(provider["Arn"] == identity_provider(aws, eks) for provider in providers)


def virtual_clusters(aws: AwsClients, stage: Stage) -> list["VirtualClusterTypeDef"]:
    """Return the present and past virtual clusters of the stage's namespace, oldest first."""
    pages = aws.emr.get_paginator("list_virtual_clusters").paginate(
        containerProviderId=stage.cluster, containerProviderType="EKS"
    )
    clusters = [
        virtual for page in pages for virtual in page["virtualClusters"] if _namespace(virtual) == NAMESPACE
    ]
    return sorted(clusters, key=_created)


def _namespace(virtual: "VirtualClusterTypeDef") -> str:
    return virtual.get("containerProvider", {}).get("info", {}).get("eksInfo", {}).get("namespace", "")


def _created(virtual: "VirtualClusterTypeDef") -> datetime:
    return virtual["createdAt"]


def belongs_to(virtual: "VirtualClusterTypeDef", eks: "ClusterTypeDef | None") -> bool:
    """Tell whether a virtual cluster is on this EKS cluster, not on a deleted one of the same name."""
    return eks is not None and virtual["createdAt"] >= eks["createdAt"]


def runs(aws: AwsClients, virtual_cluster: str) -> list["JobRunTypeDef"]:
    """Return the runs of a virtual cluster that have not ended, oldest first."""
    pages = aws.emr.get_paginator("list_job_runs").paginate(
        virtualClusterId=virtual_cluster, states=list(ACTIVE_RUN_STATES)
    )
    return sorted((run for page in pages for run in page["jobRuns"]), key=lambda run: run["createdAt"])


def job_role(stage: Stage) -> str:
    """Return the name of the job's role."""
    return f"{stage.cluster}-job"


def trust_policy(aws: AwsClients, stage: Stage) -> dict[str, Any] | None:
    """Return the trust policy of the job's role, if the role exists."""
    try:
        document: Any = aws.iam.get_role(RoleName=job_role(stage))["Role"].get("AssumeRolePolicyDocument", {})
    except ClientError as error:
        if error.response["Error"]["Code"] in NOT_FOUND:
            return None
        raise
    return dict(document)


def is_trusted(aws: AwsClients, stage: Stage, eks: "ClusterTypeDef") -> bool:
    """Tell whether EMR's pods on this cluster may assume the job's role."""
    document = trust_policy(aws, stage)
    subject = trust.subject(NAMESPACE, aws.account, job_role(stage))
    return document is not None and trust.is_trusted(document, identity_provider(aws, eks), subject)
