"""``cluster.sh down``: cancels runs, then removes the stage in order of dependency; data stays."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from job.errors import JobError
from scripts.cloud import manifests
from scripts.cloud.aws_session import AwsRefusedError
from scripts.cloud.stage import NAMESPACE, Stage, find_stack
from scripts.cluster import data_removal, stacks, stage_state, trust
from scripts.cluster.cluster_tools import Tools, failure_reason, relative_path
from scripts.cluster.stage_state import AwsClients
from scripts.cluster.steps import Step, confirm, run_steps

if TYPE_CHECKING:
    from mypy_boto3_eks.type_defs import ClusterTypeDef
    from mypy_boto3_emr_containers.type_defs import VirtualClusterTypeDef


@dataclass(frozen=True)
class Removal:
    """The tools and options that every step of ``down`` uses."""

    tools: Tools
    aws: AwsClients
    delete_data: bool
    without_kubectl: bool
    command: str

    @property
    def stage(self) -> Stage:
        """The stage to remove."""
        return self.tools.stage


def down(removal: Removal, *, yes: bool, ask: Callable[[str], str]) -> int:
    """Remove a stage and return the exit code.

    Raises
    ------
    JobError
        With the step that failed, and what was done before it.
    """
    tools, aws = removal.tools, removal.aws
    print(f"stage {removal.stage.name}, region {tools.region}, account {aws.account}", flush=True)
    removable = _removable(removal)
    data = data_removal.data_to_delete(aws, removal.stage) if removal.delete_data else []
    if not removable and not data:
        print("there is nothing to remove" + ("" if removal.delete_data else _retained(removal)))
        return 0
    if removal.delete_data:
        data_removal.refuse_attached_policy(aws, removal.stage)
    print("down removes:" if removable or data else "")
    for line in [*removable, *data]:
        print(f"  {line}")
    if not removal.delete_data:
        print("it keeps the account's stack (buckets, key, images, roles) and logs: they cost what they hold")
    if not tools.dry_run:
        if data:
            confirm(f"Photos, results and logs are lost for good. Type {removal.stage.name} to delete them:",
                    yes=yes, ask=ask, word=removal.stage.name)  # fmt: skip
        else:
            confirm("Remove it? [y/N]", yes=yes, ask=ask)
    run_steps(_steps(removal), removal.command)
    print("\ndry run: nothing was changed" if tools.dry_run else f"\nstage {removal.stage.name} is down")
    if not removal.delete_data:
        print(_retained(removal).removeprefix("; "))
    return 0


def _steps(removal: Removal) -> list[Step]:
    tools, aws = removal.tools, removal.aws
    steps = [
        Step("runs", partial(runs, removal)),
        Step("virtual cluster", partial(virtual_clusters, removal)),
        Step("namespace", partial(namespace, removal)),
        Step("cluster", partial(cluster, removal)),
        Step("trust", partial(trust_policy, removal)),
        Step("network", partial(stacks.remove, tools, aws, removal.stage.network_stack)),
    ]
    if removal.delete_data:
        steps += [
            Step("data", partial(data_removal.empty_buckets, tools, aws)),
            Step("account", partial(stacks.remove, tools, aws, removal.stage.account_stack)),
            Step("buckets and logs", partial(data_removal.delete_buckets_and_logs, tools, aws)),
        ]
    return steps


def _removable(removal: Removal) -> list[str]:
    """Describe what there is to remove, without data."""
    aws, stage = removal.aws, removal.stage
    lines = [f"run {run['id']} ({run['name']}), {run['state']}: it is cancelled" for run in _runs(removal)]
    lines += [
        f"virtual cluster {virtual['id']} ({virtual['name']})" for virtual in _virtual_clusters(removal)
    ]
    if stage_state.cluster(aws, stage) is not None:
        lines.append(f"EKS cluster {stage.cluster} with namespace {NAMESPACE} and its nodes")
    for name in (f"eksctl-{stage.cluster}-cluster", stage.network_stack):
        if find_stack(aws.cloudformation, name) is not None:
            lines.append(f"stack {name}")
    return lines


def _retained(removal: Removal) -> str:
    """Describe the stack that stays, if there is one."""
    stack = find_stack(removal.aws.cloudformation, removal.stage.account_stack)
    if stack is None:
        return ""
    return f"; stack {stack.name} with its data is kept: --delete-data deletes it too"


def _virtual_clusters(removal: Removal) -> list["VirtualClusterTypeDef"]:
    clusters = stage_state.virtual_clusters(removal.aws, removal.stage)
    return [cluster for cluster in clusters if cluster["state"] in stage_state.PRESENT_STATES]


def _runs(removal: Removal) -> list[dict[str, str]]:
    active = []
    for virtual_cluster in _virtual_clusters(removal):
        for run in stage_state.runs(removal.aws, virtual_cluster["id"]):
            summary = {"id": run["id"], "name": run.get("name", ""), "state": run["state"]}
            active.append({**summary, "virtual cluster": virtual_cluster["id"]})
    return active


def runs(removal: Removal) -> bool:
    """Cancel the runs and wait until they, and so their pods, have ended."""
    active, cancelled = _runs(removal), set()

    def all_ended() -> bool | None:
        remaining = _runs(removal)  # includes runs that were started meanwhile
        for run in remaining:
            if run["id"] not in cancelled and run["state"] != "CANCEL_PENDING":
                cancelled.add(run["id"])
                _cancel(removal, run)
        return None if remaining else True

    if removal.tools.dry_run:
        for run in active:
            _cancel(removal, run)
    elif active:
        removal.tools.wait_until(all_ended, "the runs have ended", minutes=20)
    return bool(active)


def _cancel(removal: Removal, run: dict[str, str]) -> None:
    try:
        removal.tools.aws("emr-containers", "cancel-job-run", "--virtual-cluster-id", run["virtual cluster"],
                       "--id", run["id"])  # fmt: skip
    except AwsRefusedError:
        if run["id"] in {active["id"] for active in _runs(removal)}:
            raise
        print("  it has ended meanwhile")


def virtual_clusters(removal: Removal) -> bool:
    """Delete the virtual clusters, so that EMR releases the namespace."""
    present = _virtual_clusters(removal)
    for virtual_cluster in present:
        if virtual_cluster["state"] != "TERMINATING":
            removal.tools.aws("emr-containers", "delete-virtual-cluster", "--id", virtual_cluster["id"])
    if present and not removal.tools.dry_run:
        removal.tools.wait_until(
            lambda: None if _virtual_clusters(removal) else True,
            "the virtual cluster is TERMINATED",
            minutes=20,
        )
    return bool(present)


def namespace(removal: Removal) -> bool:
    """Delete the namespace and the node pools, since only a standing cluster can end its nodes."""
    tools, eks = removal.tools, stage_state.cluster(removal.aws, removal.stage)
    if eks is None or eks["status"] not in ("ACTIVE", "UPDATING") or removal.without_kubectl:
        return False
    tools.write_kubeconfig()
    if not tools.dry_run:
        result = tools.query("get", "namespace", NAMESPACE, "--ignore-not-found", "-o", "name")
        if result.code:
            raise JobError(
                f"kubectl does not reach EKS cluster {removal.stage.cluster} ({failure_reason(result)}): if "
                "it never will, say --without-kubectl, and look for what is left in EC2: security groups, "
                "and instances with aws ec2 describe-instances --include-managed-resources "
                f"--region {tools.region}"
            )
    overlay = relative_path(manifests.K8S / "overlays" / removal.stage.name)
    tools.kubectl("delete", "-k", overlay, "--ignore-not-found", "--timeout=15m")
    if not tools.dry_run:
        tools.wait_until(lambda: _no_nodes(tools), "the nodes are gone", minutes=20)
    return True


def _no_nodes(tools: Tools) -> bool | None:
    result = tools.query("get", "nodes", "-l", "fruits/pool", "-o", "name")
    return True if result.code == 0 and not result.text.strip() else None


def cluster(removal: Removal) -> bool:
    """Delete the EKS cluster and eksctl's stack, as far as they exist."""
    tools, aws, name = removal.tools, removal.aws, removal.stage.cluster
    stack_name = f"eksctl-{name}-cluster"
    stack = stacks.settled_stack(tools, aws, stack_name)
    eks = _settled_cluster(removal)
    if eks is not None:
        if eks.get("deletionProtection"):
            tools.aws("eks", "update-cluster-config", "--name", name, "--no-deletion-protection")
            _settled_cluster(removal)
        # Eviction is skipped: the nodes are gone or unreachable, and protected pods would block it.
        # Without --force, eksctl would stop at listing load balancers if the API cannot be reached.
        force = ("--force",) if removal.without_kubectl else ()
        tools.eksctl("delete", "cluster", "--name", name, "--region", tools.region, "--wait",
                     "--disable-nodegroup-eviction", *force)  # fmt: skip
        if not tools.dry_run and _settled_cluster(removal) is not None:
            raise JobError(f"eksctl is done, and EKS cluster {name} is still there")
        stack = None if tools.dry_run else stacks.settled_stack(tools, aws, stack_name)
    if stack is not None:  # left by a failed creation: without a cluster, eksctl does not find it
        stacks.remove(tools, aws, stack_name)
    if not tools.dry_run:
        tools.kubeconfig.unlink(missing_ok=True)
    return eks is not None or stack is not None


def _settled_cluster(removal: Removal) -> "ClusterTypeDef | None":
    states = (*stacks.CLUSTER_TRANSITIONS, "UPDATING")
    return stacks.settled_cluster(removal.tools, removal.aws, states, "the EKS cluster has settled")


def trust_policy(removal: Removal) -> bool:
    """Remove the deleted cluster from the trust policy of the job's role."""
    role = stage_state.job_role(removal.stage)
    document = stage_state.trust_policy(removal.aws, removal.stage) or {}
    subject = trust.subject(NAMESPACE, removal.aws.account, role)
    without_stale = trust.without_stale_statements(document, None, subject)
    if without_stale is None:
        return False
    removal.tools.aws("iam", "update-assume-role-policy", "--role-name", role,
                   "--policy-document", json.dumps(without_stale, separators=(",", ":")))  # fmt: skip
    return True
