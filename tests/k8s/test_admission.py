"""A real API server admits EMR's pods to the namespace, up to its quotas, and refuses others."""

from collections.abc import Callable
from typing import Any, Final

import pytest

from scripts.cloud import manifests
from scripts.cloud.sizes import SIZES
from scripts.cluster import smoke_test
from tests.support.emr_pods import Pod, driver, executor, job_runner
from tests.support.kubernetes import Api
from tests.support.schemas import STAGES, of_kind, rendered

Objects = list[dict[str, Any]]
# The job-runner's requests are not published; these are the possibilities.
RUNNERS: Final = [
    job_runner(),
    job_runner({"requests": {"cpu": "1", "memory": "1Gi"}}),
    job_runner({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "1Gi"}}),
]
# The sizes of the runs that a stage is for, at once.
AT_ONCE: Final = {"dev": ["medium", "medium", "small", "small"], "prod": ["xlarge", "large", "medium"]}


def run(size: str) -> list[Pod]:
    """Return all pods of a run with its full number of executors."""
    chosen = SIZES[size]
    executors = (executor(logs=chosen.logs_executors) for _ in range(chosen.executors))
    return [RUNNERS[1], driver(size), *executors]


def limits(objects: Objects) -> Objects:
    items: Objects = of_kind(objects, "LimitRange")["containers"]["spec"]["limits"]
    return items


def containers(pod: Pod) -> list[dict[str, Any]]:
    return [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]


@pytest.mark.parametrize(("stage", "sizes"), [("dev", ["small", "medium"]), ("prod", list(SIZES))])
def test_each_pod_of_emr_is_admitted_with_its_priority(kubernetes: Api, stage: str, sizes: list[str]) -> None:
    namespace = kubernetes.namespace(rendered(stage))
    drivers = [driver(size) for size in sizes]
    pods = namespace.admitted(*RUNNERS, *drivers, executor(), executor(logs=False))
    assert [(pod["spec"]["priority"], pod["spec"]["preemptionPolicy"]) for pod in pods] == [
        # A pod without a class, such as EMR's job-runner, has 0. No class evicts.
        *[(0, "PreemptLowerPriority")] * len(RUNNERS),
        *[(1000, "Never")] * len(drivers),
        *[(-10, "Never")] * 2,
    ]


@pytest.mark.parametrize("stage", STAGES)
def test_the_runs_that_a_stage_is_for_have_room_at_once(kubernetes: Api, stage: str) -> None:
    pods = [pod for size in AT_ONCE[stage] for pod in run(size)]
    namespace = kubernetes.namespace(rendered(stage))
    assert namespace.create(*pods).refusals == []
    executors = sum(SIZES[size].executors for size in AT_ONCE[stage])
    assert namespace.quota("executors")["pods"] == str(executors)
    assert namespace.quota("drivers")["pods"] == str(2 * len(AT_ONCE[stage]))


def test_a_stage_bounds_what_all_runs_take_together(kubernetes: Api) -> None:
    namespace = kubernetes.namespace(rendered("dev"))
    refusals = namespace.create(*run("medium"), *run("medium"), *run("medium")).refusals
    assert len(refusals) == 6, "24 of 30 executors, and all drivers"
    for refusal in refusals:
        assert 'pods "spark-executor-' in refusal and "exceeded quota: executors, " in refusal


def test_a_large_run_has_no_room_in_dev(kubernetes: Api) -> None:
    refusals = kubernetes.namespace(rendered("dev")).create(*run("large")).refusals
    assert len(refusals) == 40 - 24, "dev is for trials"


def no_memory_limit(objects: Objects) -> None:
    del limits(objects)[0]["default"]


def a_small_memory_limit(objects: Objects) -> None:
    limits(objects)[0]["default"]["memory"] = "256Mi"


def a_maximum_of_memory(objects: Objects) -> None:
    limits(objects)[0]["max"] = {"memory": "2Gi"}


def a_single_quota(objects: Objects) -> None:
    quotas = of_kind(objects, "ResourceQuota")
    objects.remove(quotas["executors"])
    quotas["drivers"]["spec"]["hard"]["pods"] = "2"
    del quotas["drivers"]["spec"]["scopeSelector"]


