"""``cluster.sh status``: shows what exists of a stage, its runs and its cost by the hour."""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC
from typing import Any, Final

from scripts.cloud import prices
from scripts.cloud.stage import NAMESPACE, find_stack
from scripts.cluster import stack_templates, stage_state
from scripts.cluster.cluster_tools import Tools, failure_reason
from scripts.cluster.stage_state import AwsClients

UNITS: Final = {"": 1.0, "m": 1e-3, "k": 1e3, "Ki": 2.0**10, "M": 1e6, "Mi": 2.0**20, "G": 1e9, "Gi": 2.0**30,
                "T": 1e12, "Ti": 2.0**40}  # fmt: skip
QUANTITY: Final = re.compile(r"([0-9.]+)([A-Za-z]*)")


@dataclass
class Node:
    """A node of the cluster."""

    name: str
    type: str
    capacity: str
    zone: str
    usd_per_hour: float


@dataclass
class Report:
    """What exists of a stage; a field is one of ``--json``'s."""

    stage: str
    region: str
    account: str
    stacks: dict[str, str | None] = field(default_factory=dict)
    cluster: dict[str, str] | None = None
    namespace: str | None = None
    virtual_clusters: list[dict[str, str]] = field(default_factory=list)
    trusted: bool = False
    runs: list[dict[str, str]] = field(default_factory=list)
    nodes: list[Node] | None = None
    unknown: str = ""
    usd_per_hour: dict[str, float] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing of the stage exists."""
        return not any(self.stacks.values()) and self.cluster is None and not self.virtual_clusters


def status(tools: Tools, aws: AwsClients, *, as_json: bool) -> int:
    """Print a stage's report and return the exit code: 0, also if nothing exists."""
    report = stage_report(tools, aws)
    print(json.dumps(asdict(report), indent=2) if as_json else "\n".join(_lines(report)))
    return 0


def stage_report(tools: Tools, aws: AwsClients) -> Report:
    """Read what exists of a stage."""
    stage = tools.stage
    report = Report(stage.name, tools.region, aws.account)
    names = (stage.account_stack, stage.network_stack, f"eksctl-{stage.cluster}-cluster")
    stacks = {name: find_stack(aws.cloudformation, name) for name in names}
    report.stacks = {name: stack.status if stack is not None else None for name, stack in stacks.items()}
    network = stacks[stage.network_stack]
    counts = stack_templates.billed_resources(network.parameters if network is not None else {})
    costs = prices.idle_costs(*counts)
    eks = stage_state.cluster(aws, stage)
    for part, resource in (("account", stacks[names[0]]), ("network", network), ("cluster", eks)):
        if resource is not None:
            report.usd_per_hour[part] = costs[part]
    for virtual in stage_state.virtual_clusters(aws, stage):
        if virtual["state"] in stage_state.PRESENT_STATES:
            summary = {"id": virtual["id"], "name": virtual["name"], "state": virtual["state"]}
            report.virtual_clusters.append(summary)
            for run in stage_state.runs(aws, virtual["id"]):
                since = f"{run['createdAt'].astimezone(UTC):%Y-%m-%d %H:%M} UTC"
                name = run.get("name", "")
                report.runs.append({"id": run["id"], "name": name, "state": run["state"], "since": since})
    if eks is not None:
        report.cluster = {"name": stage.cluster, "status": eks["status"], "version": eks["version"]}
        report.trusted = stage_state.is_trusted(aws, stage, eks)
        if eks["status"] in ("ACTIVE", "UPDATING"):
            _add_cluster_contents(tools, report)
    return report


