"""The last steps of ``cluster.sh up``: the namespace becomes EMR's, and its runs may be the job's role."""

import hashlib
import json
from typing import TYPE_CHECKING, Any

from scripts.cloud import manifests, request_check
from scripts.cloud.stage import NAMESPACE
from scripts.cluster import stage_state, trust
from scripts.cluster.up_steps import Up

if TYPE_CHECKING:
    from mypy_boto3_eks.type_defs import ClusterTypeDef
    from mypy_boto3_emr_containers.type_defs import VirtualClusterTypeDef


def virtual_cluster(up: Up) -> bool:
    """Register the namespace with EMR, unless it is."""
    hands, aws = up.hands, up.aws
    found = stage_state.cluster(aws, up.stage)
    known = stage_state.virtual_clusters(aws, up.stage)
    for one in known:
        if one["state"] == "RUNNING" and stage_state.is_of(one, found):
            return _adopt(up, one)
        if one["state"] in ("RUNNING", "ARRESTED"):
            print(f"  virtual cluster {one['id']} ({one['name']}) has lost its cluster: it makes room")
            hands.aws("emr-containers", "delete-virtual-cluster", "--id", one["id"])
    if not hands.dry_run:
        hands.until(lambda: _none_left(up), f"namespace {NAMESPACE} is free", minutes=15)
    request = _request(up, found, len(known))
    line = json.dumps(request, separators=(",", ":"))
    hands.aws("emr-containers", "create-virtual-cluster", "--cli-input-json", line)
    if not hands.dry_run:
        hands.until(lambda: _running(up, found), "the virtual cluster is RUNNING", minutes=5)
    return True


def trust_policy(up: Up) -> bool:
    """Let the pods of EMR's runs become the job's role, and nobody else."""
    hands, aws, stage = up.hands, up.aws, up.stage
    found = stage_state.cluster(aws, stage)
    role = stage_state.role(stage)
    wanted = trust.subject(NAMESPACE, aws.account, role)
    if found is not None:
        document = stage_state.trust_policy(aws, stage) or {}
        cleaned = trust.without_strays(document, stage_state.provider(aws, found), wanted)
        if cleaned is not None:
            print("  the role still trusts a cluster that is gone")
            hands.aws("iam", "update-assume-role-policy", "--role-name", role,
                      "--policy-document", json.dumps(cleaned, separators=(",", ":")))  # fmt: skip
        if stage_state.is_trusted(aws, stage, found):
            print(f"  role {role} lets in {wanted}")
            return cleaned is not None
    hands.aws("emr-containers", "update-role-trust-policy", "--cluster-name", stage.cluster,
              "--namespace", NAMESPACE, "--role-name", role)  # fmt: skip
    if not hands.dry_run and found is not None:
        hands.until(
            lambda: stage_state.is_trusted(aws, stage, found) or None,
            f"role {role} lets in {wanted}",
            minutes=2,
            every=5,
        )
    return True


def _adopt(up: Up, one: "VirtualClusterTypeDef") -> bool:
    """Use the virtual cluster that is there; people may start runs on it if it has the stage's tags."""
    print(f"  virtual cluster {one['id']} ({one['name']}) is {one['state']}")
    wanted = {"project": "fruits", "stage": up.stage.name}
    if wanted.items() <= one.get("tags", {}).items():
        return False
    tags = ",".join(f"{name}={value}" for name, value in wanted.items())
    up.hands.aws("emr-containers", "tag-resource", "--resource-arn", one["arn"], "--tags", tags)
    return True


def _none_left(up: Up) -> bool | None:
    known = stage_state.virtual_clusters(up.aws, up.stage)
    return None if any(one["state"] in stage_state.THERE for one in known) else True


def _running(up: Up, found: "ClusterTypeDef | None") -> bool | None:
    known = stage_state.virtual_clusters(up.aws, up.stage)
    mine = [one for one in known if one["state"] == "RUNNING" and stage_state.is_of(one, found)]
    return True if mine else None


def _request(up: Up, found: "ClusterTypeDef | None", former: int) -> dict[str, Any]:
    """Fill in what EMR is asked for, with a token that a second try of the same creation shares."""
    # In a dry run there may be no cluster yet, and so no token.
    one = f"{found['arn']} {found['createdAt'].isoformat()} {NAMESPACE} {former}" if found is not None else ""
    token = hashlib.sha256(one.encode()).hexdigest() if one else "<ClientToken>"
    names = {"Cluster": up.stage.cluster, "VirtualCluster": up.stage.cluster, "Namespace": NAMESPACE}
    values = {**names, "Stage": up.stage.name, "AccountId": up.aws.account, "ClientToken": token}
    request: dict[str, Any] = manifests.fill(manifests.load("emr/virtual-cluster.yaml"), values)
    request_check.check("emr-containers", "CreateVirtualCluster", request)
    return request