def a_quota_of_cpu_limits(objects: Objects) -> None:
    for quota in of_kind(objects, "ResourceQuota").values():
        quota["spec"]["hard"]["limits.cpu"] = "90"


@pytest.mark.parametrize(
    ("trap", "reason"),
    [
        (no_memory_limit, "must specify limits.memory for: emr-container-fluentd"),
        (a_small_memory_limit, "must be less than or equal to memory limit of 256Mi"),
        (a_maximum_of_memory, "maximum memory usage per Container is 2Gi"),
        (a_single_quota, "exceeded quota: drivers"),
        (a_quota_of_cpu_limits, "must specify limits.cpu for: "),
    ],
)
def test_traps_that_others_fell_into_are_seen(
    kubernetes: Api, trap: Callable[[Objects], None], reason: str
) -> None:
    objects = rendered("dev")
    trap(objects)
    refusals = kubernetes.namespace(objects).create(RUNNERS[0], driver("small"), executor()).refusals
    assert any(reason in refusal for refusal in refusals), refusals


@pytest.mark.parametrize("stage", STAGES)
def test_a_container_that_says_nothing_asks_for_little(kubernetes: Api, stage: str) -> None:
    namespace = kubernetes.namespace(rendered(stage))
    (runner,) = namespace.admitted(RUNNERS[0])
    assert runner["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": "100m", "memory": "256Mi"},
        "limits": {"memory": "2Gi"},
    }
    used = namespace.quota("drivers")
    # 256 MiB, and what its sidecar requests.
    assert (used["requests.cpu"], used["requests.memory"]) == ("200m", "456Mi")


def test_no_pod_gets_a_limit_of_cpu(kubernetes: Api) -> None:
    pods = (RUNNERS[0], driver("small"), executor())
    for pod in kubernetes.namespace(rendered("prod")).admitted(*pods):
        assert not any("cpu" in container["resources"]["limits"] for container in containers(pod))
    objects = rendered("prod")
    limits(objects)[0]["max"] = {"cpu": "16"}
    for pod in kubernetes.namespace(objects).admitted(*pods):
        throttled = [container["resources"]["limits"].get("cpu") for container in containers(pod)]
        assert set(throttled) == {"16"}, "a maximum would be one"


@pytest.mark.parametrize("stage", STAGES)
def test_pod_security_enforces_what_emr_keeps_and_warns_of_more(kubernetes: Api, stage: str) -> None:
    objects = rendered(stage)
    namespace = kubernetes.namespace(objects)
    answer = namespace.create(RUNNERS[0], driver("small"), executor())
    assert answer.refusals == [] and len(answer.warnings) == 3
    # A new version of Kubernetes changes no rule by itself.
    warning = 'Warning: would violate PodSecurity "restricted:v1.35": '
    assert all(line.startswith(warning) for line in answer.warnings)
    privileged = executor()
    privileged["spec"]["containers"][0]["securityContext"] = {"privileged": True}
    hostile = executor()
    hostile["spec"]["volumes"] = [{"name": "root", "hostPath": {"path": "/"}}]
    refusals = namespace.create(privileged, hostile).refusals
    assert len(refusals) == 2
    assert all('violates PodSecurity "baseline:v1.35": ' in refusal for refusal in refusals)
    labels = of_kind(objects, "Namespace")["fruits"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/audit"] == "restricted"


@pytest.mark.parametrize("stage", STAGES)
def test_the_pod_of_the_smoke_test_is_admitted_and_even_restricted(kubernetes: Api, stage: str) -> None:
    values = {
        "PodName": "smoke-test",
        "Namespace": "fruits",
        "Image": "image",
        "Program": smoke_test.PROGRAM.read_text(),
        "Addresses": ["https://sts.eu-west-1.amazonaws.com/"],
    }
    pod = manifests.fill(manifests.load("smoke-pod.yaml"), values)
    answer = kubernetes.namespace(rendered(stage)).create(pod)
    assert (answer.refusals, answer.warnings) == ([], [])
