"""The first steps of ``cluster.sh up``: stacks, cluster, namespace.

Each step creates what is missing and returns whether it changed anything.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from job.errors import JobError, UsageError
from scripts.cloud import manifests
from scripts.cloud.aws_session import AwsRefusedError
from scripts.cloud.stage import NAMESPACE, Stage, find_stack
from scripts.cluster import access, data_removal, stacks, stage_state
from scripts.cluster.cluster_tools import Tools, failure_reason, relative_path
from scripts.cluster.stack_templates import ACCOUNT, NETWORK
from scripts.cluster.stacks import DesiredStack
from scripts.cluster.stage_state import NOT_FOUND, AwsClients

if TYPE_CHECKING:
    from mypy_boto3_eks.type_defs import ClusterTypeDef

BUCKETS: Final = ("PhotosBucket", "ResultsBucket", "LogsBucket")
ROLE_AND_KEY: Final = ("KeyArn", "NodeRoleArn")
SUBNETS: Final = ("VpcId", "PrivateSubnetA", "PrivateSubnetB", "PrivateSubnetC")
# A laptop's address changes, and IAM still decides who may call.
ANYWHERE: Final = ("0.0.0.0/0",)
DEFINITIONS: Final = ("nodepools.karpenter.sh", "nodeclasses.eks.amazonaws.com")
# Server-side apply records in the cluster which fields these manifests own.
SERVER_SIDE: Final = ("--server-side", "--field-manager=fruits")


@dataclass(frozen=True)
class Creation:
    """The tools and options that every step of ``up`` uses."""

    tools: Tools
    aws: AwsClients
    parameters: dict[str, dict[str, str]]
    public_access: tuple[str, ...] | None
    admin_role: str | None
    command: str

    @property
    def stage(self) -> Stage:
        """The stage to create."""
        return self.tools.stage

    @property
    def stacks(self) -> tuple[DesiredStack, DesiredStack]:
        """The account's and the network's stack."""
        return (
            DesiredStack(self.stage.account_stack, ACCOUNT, self.stage, self.parameters[ACCOUNT]),
            DesiredStack(self.stage.network_stack, NETWORK, self.stage, self.parameters[NETWORK]),
        )

    @property
    def overlay(self) -> str:
        """The path of the stage's kustomization."""
        return relative_path(manifests.K8S / "overlays" / self.stage.name)


def account(creation: Creation) -> bool:
    """Deploy the account's stack: buckets, key, repository, logs and roles."""
    stage = creation.stage
    remaining = data_removal.buckets(creation.aws, stage)
    if remaining and find_stack(creation.aws.cloudformation, stage.account_stack) is None:
        raise UsageError(
            f"bucket {remaining[0]} is there and its stack is not, a removal was left half-done: finish it "
            f"with ./scripts/cluster.sh down --stage {stage.name} --delete-data, or import the buckets into "
            f"a stack {stage.account_stack} with CloudFormation to keep what is in them"
        )
    changed = stacks.deploy(creation.tools, creation.aws, creation.stacks[0])
    if not creation.tools.dry_run:
        _check_account(creation)
    return changed


def network(creation: Creation) -> bool:
    """Deploy the network's stack: the VPC and its endpoints."""
    return stacks.deploy(creation.tools, creation.aws, creation.stacks[1])


def cluster(creation: Creation) -> bool:
    """Create the EKS cluster, or wait for it and complete what an interrupted eksctl left out."""
    tools, name = creation.tools, creation.stage.cluster
    stack = stacks.settled_stack(tools, creation.aws, f"eksctl-{name}-cluster")
    eks = _settled_cluster(creation)
    if eks is None:
        if stack is not None and stack.is_ready:
            raise JobError(
                f"eksctl's stack {stack.name} says that it made a cluster, and there is none: remove it with "
                f"./scripts/cluster.sh down --stage {creation.stage.name}, then {creation.command}"
            )
        if stack is not None:
            print(f"  an earlier creation failed ({stage_state.failure_reason(creation.aws, stack.name)})")
            stacks.remove(tools, creation.aws, stack.name)
        # Without the last option, eksctl writes into the user's own kubeconfig.
        tools.eksctl("create", "cluster", "-f", "-", "--write-kubeconfig=false", stdin=_config(creation))
        if not tools.dry_run and _settled_cluster(creation) is None:
            raise JobError(f"eksctl is done, and there is no EKS cluster {name}")
        access.grant(tools, creation.aws, creation.admin_role)
        return True
    print(f"  EKS cluster {name} is {eks['status']}, Kubernetes {eks['version']}")
    return _finish(creation, eks)


def namespace(creation: Creation) -> bool:
    """Apply the namespace with its limits, network policies and node pools."""
    tools = creation.tools
    tools.write_kubeconfig()
    if not tools.dry_run:
        _wait_until_reachable(creation)
        exists = tools.query("get", "namespace", NAMESPACE, "-o", "name").code == 0
        # 0: nothing differs; 1: something does; more: diff failed, and apply will print the reason.
        if exists and tools.query("diff", *SERVER_SIDE, "-k", creation.overlay).code == 0:
            print(f"  namespace {NAMESPACE} is as {creation.overlay} says")
            return False
    tools.kubectl("apply", *SERVER_SIDE, "-k", creation.overlay)
    ready = "--for=jsonpath={.status.phase}=Active"
    tools.kubectl("wait", ready, f"namespace/{NAMESPACE}", "--timeout=60s")
    return True


