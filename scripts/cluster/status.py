"""``cluster.sh status``: what there is of a stage, what runs, and what that costs by the hour."""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC
from typing import Any, Final

from scripts.cloud import prices
from scripts.cloud.stage import NAMESPACE
from scripts.cluster import stack_templates, stage_state
from scripts.cluster.cluster_tools import Hands, reason
from scripts.cluster.stage_state import Aws

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
    """A stage as it is."""

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
        """Tell whether there is nothing at all."""
        return not any(self.stacks.values()) and self.cluster is None and not self.virtual_clusters


def status(hands: Hands, aws: Aws, *, as_json: bool) -> int:
    """Show a stage and return the exit code, which is 0 for one that is not there too."""
    report = look(hands, aws)
    print(json.dumps(asdict(report), indent=2) if as_json else "\n".join(_lines(report)))
    return 0


def look(hands: Hands, aws: Aws) -> Report:
    """Read what there is; nothing is changed."""
    stage = hands.stage
    report = Report(stage.name, hands.region, aws.account)
    names = (stage.account_stack, stage.network_stack, f"eksctl-{stage.cluster}-cluster")
    found = {name: stage_state.stack(aws, name) for name in names}
    report.stacks = {name: one.status if one is not None else None for name, one in found.items()}
    network = found[stage.network_stack]
    each = prices.at_rest(*stack_templates.hourly(network.parameters if network is not None else {}))
    eks = stage_state.cluster(aws, stage)
    for part, there in (("account", found[names[0]]), ("network", network), ("cluster", eks)):
        if there is not None:
            report.usd_per_hour[part] = each[part]
    for one in stage_state.virtual_clusters(aws, stage):
        if one["state"] in stage_state.THERE:
            about = {"id": one["id"], "name": one["name"], "state": one["state"]}
            report.virtual_clusters.append(about)
            for run in stage_state.runs(aws, one["id"]):
                since = f"{run['createdAt'].astimezone(UTC):%Y-%m-%d %H:%M} UTC"
                name = run.get("name", "")
                report.runs.append({"id": run["id"], "name": name, "state": run["state"], "since": since})
    if eks is not None:
        report.cluster = {"name": stage.cluster, "status": eks["status"], "version": eks["version"]}
        report.trusted = stage_state.is_trusted(aws, stage, eks)
        if eks["status"] in ("ACTIVE", "UPDATING"):
            _inside(hands, report)
    return report


def _inside(hands: Hands, report: Report) -> None:
    """Look into the cluster, if kubectl can."""
    if shutil.which("kubectl") is None or not hands.kubeconfig.exists():
        report.unknown = "kubectl or its configuration is not here, which up writes"
        return
    done = hands.look("get", "nodes", "-o", "json")
    if done.code:
        report.unknown = f"kubectl does not reach the cluster ({reason(done)})"
        return
    report.nodes = [_node(one) for one in json.loads(done.text)["items"]]
    done = hands.look("get", "namespace", NAMESPACE, "--ignore-not-found", "-o", "json")
    if done.code == 0 and done.text.strip():
        report.namespace = json.loads(done.text)["status"]["phase"]
    report.usd_per_hour["nodes"] = sum(node.usd_per_hour for node in report.nodes)
    done = hands.look("get", "pods", "-n", NAMESPACE, "-o", "json")
    if done.code == 0:
        asked = [_asked(one) for one in json.loads(done.text)["items"]]
        vcpus, gigabytes = sum(one[0] for one in asked), sum(one[1] for one in asked)
        report.usd_per_hour["EMR"] = prices.emr(vcpus, gigabytes)


def _node(one: Mapping[str, Any]) -> Node:
    labels, capacity = one["metadata"].get("labels", {}), one["status"].get("capacity", {})
    kind = labels.get("karpenter.sh/capacity-type", "on-demand")
    usd = prices.node(
        amount(capacity.get("cpu", "0")), amount(capacity.get("memory", "0")) / 2**30, spot=kind == "spot"
    )
    machine = labels.get("node.kubernetes.io/instance-type", "of unknown type")
    return Node(one["metadata"]["name"], machine, kind, labels.get("topology.kubernetes.io/zone", ""), usd)


def _asked(pod: Mapping[str, Any]) -> tuple[float, float]:
    """Return the cores and gigabytes that a running pod has asked for, by which EMR counts."""
    if pod.get("status", {}).get("phase") != "Running":
        return 0.0, 0.0
    asked = [one.get("resources", {}).get("requests", {}) for one in pod["spec"]["containers"]]
    memory = sum(amount(one.get("memory", "0")) for one in asked) / 2**30
    return sum(amount(one.get("cpu", "0")) for one in asked), memory


def amount(quantity: str) -> float:
    """Read a quantity as Kubernetes writes it: ``500m``, ``4``, ``6Gi``."""
    found = QUANTITY.fullmatch(quantity)
    return float(found[1]) * UNITS.get(found[2], 0.0) if found else 0.0


def _lines(report: Report) -> list[str]:
    """Write a report for people."""
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
    for one in report.virtual_clusters:
        rows += [("virtual cluster", f"{one['id']} ({one['name']}): {one['state']}")]
    rows.append(("trust", "the runs may become the job's role" if report.trusted else "none"))
    for one in report.runs:
        rows += [("run", f"{one['id']} ({one['name']}): {one['state']} since {one['since']}")]
    for node in report.nodes or []:
        price = prices.money(node.usd_per_hour)
        rows.append(("node", f"{node.name}: {node.type}, {node.capacity}, {node.zone}, {price} an hour"))
    named = {name for name, _ in rows}
    rows += [(name, "none") for name in ("virtual cluster", "run", "node") if name not in named]
    parts = ", ".join(f"{part} {usd:.3f}" for part, usd in report.usd_per_hour.items())
    total = prices.money(sum(report.usd_per_hour.values()))
    rows.append(("costs", f"{total} an hour ({parts}), and data; {prices.sources()}"))
    return [head, *(f"{name:<16}{what}" for name, what in rows)]
