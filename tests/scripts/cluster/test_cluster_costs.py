"""A stage's costs: the sums, and status's costs of what runs."""

import json
from typing import Any

import pytest

from job.errors import UsageError
from scripts.cloud import prices
from scripts.cluster import stack_templates
from scripts.cluster.status import parse_quantity
from tests.support.recorders.desk import Desk


def node(name: str, cpu: str, memory: str, capacity: str) -> dict[str, Any]:
    labels = {
        "node.kubernetes.io/instance-type": "m7i.2xlarge",
        "karpenter.sh/capacity-type": capacity,
        "topology.kubernetes.io/zone": "eu-west-1b",
    }
    return {
        "metadata": {"name": name, "labels": labels},
        "status": {"capacity": {"cpu": cpu, "memory": memory}},
    }


def pod(phase: str, *requests: tuple[str, str]) -> dict[str, Any]:
    main, *others = [{"resources": {"requests": {"cpu": cpu, "memory": memory}}} for cpu, memory in requests]
    sidecars = [{**container, "restartPolicy": "Always"} for container in others]
    return {"status": {"phase": phase}, "spec": {"containers": [main], "initContainers": sidecars}}


def test_a_node_costs_by_its_memory_and_less_on_spot() -> None:
    assert prices.node_price(4, 8, spot=False) == pytest.approx(
        0.19152 * 1.12
    )  # c7i.xlarge and Auto Mode's share
    assert prices.node_price(4, 16, spot=False) == pytest.approx(0.214 * 1.12)  # m5.xlarge
    assert prices.node_price(4, 32, spot=False) == pytest.approx(0.282 * 1.12)  # r6i.xlarge
    assert prices.node_price(4, 16, spot=True) == pytest.approx(0.214 * 0.67)
    assert prices.node_price(0, 0, spot=False) == 0


def test_emr_asks_for_cores_and_memory() -> None:
    # AWS's own example: 100 vCPU and 800 GB for half an hour make 0.506 and 0.4445.
    assert prices.emr_price(100, 800) / 2 == pytest.approx(0.506 + 0.4445)


def test_the_network_is_counted_in_its_template() -> None:
    assert stack_templates.billed_resources({}) == (12, 0)  # six services in two zones
    assert stack_templates.billed_resources({"Nat": "yes"}) == (12, 1)
    parts = prices.idle_costs(12, 1)
    assert parts["network"] == pytest.approx(12 * 0.011 + 0.048) and parts["cluster"] == 0.10


def test_every_price_says_where_it_is_from() -> None:
    all_prices = [value for value in vars(prices).values() if isinstance(value, prices.Price)]
    assert len(all_prices) >= 10
    for price in all_prices:
        assert price.usd > 0 and price.source and price.unit


@pytest.mark.parametrize(
    ("written", "read"),
    [("4", 4), ("500m", 0.5), ("6Gi", 6 * 2**30), ("1408Mi", 1408 * 2**20), ("2G", 2e9), ("", 0), ("x", 0)],
)
def test_quantities_are_read_as_kubernetes_writes_them(written: str, read: float) -> None:
    assert parse_quantity(written) == read


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("Nat", "give Name=Value, where Name is AlarmEmail, AuditDays, BudgetUsd,"),
        ("Nothing=1", "give Name=Value"),
        ("Stage=prod", "give Name=Value"),
        ("Nat=perhaps", "Nat is one of no, yes"),
        ("LogDays=8", "LogDays is one of 7, 14"),
        ("AlarmEmail=x", "AlarmEmail does not match .*E-mail address"),
        ("BudgetUsd=abc", "BudgetUsd is a number"),
        ("BudgetUsd=nan", "BudgetUsd is a number"),
        ("BudgetUsd=-5", "BudgetUsd is at least 0"),
        ("PhotoDays=-1", "PhotoDays is at least 0"),
        ("PhotoDays=4000", "PhotoDays is at most 3650"),
    ],
)
def test_a_parameter_that_no_template_takes_is_refused(assignment: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        stack_templates.parameters([assignment])


def test_a_parameter_goes_to_the_template_that_takes_it() -> None:
    parameters = stack_templates.parameters(["Nat=yes", "PhotoDays=30"])
    assert parameters == {"account.yaml": {"PhotoDays": "30"}, "network.yaml": {"Nat": "yes"}}


@pytest.mark.usefixtures("standing")
def test_status_adds_up_what_runs(desk: Desk) -> None:
    desk.start("apples")
    desk.memory.put("nodes", [node("i-1", "8", "32Gi", "on-demand"), node("i-2", "8", "32Gi", "spot")])
    running = pod("Running", ("4", "6Gi"), ("100m", "256Mi"))
    desk.memory.put("pods", [running, running, pod("Pending", ("4", "6Gi"))])
    report = json.loads(desk("status", "--json").out)
    assert report["runs"][0]["name"] == "apples" and report["namespace"] == "Active"
    assert [node_report["capacity"] for node_report in report["nodes"]] == ["on-demand", "spot"]
    costs = report["usd_per_hour"]
    assert costs["nodes"] == pytest.approx(8 * 0.0535 * (1.12 + 0.67))
    assert costs["EMR"] == pytest.approx(2 * (4.1 * 0.01012 + 6.25 * 0.00111125))
    lines = desk("status").out.splitlines()
    assert "node            i-2: m7i.2xlarge, spot, eu-west-1b, 0.287 USD an hour" in lines
    desk.memory.put("unreachable", 1)
    unknown = "namespace       unknown: kubectl does not reach the cluster (Unable to connect to the server"
    assert unknown in desk("status").out