def _check_account(creation: Creation) -> None:
    """Check that the account's stack still has its buckets and an enabled key."""
    aws, stage = creation.aws, creation.stage
    names = (*BUCKETS, "KeyArn")
    stack_outputs = stacks.required_outputs(creation.tools, aws, stage.account_stack, names)
    removal = f"./scripts/cluster.sh down --stage {stage.name} --delete-data, then {creation.command}"
    for name in BUCKETS:
        try:
            aws.s3.head_bucket(Bucket=stack_outputs[name])
        except aws.s3.exceptions.ClientError as error:
            if error.response["Error"]["Code"] not in NOT_FOUND:
                raise
            raise UsageError(
                f"bucket {stack_outputs[name]} is gone and its stack is not: make it again, empty; or if all "
                f"data is to be deleted, {removal}"
            ) from None
    key = stack_outputs["KeyArn"]
    state = aws.kms.describe_key(KeyId=key)["KeyMetadata"].get("KeyState")
    named = f"--key-id {key} --region {creation.tools.region}"
    enable = f"aws kms enable-key {named}"
    if state == "PendingDeletion":
        raise UsageError(
            f"key {key} is PendingDeletion, a removal was left half-done: to keep the data, aws kms "
            f"cancel-key-deletion {named}, then {enable}; to delete it, {removal}"
        )
    if state != "Enabled":
        raise UsageError(f"key {key} is {state}, so nothing can be read or written: {enable}")


def _settled_cluster(creation: Creation) -> "ClusterTypeDef | None":
    """Return the EKS cluster, if there is one, once it is neither being created nor deleted."""
    tools, stage = creation.tools, creation.stage
    what = f"EKS cluster {stage.cluster} is ready"
    eks = stacks.settled_cluster(tools, creation.aws, stacks.CLUSTER_TRANSITIONS, what)
    if eks is not None and eks["status"] == "FAILED" and not tools.dry_run:
        issues = [issue.get("message", "") for issue in eks.get("health", {}).get("issues", [])]
        raise AwsRefusedError(
            f"EKS cluster {stage.cluster} is FAILED ({issues[0] if issues else 'without a reason'}): "
            f"remove it with ./scripts/cluster.sh down --stage {stage.name}, then {creation.command}"
        )
    return eks


def _finish(creation: Creation, eks: "ClusterTypeDef") -> bool:
    """Do what eksctl does after creating a cluster, as far as an interrupted eksctl did not."""
    tools, name = creation.tools, creation.stage.cluster
    days = manifests.load("cluster.yaml")["cloudWatch"]["clusterLogging"]["logRetentionInDays"]
    group = f"/aws/eks/{name}/cluster"
    groups = creation.aws.logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    is_unlimited = any(
        existing["logGroupName"] == group and "retentionInDays" not in existing for existing in groups
    )
    if is_unlimited:
        tools.aws("logs", "put-retention-policy", "--log-group-name", group, "--retention-in-days", str(days))
    has_provider = stage_state.has_identity_provider(creation.aws, eks)
    if not has_provider:
        print("  IAM does not know the cluster's service accounts: eksctl was ended before that")
        tools.eksctl("utils", "associate-iam-oidc-provider", "--cluster", name, "--region", tools.region,
                     "--approve")  # fmt: skip
    has_changed = access.grant(tools, creation.aws, creation.admin_role)
    return _open(creation, eks) or has_changed or is_unlimited or not has_provider


def _open(creation: Creation, eks: "ClusterTypeDef") -> bool:
    """Set the networks that may call the cluster's API, if --public-access is given."""
    if creation.public_access is None:
        return False
    allowed = set(creation.public_access)
    if allowed == set(eks["resourcesVpcConfig"].get("publicAccessCidrs", [])):
        return False
    config = f"publicAccessCidrs={','.join(sorted(allowed))}"
    creation.tools.aws("eks", "update-cluster-config", "--name", creation.stage.cluster,
                       "--resources-vpc-config", config)  # fmt: skip
    return True


def _config(creation: Creation) -> str:
    """Return the cluster's configuration for eksctl, as YAML."""
    aws, tools = creation.aws, creation.tools
    stack_outputs = stacks.required_outputs(tools, aws, creation.stage.account_stack, ROLE_AND_KEY)
    stack_outputs |= stacks.required_outputs(tools, aws, creation.stage.network_stack, SUBNETS)
    names = {
        "Cluster": creation.stage.cluster,
        "Stage": creation.stage.name,
        "PublicAccess": list(creation.public_access or ANYWHERE),
    }
    return manifests.dump(manifests.fill(manifests.load("cluster.yaml"), {**stack_outputs, **names}))


def _wait_until_reachable(creation: Creation) -> None:
    """Wait until the API answers and knows Auto Mode's resources, which EKS installs after the cluster."""
    reasons: list[str] = []

    def is_reachable() -> bool | None:
        result = creation.tools.query("get", "crd", *DEFINITIONS, "-o", "name")
        reasons.append(failure_reason(result) if result.code else "")
        return None if result.code else True

    try:
        creation.tools.wait_until(is_reachable, "the cluster's API answers", minutes=3)
    except JobError:
        raise JobError(
            f"kubectl does not reach EKS cluster {creation.stage.cluster} ({reasons[-1]}): is your address "
            "among those that may call its API (--public-access), and may you use it?"
        ) from None