def _add_cluster_contents(tools: Tools, report: Report) -> None:
    """Add nodes, namespace and their costs to a report, if kubectl reaches the cluster."""
    if shutil.which("kubectl") is None or not tools.kubeconfig.exists():
        report.unknown = "kubectl or its configuration is not here, which up writes"
        return
    result = tools.query("get", "nodes", "-o", "json")
    if result.code:
        report.unknown = f"kubectl does not reach the cluster ({failure_reason(result)})"
        return
    report.nodes = [_node(item) for item in json.loads(result.text)["items"]]
    result = tools.query("get", "namespace", NAMESPACE, "--ignore-not-found", "-o", "json")
    if result.code == 0 and result.text.strip():
        report.namespace = json.loads(result.text)["status"]["phase"]
    report.usd_per_hour["nodes"] = sum(node.usd_per_hour for node in report.nodes)
    result = tools.query("get", "pods", "-n", NAMESPACE, "-o", "json")
    if result.code == 0:
        requests = [_requests(pod) for pod in json.loads(result.text)["items"]]
        vcpus, gigabytes = sum(cpu for cpu, _ in requests), sum(memory for _, memory in requests)
        report.usd_per_hour["EMR"] = prices.emr_price(vcpus, gigabytes)


def _node(node: Mapping[str, Any]) -> Node:
    labels, capacity = node["metadata"].get("labels", {}), node["status"].get("capacity", {})
    capacity_type = labels.get("karpenter.sh/capacity-type", "on-demand")
    price = prices.node_price(
        parse_quantity(capacity.get("cpu", "0")),
        parse_quantity(capacity.get("memory", "0")) / 2**30,
        spot=capacity_type == "spot",
    )
    instance_type = labels.get("node.kubernetes.io/instance-type", "of unknown type")
    return Node(
        node["metadata"]["name"],
        instance_type,
        capacity_type,
        labels.get("topology.kubernetes.io/zone", ""),
        price,
    )


def _requests(pod: Mapping[str, Any]) -> tuple[float, float]:
    """Return the vCPUs and GiB that a running pod requests with its sidecars, which is what EMR bills."""
    if pod.get("status", {}).get("phase") != "Running":
        return 0.0, 0.0
    sidecars = (
        container
        for container in pod["spec"].get("initContainers", [])
        if container.get("restartPolicy") == "Always"
    )
    containers = [*pod["spec"]["containers"], *sidecars]
    requests = [container.get("resources", {}).get("requests", {}) for container in containers]
    memory = sum(parse_quantity(request.get("memory", "0")) for request in requests) / 2**30
    return sum(parse_quantity(request.get("cpu", "0")) for request in requests), memory


def parse_quantity(quantity: str) -> float:
    """Return the number that a Kubernetes quantity stands for: ``500m``, ``4``, ``6Gi``; 0 if it is none."""
    match = QUANTITY.fullmatch(quantity)
    return float(match[1]) * UNITS.get(match[2], 0.0) if match else 0.0


def _lines(report: Report) -> list[str]:
    """Return a report as lines of text."""
    head = f"stage {report.stage}, region {report.region}, account {report.account}"
    if report.is_empty:
        return [head, f"nothing: ./scripts/cluster.sh up --stage {report.stage} makes it"]
    eks = report.cluster
    rows = [("stack", f"{name}: {state or 'none'}") for name, state in report.stacks.items()]
    rows.append(
        ("cluster", f"{eks['name']}: {eks['status']}, Kubernetes {eks['version']}" if eks else "none")
    )
    rows.append(
        ("namespace", report.namespace or (f"unknown: {report.unknown}" if report.unknown else "none"))
    )
    for virtual in report.virtual_clusters:
        rows += [("virtual cluster", f"{virtual['id']} ({virtual['name']}): {virtual['state']}")]
    rows.append(("trust", "the runs may become the job's role" if report.trusted else "none"))
    for run in report.runs:
        rows += [("run", f"{run['id']} ({run['name']}): {run['state']} since {run['since']}")]
    for node in report.nodes or []:
        price = prices.usd_text(node.usd_per_hour)
        rows.append(("node", f"{node.name}: {node.type}, {node.capacity}, {node.zone}, {price} an hour"))
    named = {name for name, _ in rows}
    rows += [(name, "none") for name in ("virtual cluster", "run", "node") if name not in named]
    parts = ", ".join(f"{part} {usd:.3f}" for part, usd in report.usd_per_hour.items())
    total = prices.usd_text(sum(report.usd_per_hour.values()))
    rows.append(("costs", f"{total} an hour ({parts}), and data; {prices.sources()}"))
    return [head, *(f"{name:<16}{what}" for name, what in rows)]
