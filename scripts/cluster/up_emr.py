"""The last steps of ``cluster.sh up``: register the namespace with EMR and let runs assume the job's role."""

import hashlib
import json
from typing import TYPE_CHECKING, Any

from scripts.cloud import manifests, request_check
from scripts.cloud.stage import NAMESPACE
from scripts.cluster import stage_state, trust
from scripts.cluster.up_steps import Creation

if TYPE_CHECKING:
    from mypy_boto3_eks.type_defs import ClusterTypeDef
    from mypy_boto3_emr_containers.type_defs import VirtualClusterTypeDef


def virtual_cluster(creation: Creation) -> bool:
    """Register the namespace with EMR as a virtual cluster, unless it is."""
    tools, aws = creation.tools, creation.aws
    eks = stage_state.cluster(aws, creation.stage)
    existing = stage_state.virtual_clusters(aws, creation.stage)
    for virtual in existing:
        if virtual["state"] == "RUNNING" and stage_state.belongs_to(virtual, eks):
            return _adopt(creation, virtual)
        if virtual["state"] in ("RUNNING", "ARRESTED"):
            name = f"{virtual['id']} ({virtual['name']})"
            print(f"  virtual cluster {name} belongs to a deleted cluster and is deleted")
            tools.aws("emr-containers", "delete-virtual-cluster", "--id", virtual["id"])
    if not tools.dry_run:
        tools.wait_until(lambda: _is_namespace_free(creation), f"namespace {NAMESPACE} is free", minutes=15)
    request = _request(creation, eks, len(existing))
    line = json.dumps(request, separators=(",", ":"))
    tools.aws("emr-containers", "create-virtual-cluster", "--cli-input-json", line)
    if not tools.dry_run:
        tools.wait_until(lambda: _is_running(creation, eks), "the virtual cluster is RUNNING", minutes=5)
    return True


def trust_policy(creation: Creation) -> bool:
    """Let the pods of EMR's runs, and nobody else, assume the job's role."""
    tools, aws, stage = creation.tools, creation.aws, creation.stage
    eks = stage_state.cluster(aws, stage)
    role = stage_state.job_role(stage)
    subject = trust.subject(NAMESPACE, aws.account, role)
    if eks is not None:
        document = stage_state.trust_policy(aws, stage) or {}
        without_stale = trust.without_stale_statements(
            document, stage_state.identity_provider(aws, eks), subject
        )
        if without_stale is not None:
            print("  the role still trusts a cluster that is gone")
            tools.aws("iam", "update-assume-role-policy", "--role-name", role,
                      "--policy-document", json.dumps(without_stale, separators=(",", ":")))  # fmt: skip
        if stage_state.is_trusted(aws, stage, eks):
            print(f"  role {role} lets in {subject}")
            return without_stale is not None
    tools.aws("emr-containers", "update-role-trust-policy", "--cluster-name", stage.cluster,
              "--namespace", NAMESPACE, "--role-name", role)  # fmt: skip
    if not tools.dry_run and eks is not None:
        tools.wait_until(
            lambda: stage_state.is_trusted(aws, stage, eks) or None,
            f"role {role} lets in {subject}",
            minutes=2,
            interval=5,
        )
    return True


def _adopt(creation: Creation, virtual: "VirtualClusterTypeDef") -> bool:
    """Use the existing virtual cluster, with the stage's tags, on which the right to start runs depends."""
    print(f"  virtual cluster {virtual['id']} ({virtual['name']}) is {virtual['state']}")
    required_tags = {"project": "fruits", "stage": creation.stage.name}
    if required_tags.items() <= virtual.get("tags", {}).items():
        return False
    tags = ",".join(f"{name}={value}" for name, value in required_tags.items())
    creation.tools.aws("emr-containers", "tag-resource", "--resource-arn", virtual["arn"], "--tags", tags)
    return True


def _is_namespace_free(creation: Creation) -> bool | None:
    virtual_clusters = stage_state.virtual_clusters(creation.aws, creation.stage)
    is_taken = any(virtual["state"] in stage_state.PRESENT_STATES for virtual in virtual_clusters)
    return None if is_taken else True


def _is_running(creation: Creation, eks: "ClusterTypeDef | None") -> bool | None:
    virtual_clusters = stage_state.virtual_clusters(creation.aws, creation.stage)
    running = (virtual for virtual in virtual_clusters if virtual["state"] == "RUNNING")
    return True if any(stage_state.belongs_to(virtual, eks) for virtual in running) else None


def _request(creation: Creation, eks: "ClusterTypeDef | None", former: int) -> dict[str, Any]:
    """Return the CreateVirtualCluster request; a retry has the same client token, so EMR creates only one."""
    # In a dry run there may be no cluster yet, and so no token.
    identity = f"{eks['arn']} {eks['createdAt'].isoformat()} {NAMESPACE} {former}" if eks is not None else ""
    token = hashlib.sha256(identity.encode()).hexdigest() if identity else "<ClientToken>"
    stage = creation.stage
    names = {"Cluster": stage.cluster, "VirtualCluster": stage.cluster, "Namespace": NAMESPACE}
    values = {**names, "Stage": stage.name, "AccountId": creation.aws.account, "ClientToken": token}
    request: dict[str, Any] = manifests.fill(manifests.load("emr/virtual-cluster.yaml"), values)
    request_check.check("emr-containers", "CreateVirtualCluster", request)
    return request
