"""The first steps of ``cluster.sh up``: stacks, cluster, namespace.

Each step looks first, does what is missing, and says whether it did anything.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from job.errors import JobError, UsageError
from scripts.cloud import manifests
from scripts.cloud.aws_session import AwsRefusedError
from scripts.cloud.stage import NAMESPACE, Stage
from scripts.cluster import data_removal, stacks, stage_state
from scripts.cluster.cluster_tools import Hands, reason, relative
from scripts.cluster.stack_templates import ACCOUNT, NETWORK
from scripts.cluster.stacks import Wanted
from scripts.cluster.stage_state import GONE, Aws

if TYPE_CHECKING:
    from mypy_boto3_eks.type_defs import ClusterTypeDef

BUCKETS: Final = ("PhotosBucket", "ResultsBucket", "LogsBucket")
SUBNETS: Final = ("VpcId", "PrivateSubnetA", "PrivateSubnetB", "PrivateSubnetC")
# A laptop's address changes; who calls must still be let in by IAM.
ANYWHERE: Final = ("0.0.0.0/0",)
# Applied server-side, so that the cluster remembers which fields are ours.
OURS: Final = ("--server-side", "--field-manager=fruits")


@dataclass(frozen=True)
class Up:
    """What the steps are handed."""

    hands: Hands
    aws: Aws
    parameters: dict[str, dict[str, str]]
    public_access: tuple[str, ...] | None

    @property
    def stage(self) -> Stage:
        """The stage that is made."""
        return self.hands.stage

    @property
    def stacks(self) -> tuple[Wanted, Wanted]:
        """The two stacks, the account's first."""
        return (
            Wanted(self.stage.account_stack, ACCOUNT, self.stage, self.parameters[ACCOUNT]),
            Wanted(self.stage.network_stack, NETWORK, self.stage, self.parameters[NETWORK]),
        )

    @property
    def overlay(self) -> str:
        """The stage's kustomization."""
        return relative(manifests.K8S / "overlays" / self.stage.name)


def account(up: Up) -> bool:
    """Bring the account's stack: buckets, key, repository, logs and roles."""
    left = data_removal.buckets(up.aws, up.stage)
    if left and stage_state.stack(up.aws, up.stage.account_stack) is None:
        raise UsageError(
            f"bucket {left[0]} is there and its stack is not, a removal was left half-done: finish it with "
            f"./scripts/cluster.sh down --stage {up.stage.name} --delete-data, or import the buckets into "
            f"a stack {up.stage.account_stack} with CloudFormation to keep what is in them"
        )
    changed = stacks.bring(up.hands, up.aws, up.stacks[0])
    if not up.hands.dry_run:
        _check_ground(up)
    return changed


def network(up: Up) -> bool:
    """Bring the network's stack: the VPC and its endpoints."""
    return stacks.bring(up.hands, up.aws, up.stacks[1])


def cluster(up: Up) -> bool:
    """Make the EKS cluster, wait for one that is being made, and mend one that was left unfinished."""
    hands, name = up.hands, up.stage.cluster
    left = stacks.settled(hands, up.aws, f"eksctl-{name}-cluster")
    found = _standing(up)
    if found is None:
        if left is not None and left.is_ready:
            raise JobError(
                f"eksctl's stack {left.name} says that it made a cluster, and there is none: remove it with "
                f"./scripts/cluster.sh down --stage {up.stage.name}, then {up.stage.up}"
            )
        if left is not None:
            print(f"  an earlier creation failed ({stage_state.why(up.aws, left.name)})")
            stacks.remove(hands, up.aws, left.name)
        # Without the last option it writes into the user's own kubeconfig.
        hands.eksctl("create", "cluster", "-f", "-", "--write-kubeconfig=false", said=_config(up))
        if not hands.dry_run and _standing(up) is None:
            raise JobError(f"eksctl is done, and there is no EKS cluster {name}")
        return True
    print(f"  EKS cluster {name} is {found['status']}, Kubernetes {found['version']}")
    return _finish(up, found)


def namespace(up: Up) -> bool:
    """Bring the namespace: its limits, network policies and pools of nodes."""
    hands = up.hands
    hands.kubeconfig.parent.mkdir(exist_ok=True)
    config = relative(hands.kubeconfig)
    hands.aws("eks", "update-kubeconfig", "--name", up.stage.cluster, "--alias", up.stage.cluster,
              "--kubeconfig", config)  # fmt: skip
    if not hands.dry_run:
        _until_reached(up)
        there = hands.look("get", "namespace", NAMESPACE, "-o", "name").code == 0
        # 0: nothing differs; 1: something does; more: ask by applying, which says why.
        if there and hands.look("diff", *OURS, "-k", up.overlay).code == 0:
            print(f"  namespace {NAMESPACE} is as {up.overlay} says")
            return False
    hands.kubectl("apply", *OURS, "-k", up.overlay)
    ready = "--for=jsonpath={.status.phase}=Active"
    hands.kubectl("wait", ready, f"namespace/{NAMESPACE}", "--timeout=60s")
    return True


