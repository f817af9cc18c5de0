"""``cluster.sh down``: ends what runs and removes the stage in the order in which it can go; data stays."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from job.errors import JobError
from scripts.cloud import manifests
from scripts.cloud.aws_session import AwsRefusedError
from scripts.cloud.stage import NAMESPACE, Stage
from scripts.cluster import data_removal, stacks, stage_state, trust
from scripts.cluster.cluster_tools import Hands, reason, relative
from scripts.cluster.stage_state import Aws
from scripts.cluster.steps import Step, confirm, walk

if TYPE_CHECKING:
    from mypy_boto3_eks.type_defs import ClusterTypeDef
    from mypy_boto3_emr_containers.type_defs import VirtualClusterTypeDef


@dataclass(frozen=True)
class Down:
    """What the steps are handed."""

    hands: Hands
    aws: Aws
    delete_data: bool
    without_kubectl: bool

    @property
    def stage(self) -> Stage:
        """The stage that is removed."""
        return self.hands.stage


def down(step: Down, *, yes: bool, ask: Callable[[str], str]) -> int:
    """Remove a stage and return the exit code.

    Raises
    ------
    JobError
        With the step that failed, and what was done before it.
    """
    hands, aws = step.hands, step.aws
    print(f"stage {step.stage.name}, region {hands.region}, account {aws.account}", flush=True)
    goes = _goes(step)
    data = data_removal.found(aws, step.stage) if step.delete_data else []
    if not goes and not data:
        print("there is nothing to remove" + ("" if step.delete_data else _kept(step)))
        return 0
    if step.delete_data:
        data_removal.refuse_if_used(aws, step.stage)
    print("down removes:" if goes or data else "")
    for one in [*goes, *data]:
        print(f"  {one}")
    if not step.delete_data:
        print("it keeps the account's stack (buckets, key, images, roles) and logs: they cost what they hold")
    if not hands.dry_run:
        if data:
            confirm(f"Photos, results and logs are lost for good. Type {step.stage.name} to delete them:",
                    yes=yes, ask=ask, word=step.stage.name)  # fmt: skip
        else:
            confirm("Remove it? [y/N]", yes=yes, ask=ask)
    again = f"./scripts/cluster.sh down --stage {step.stage.name}"
    again += " --delete-data" if step.delete_data else ""
    walk(_steps(step), again)
    print("\ndry run: nothing was changed" if hands.dry_run else f"\nstage {step.stage.name} is down")
    print("" if step.delete_data else _kept(step).removeprefix("; "), end="" if step.delete_data else "\n")
    return 0


def _steps(step: Down) -> list[Step]:
    steps = [
        Step("runs", partial(runs, step)),
        Step("virtual cluster", partial(virtual_clusters, step)),
        Step("namespace", partial(namespace, step)),
        Step("cluster", partial(cluster, step)),
        Step("trust", partial(trust_policy, step)),
        Step("network", partial(stacks.remove, step.hands, step.aws, step.stage.network_stack)),
    ]
    if step.delete_data:
        steps += [
            Step("data", partial(data_removal.empty_all, step.hands, step.aws)),
            Step("account", partial(stacks.remove, step.hands, step.aws, step.stage.account_stack)),
            Step("buckets and logs", partial(data_removal.remove_kept, step.hands, step.aws)),
        ]
    return steps


def _goes(step: Down) -> list[str]:
    """Return in words what there is to remove, data apart."""
    aws, stage = step.aws, step.stage
    words = [f"run {one['id']} ({one['name']}), {one['state']}: it is cancelled" for one in _runs(step)]
    words += [f"virtual cluster {one['id']} ({one['name']})" for one in _virtual_clusters(step)]
    if stage_state.cluster(aws, stage) is not None:
        words.append(f"EKS cluster {stage.cluster} with namespace {NAMESPACE} and its nodes")
    for name in (f"eksctl-{stage.cluster}-cluster", stage.network_stack):
        if stage_state.stack(aws, name) is not None:
            words.append(f"stack {name}")
    return words


def _kept(step: Down) -> str:
    there = stage_state.stack(step.aws, step.stage.account_stack)
    if there is None:
        return ""
    return f"; stack {there.name} with its data is kept: --delete-data deletes it too"


def _virtual_clusters(step: Down) -> list["VirtualClusterTypeDef"]:
    known = stage_state.virtual_clusters(step.aws, step.stage)
    return [one for one in known if one["state"] in stage_state.THERE]


def _runs(step: Down) -> list[dict[str, str]]:
    found = []
    for one in _virtual_clusters(step):
        for run in stage_state.runs(step.aws, one["id"]):
            named = {"id": run["id"], "name": run.get("name", ""), "state": run["state"]}
            found.append({**named, "virtual cluster": one["id"]})
    return found


def runs(step: Down) -> bool:
    """Cancel what runs, and wait until it has ended: its pods are gone then."""
    alive, asked = _runs(step), set()

    def all_ended() -> bool | None:
        left = _runs(step)  # those too that were started meanwhile
        for one in left:
            if one["id"] not in asked and one["state"] != "CANCEL_PENDING":
                asked.add(one["id"])
                _cancel(step, one)
        return None if left else True

    if step.hands.dry_run:
        for one in alive:
            _cancel(step, one)
    elif alive:
        step.hands.until(all_ended, "the runs have ended", minutes=20)
    return bool(alive)


def _cancel(step: Down, run: dict[str, str]) -> None:
    try:
        step.hands.aws("emr-containers", "cancel-job-run", "--virtual-cluster-id", run["virtual cluster"],
                       "--id", run["id"])  # fmt: skip
    except AwsRefusedError:
        if run["id"] in {one["id"] for one in _runs(step)}:
            raise
        print("  it has ended meanwhile")


def virtual_clusters(step: Down) -> bool:
    """Take the namespace from EMR."""
    there = _virtual_clusters(step)
    for one in there:
        if one["state"] != "TERMINATING":
            step.hands.aws("emr-containers", "delete-virtual-cluster", "--id", one["id"])
    if there and not step.hands.dry_run:
        step.hands.until(
            lambda: None if _virtual_clusters(step) else True, "the virtual cluster is TERMINATED", minutes=20
        )
    return bool(there)


def namespace(step: Down) -> bool:
    """Delete the namespace and the pools, so that nodes go while there is a cluster that can end them."""
    hands, found = step.hands, stage_state.cluster(step.aws, step.stage)
    if found is None or found["status"] not in ("ACTIVE", "UPDATING") or step.without_kubectl:
        return False
    hands.kubeconfig.parent.mkdir(exist_ok=True)
    hands.aws("eks", "update-kubeconfig", "--name", step.stage.cluster, "--alias", step.stage.cluster,
              "--kubeconfig", relative(hands.kubeconfig))  # fmt: skip
    if not hands.dry_run:
        done = hands.look("get", "namespace", NAMESPACE, "--ignore-not-found", "-o", "name")
        if done.code:
            raise JobError(
                f"kubectl does not reach EKS cluster {step.stage.cluster} ({reason(done)}): if it never "
                "will, say --without-kubectl, and look for what is left in EC2: instances, security groups"
            )
    overlay = relative(manifests.K8S / "overlays" / step.stage.name)
    hands.kubectl("delete", "-k", overlay, "--ignore-not-found", "--timeout=15m")
    if not hands.dry_run:
        hands.until(lambda: _no_nodes(hands), "the nodes are gone", minutes=20)
    return True


def _no_nodes(hands: Hands) -> bool | None:
    done = hands.look("get", "nodes", "-l", "fruits/pool", "-o", "name")
    return True if done.code == 0 and not done.text.strip() else None


def cluster(step: Down) -> bool:
    """Delete the EKS cluster and eksctl's stack, whatever of them there is."""
    hands, aws, name = step.hands, step.aws, step.stage.cluster
    stack = f"eksctl-{name}-cluster"
    there = stacks.settled(hands, aws, stack)
    found = _standing(step)
    if found is not None:
        if found.get("deletionProtection"):
            hands.aws("eks", "update-cluster-config", "--name", name, "--no-deletion-protection")
            _standing(step)
        # Nodes are gone, or not to be waited for: pods that may not be disrupted do not keep the cluster.
        # Without an API to ask, eksctl would stop at the services whose load balancers it looks for.
        forced = ("--force",) if step.without_kubectl else ()
        hands.eksctl("delete", "cluster", "--name", name, "--region", hands.region, "--wait",
                     "--disable-nodegroup-eviction", *forced)  # fmt: skip
        if not hands.dry_run and _standing(step) is not None:
            raise JobError(f"eksctl is done, and EKS cluster {name} is still there")
        there = None if hands.dry_run else stacks.settled(hands, aws, stack)
    if there is not None:  # of a creation that failed: eksctl does not find it without its cluster
        stacks.remove(hands, aws, stack)
    if not hands.dry_run:
        hands.kubeconfig.unlink(missing_ok=True)
    return found is not None or there is not None


def _standing(step: Down) -> "ClusterTypeDef | None":
    """Return the cluster once nothing is done to it."""

    def look() -> "tuple[ClusterTypeDef | None] | None":
        found = stage_state.cluster(step.aws, step.stage)
        moving = found is not None and found["status"] in ("CREATING", "DELETING", "PENDING", "UPDATING")
        return None if moving else (found,)

    if step.hands.dry_run:
        return stage_state.cluster(step.aws, step.stage)
    return step.hands.until(look, "the EKS cluster has settled", minutes=stacks.MINUTES)[0]


def trust_policy(step: Down) -> bool:
    """Take from the job's role the trust in a cluster that is gone."""
    role = stage_state.role(step.stage)
    document = stage_state.trust_policy(step.aws, step.stage) or {}
    cleaned = trust.without_strays(document, None, trust.subject(NAMESPACE, step.aws.account, role))
    if cleaned is None:
        return False
    step.hands.aws("iam", "update-assume-role-policy", "--role-name", role,
                   "--policy-document", json.dumps(cleaned, separators=(",", ":")))  # fmt: skip
    return True
