"""EMR's pods are admitted to the namespace up to its quotas, and fit on nodes."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from scripts.cloud.sizes import SIZES
from tests.support.admission import defaulted, quantity, refusals, requests
from tests.support.emr_pods import Pod, driver, executor, job_runner
from tests.support.schemas import STAGES, of_kind, rendered

GIB = Decimal(2**30)
# The job-runner's requests are not published; these are the possibilities.
RUNNERS = [
    job_runner(),
    job_runner({"requests": {"cpu": "1", "memory": "1Gi"}}),
    job_runner({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "1Gi"}}),
]


def run(size: str) -> list[Pod]:
    """Return all pods of a run with its full number of executors."""
    chosen = SIZES[size]
    executors = (executor(logs=chosen.logs_executors) for _ in range(chosen.executors))
    return [RUNNERS[1], driver(size), *executors]


def limits(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = of_kind(objects, "LimitRange")["containers"]["spec"]["limits"]
    return items


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("runner", RUNNERS, ids=["nothing said", "requests", "limits"])
def test_each_pod_of_emr_is_admitted(stage: str, runner: Pod) -> None:
    assert refusals([runner, driver("small"), executor()], rendered(stage)) == []


@pytest.mark.parametrize(
    ("stage", "sizes"),
    [("dev", ["medium", "medium", "small", "small"]), ("prod", ["xlarge", "large", "medium"])],
)
def test_the_runs_that_a_stage_is_for_have_room_at_once(stage: str, sizes: list[str]) -> None:
    assert refusals([pod for size in sizes for pod in run(size)], rendered(stage)) == []


def test_a_stage_bounds_what_all_runs_take_together() -> None:
    reasons = refusals([*run("medium"), *run("medium"), *run("medium")], rendered("dev"))
    assert len(reasons) == 6, "24 of 30 executors, and all drivers"
    assert all(reason.startswith("spark-executor: quota executors has no ") for reason in reasons)
    assert refusals(run("large"), rendered("dev")), "dev is for trials"


def no_memory_limit(objects: list[dict[str, Any]]) -> None:
    del limits(objects)[0]["default"]


def one_quota(objects: list[dict[str, Any]]) -> None:
    for quota in of_kind(objects, "ResourceQuota").values():
        quota["spec"]["hard"]["pods"] = "2"
        del quota["spec"]["scopeSelector"]


@pytest.mark.parametrize("break_it", [no_memory_limit, one_quota])
def test_traps_that_others_fell_into_are_seen(break_it: Callable[[list[dict[str, Any]]], None]) -> None:
    objects = rendered("dev")
    break_it(objects)
    assert refusals([RUNNERS[0], driver("small"), executor()], objects)


@pytest.mark.parametrize("stage", STAGES)
def test_no_pod_gets_a_limit_of_cpu(stage: str) -> None:
    items = limits(rendered(stage))
    for pod in (RUNNERS[0], driver("small"), executor()):
        assert not any(
            "cpu" in container["resources"]["limits"]
            for container in defaulted(pod, items)["spec"]["containers"]
        )
    items[0]["max"] = {"cpu": "16"}
    throttled = defaulted(executor(), items)["spec"]["containers"]
    assert all("cpu" in container["resources"]["limits"] for container in throttled), "a maximum would be one"


@pytest.mark.parametrize("stage", STAGES)
def test_a_container_that_says_nothing_asks_for_little(stage: str) -> None:
    pod = defaulted(RUNNERS[0], limits(rendered(stage)))
    assert requests(pod, "memory") == (256 + 200) * GIB / 1024, "256 MiB, and what its sidecar requests"
    assert requests(pod, "cpu") == Decimal("0.2")


@pytest.mark.parametrize("stage", STAGES)
def test_pod_security_enforces_what_emr_keeps_and_warns_of_more(stage: str) -> None:
    labels = of_kind(rendered(stage), "Namespace")["fruits"]["metadata"]["labels"]
    levels = {key.partition("/")[2]: value for key, value in labels.items() if "pod-security" in key}
    assert (levels.pop("enforce"), levels.pop("warn"), levels.pop("audit")) == (
        "baseline",
        *["restricted"] * 2,
    )
    assert set(levels.values()) == {"v1.35"}, "a new version of Kubernetes changes no rule by itself"


def room(cpu: int, gib: int) -> tuple[Decimal, Decimal]:
    """Return an EC2 node's CPU and memory for pods.

    EKS keeps back 6 % of the first core, 1 % of the second, 0.5 % of two more and 0.25 % of the rest, and
    255 MiB, 11 MiB for each of up to 110 pods and 100 MiB before it evicts; Karpenter reckons with 7.5 % less
    memory than EC2 says.
    """
    kept = Decimal("0.06") + Decimal("0.01") + 2 * Decimal("0.005") + (cpu - 4) * Decimal("0.0025")
    memory = gib * GIB * Decimal("0.925") - (255 + 11 * 110 + 100) * GIB / 1024
    return cpu - kept, memory


def sizes(pool: str) -> list[int]:
    """Return the numbers of vCPU that a pool's nodes may have, ascending."""
    (cpu_counts,) = [
        requirement["values"]
        for requirement in of_kind(rendered("prod"), "NodePool")[pool]["spec"]["template"]["spec"][
            "requirements"
        ]
        if requirement["key"] == "eks.amazonaws.com/instance-cpu"
    ]
    return sorted(map(int, cpu_counts))


@pytest.mark.parametrize("vcpus", sizes("executors-spot"))
def test_a_node_has_room_for_an_executor_on_each_4_of_its_vcpus(vcpus: int) -> None:
    cpu, memory = room(vcpus, 2 * vcpus)  # family c has the least memory, 2 GiB a vCPU
    pod = defaulted(executor(), limits(rendered("dev")))
    assert vcpus // 4 * requests(pod, "cpu") <= cpu < (vcpus // 4 + 1) * requests(pod, "cpu")
    assert vcpus // 4 * requests(pod, "memory") <= memory


def test_a_new_accounts_quota_holds_the_smallest_nodes() -> None:
    assert sizes("executors-spot")[0] <= 5 and sizes("drivers")[0] <= 5


@pytest.mark.parametrize("size", SIZES)
def test_a_driver_and_its_job_runner_have_a_node_in_the_drivers_pool(size: str) -> None:
    *_, largest = sizes("drivers")
    cpu, memory = room(largest, 8 * largest)  # family r has the most, 8 GiB a vCPU
    pods = [defaulted(pod, limits(rendered("prod"))) for pod in (driver(size), RUNNERS[1])]
    assert sum(requests(pod, "cpu") for pod in pods) <= cpu
    assert sum(requests(pod, "memory") for pod in pods) <= memory


@pytest.mark.parametrize("stage", STAGES)
def test_the_pools_can_hold_what_the_quotas_admit(stage: str) -> None:
    objects = rendered(stage)
    pools, quotas = of_kind(objects, "NodePool"), of_kind(objects, "ResourceQuota")
    executors = quantity(quotas["executors"]["spec"]["hard"]["pods"])
    assert quantity(pools["executors-spot"]["spec"]["limits"]["cpu"]) == executors / 2 * 8
    drivers = quantity(quotas["drivers"]["spec"]["hard"]["requests.cpu"])
    assert quantity(pools["drivers"]["spec"]["limits"]["cpu"]) >= 2 * drivers
    fallback = quantity(pools["executors-on-demand"]["spec"]["limits"]["cpu"])
    assert 0 < fallback < quantity(pools["executors-spot"]["spec"]["limits"]["cpu"])