def _check_ground(up: Up) -> None:
    """Refuse to build on a stack that has lost a bucket, or whose key is about to be deleted."""
    made = stacks.outputs(up.hands, up.aws, up.stage.account_stack, (*BUCKETS, "KeyArn"))
    finish = f"./scripts/cluster.sh down --stage {up.stage.name} --delete-data, then {up.stage.up}"
    for name in BUCKETS:
        try:
            up.aws.s3.head_bucket(Bucket=made[name])
        except up.aws.s3.exceptions.ClientError as error:
            if error.response["Error"]["Code"] not in GONE:
                raise
            raise UsageError(
                f"bucket {made[name]} is gone and its stack is not: make it again, empty; or if all data is "
                f"to be deleted, {finish}"
            ) from None
    key = made["KeyArn"]
    state = up.aws.kms.describe_key(KeyId=key)["KeyMetadata"].get("KeyState")
    enable = f"aws kms enable-key --key-id {key}"
    if state == "PendingDeletion":
        raise UsageError(
            f"key {key} is PendingDeletion, a removal was left half-done: to keep the data, aws kms "
            f"cancel-key-deletion --key-id {key}, then {enable}; to delete it, {finish}"
        )
    if state != "Enabled":
        raise UsageError(f"key {key} is {state}, so nothing can be read or written: {enable}")


def _standing(up: Up) -> "ClusterTypeDef | None":
    """Return the EKS cluster once it stands; wait for one that is being made or deleted."""
    if up.hands.dry_run:
        return stage_state.cluster(up.aws, up.stage)

    def look() -> "tuple[ClusterTypeDef | None] | None":
        found = stage_state.cluster(up.aws, up.stage)
        moving = found is not None and found["status"] in ("CREATING", "DELETING", "PENDING")
        return None if moving else (found,)

    found = up.hands.until(look, f"EKS cluster {up.stage.cluster} is ready", minutes=stacks.MINUTES)[0]
    if found is not None and found["status"] == "FAILED":
        issues = [one.get("message", "") for one in found.get("health", {}).get("issues", [])]
        raise AwsRefusedError(
            f"EKS cluster {up.stage.cluster} is FAILED ({issues[0] if issues else 'without a reason'}): "
            f"remove it with ./scripts/cluster.sh down --stage {up.stage.name}, then {up.stage.up}"
        )
    return found


def _finish(up: Up, found: "ClusterTypeDef") -> bool:
    """Do what eksctl does after the cluster stands, if it was ended before that."""
    hands, name = up.hands, up.stage.cluster
    days = manifests.load("cluster.yaml")["cloudWatch"]["clusterLogging"]["logRetentionInDays"]
    group = f"/aws/eks/{name}/cluster"
    groups = up.aws.logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    unlimited = any(one["logGroupName"] == group and "retentionInDays" not in one for one in groups)
    if unlimited:
        hands.aws("logs", "put-retention-policy", "--log-group-name", group, "--retention-in-days", str(days))
    known = stage_state.has_provider(up.aws, found)
    if not known:
        print("  IAM does not know the cluster's service accounts: eksctl was ended before that")
        hands.eksctl("utils", "associate-iam-oidc-provider", "--cluster", name, "--region", hands.region,
                     "--approve")  # fmt: skip
    return _open(up, found) or unlimited or not known


def _open(up: Up, found: "ClusterTypeDef") -> bool:
    """Let the cluster's API be called from where --public-access says, if it says so."""
    if up.public_access is None:
        return False
    wanted, there = set(up.public_access), set(found["resourcesVpcConfig"].get("publicAccessCidrs", []))
    if wanted == there:
        return False
    up.hands.aws("eks", "update-cluster-config", "--name", up.stage.cluster, "--resources-vpc-config",
                 f"publicAccessCidrs={','.join(sorted(wanted))}")  # fmt: skip
    return True


def _config(up: Up) -> str:
    """Fill in what eksctl reads."""
    aws, hands = up.aws, up.hands
    made = stacks.outputs(hands, aws, up.stage.account_stack, ("KeyArn",))
    made |= stacks.outputs(hands, aws, up.stage.network_stack, SUBNETS)
    names = {
        "Cluster": up.stage.cluster,
        "Stage": up.stage.name,
        "PublicAccess": list(up.public_access or ANYWHERE),
    }
    return manifests.dump(manifests.fill(manifests.load("cluster.yaml"), {**made, **names}))


def _until_reached(up: Up) -> None:
    """Wait until the API answers and knows pools of nodes: Auto Mode brings them after the cluster."""
    said: list[str] = []

    def look() -> bool | None:
        done = up.hands.look("get", "crd", "nodepools.karpenter.sh", "-o", "name")
        said.append(reason(done) if done.code else "")
        return None if done.code else True

    try:
        up.hands.until(look, "the cluster's API answers", minutes=3)
    except JobError:
        raise JobError(
            f"kubectl does not reach EKS cluster {up.stage.cluster} ({said[-1]}): is your address among "
            "those that may call its API (--public-access), and may you use it?"
        ) from None
