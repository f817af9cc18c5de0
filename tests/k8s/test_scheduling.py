"""Kubernetes's own scheduler puts EMR's pods on nodes of the pools that are meant for them, and they fit."""

import json

import pytest

from scripts.cloud.sizes import SIZES
from tests.support.emr_pods import RUN, Pod, driver, executor, job_runner
from tests.support.kubernetes import Api, on
from tests.support.node_pools import ON_DEMAND, SPOT, ZONE, cpu_counts, pool_node, pools
from tests.support.schemas import STAGES, rendered

RUNNER = job_runner({"requests": {"cpu": "1", "memory": "1Gi"}})
SILENT: Pod = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "silent"},
    "spec": {"containers": [{"name": "silent", "image": "image"}]},
}
# The memory of a vCPU in GiB, of the families with the least (c) and with the most (r).
LEAST, MOST = 2, 8


@pytest.mark.parametrize("stage", STAGES)
def test_each_pod_has_its_pools_and_no_others(kubernetes: Api, stage: str) -> None:
    kubernetes.create_nodes(*(pool_node(name, pool, 16, MOST) for name, pool in pools(stage).items()))
    namespace = kubernetes.namespace(rendered(stage))
    assert namespace.nodes_of(driver("small")) == ["drivers"], "executors follow their driver"
    asked: list[Pod] = []
    expected: list[str | None] = []
    for pod, its_pools in (
        (driver("medium"), {"drivers"}),
        (RUNNER, {"drivers"}),
        (executor(), {SPOT, ON_DEMAND}),
        (SILENT, {"drivers"}),
    ):
        for pool in pools(stage):
            asked.append(on(pool, pod))
            expected.append(pool if pool in its_pools else None)
    assert namespace.nodes_of(*asked) == expected


def of_run(name: str, pod: Pod) -> Pod:
    """Return a pod as a pod of another run."""
    copy: Pod = json.loads(json.dumps(pod).replace(RUN, name))
    return copy


def test_an_executor_stands_in_the_zone_of_its_own_driver(kubernetes: Api) -> None:
    by_name = pools("prod")
    for name in ("drivers", SPOT):
        for zone in "ab":
            kubernetes.create_nodes(pool_node(f"{name}-{zone}", by_name[name], 16, MOST, **{ZONE: zone}))
    namespace = kubernetes.namespace(rendered("prod"))
    drivers = (on("drivers-a", driver("small")), on("drivers-b", of_run("another", driver("small"))))
    assert namespace.nodes_of(*drivers) == ["drivers-a", "drivers-b"]
    own, others = executor(), of_run("another", executor())
    nodes = namespace.nodes_of(*(on(f"{SPOT}-{zone}", pod) for pod in (own, others) for zone in "ab"))
    assert nodes == [f"{SPOT}-a", None, None, f"{SPOT}-b"]
    assert namespace.nodes_of(of_run("alone", executor())) == [None]


@pytest.mark.parametrize("vcpus", cpu_counts("prod", SPOT))
def test_a_node_has_room_for_an_executor_on_each_4_of_its_vcpus(kubernetes: Api, vcpus: int) -> None:
    by_name = pools("prod")
    kubernetes.create_nodes(
        pool_node("drivers", by_name["drivers"], 4, MOST), pool_node("executors", by_name[SPOT], vcpus, LEAST)
    )
    namespace = kubernetes.namespace(rendered("prod"))
    assert namespace.nodes_of(driver("small")) == ["drivers"]
    nodes = namespace.nodes_of(*(executor() for _ in range(vcpus // 4 + 1)))
    assert nodes.count("executors") == vcpus // 4 and nodes.count(None) == 1


@pytest.mark.parametrize("size", SIZES)
def test_a_driver_and_its_job_runner_have_a_node_in_the_drivers_pool(kubernetes: Api, size: str) -> None:
    vcpus = 8 if size in ("large", "xlarge") else 4
    assert vcpus in cpu_counts("prod", "drivers")
    kubernetes.create_nodes(pool_node("drivers", pools("prod")["drivers"], vcpus, MOST))
    namespace = kubernetes.namespace(rendered("prod"))
    assert namespace.nodes_of(driver(size), RUNNER) == ["drivers"] * 2
