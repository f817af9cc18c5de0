"""Real pods connect: job-runner, driver, executors and AWS may reach each other, and nobody else.

Each way is asked three times: without policies, when all are open, so that nothing else shuts them; with
``deny-all`` alone, when none is; and with all policies.
"""

from collections.abc import Iterator
from typing import Any, Final

import pytest

from scripts.cloud import manifests
from tests.support.emr_pods import driver, executor, job_runner
from tests.support.pod_connections import Connections, Place, Way
from tests.support.schemas import of_kind, rendered
from tests.support.whole_cluster import WholeCluster

pytestmark = [pytest.mark.docker, pytest.mark.kubernetes]

SCRAPERS: Final = "monitoring"
RUN_PODS: Final = ("job-runner", "driver", "executor")
# The control plane's machine has these addresses; the policies apply to them as they are.
ADDRESSES: Final = {
    "another service": "172.20.7.7",
    "an interface endpoint": "10.20.96.5",
    "S3": "52.218.0.10",  # of 52.218.0.0/17, S3 in eu-west-1 (AWS, ip-ranges.json)
    "instance metadata": "169.254.169.254",
    "pod identity": "169.254.170.23",
    "a peered network": "192.168.1.1",
    "a carrier's network": "100.64.1.1",
}
SERVICES: Final = {"the resolver": "172.20.0.10", "the Kubernetes API": "172.20.0.1"}
OPEN: Final = [Way(*way) for way in (
    *((pod, "the resolver", 53, "UDP") for pod in RUN_PODS),
    *((pod, "the resolver", 53, "TCP") for pod in RUN_PODS),
    *((pod, "an interface endpoint", 443, "TCP") for pod in RUN_PODS),
    *((pod, "S3", 443, "TCP") for pod in RUN_PODS),
    ("job-runner", "the Kubernetes API", 443, "TCP"),
    ("driver", "the Kubernetes API", 443, "TCP"),
    ("the smoke test", "the resolver", 53, "UDP"),
    *(("the smoke test", end, 443, "TCP") for end in ("an interface endpoint", "S3", "the Kubernetes API")),
    ("executor", "driver", 7078, "TCP"),
    ("executor", "driver", 7079, "TCP"),
    ("driver", "executor", 7079, "TCP"),
    ("executor", "another executor", 7079, "TCP"),
    ("Prometheus", "driver", 4040, "TCP"),
)]  # fmt: skip
SHUT: Final = [Way(*way) for way in (
    # Executors handle the photos' bytes, and need nothing of Kubernetes.
    ("executor", "the Kubernetes API", 443, "TCP"),
    *((pod, "instance metadata", 80, "TCP") for pod in RUN_PODS),
    ("driver", "pod identity", 80, "TCP"),
    ("driver", "instance metadata", 443, "TCP"),
    ("driver", "another service", 443, "TCP"),
    ("driver", "a peered network", 443, "TCP"),
    ("driver", "a carrier's network", 443, "TCP"),
    ("executor", "S3", 80, "TCP"),
    ("executor", "S3", 53, "UDP"),
    ("driver", "an interface endpoint", 53, "UDP"),
    ("executor", "driver", 4040, "TCP"),
    ("executor", "driver", 22, "TCP"),
    ("driver", "executor", 7078, "TCP"),
    ("job-runner", "driver", 7078, "TCP"),
    ("a pod elsewhere", "job-runner", 8080, "TCP"),
    ("driver", "job-runner", 443, "TCP"),
    ("a stray pod", "driver", 7078, "TCP"),
    ("a stray pod", "executor", 7079, "TCP"),
    ("a pod elsewhere", "driver", 4040, "TCP"),
    ("a pod elsewhere", "driver", 7078, "TCP"),
    ("a pod elsewhere", "executor", 7079, "TCP"),
    ("Prometheus", "driver", 7078, "TCP"),
    ("Prometheus", "executor", 4040, "TCP"),
    ("driver", "a pod elsewhere", 443, "TCP"),
    ("driver", "a pod elsewhere", 8080, "TCP"),
)]  # fmt: skip


def fruits_pod(node: str, pod: dict[str, Any]) -> Place:
    return Place("fruits", node, pod["metadata"]["labels"], pod["spec"].get("priorityClassName"))


PLACES: Final = {
    "job-runner": fruits_pod("drivers", job_runner()),
    "driver": fruits_pod("drivers", driver("medium")),
    "executor": fruits_pod("executors", executor()),
    "another executor": fruits_pod("executors", executor()),
    "the smoke test": fruits_pod("drivers", manifests.load("smoke-pod.yaml")),
    "a stray pod": Place("fruits", "drivers", {"app": "shell"}),
    "Prometheus": Place(SCRAPERS, "executors", {"app": "prometheus"}),
    "a pod elsewhere": Place("default", "executors", {"app": "shell"}),
}
NO_POLICY, DENY_ALL_ALONE, ALL_POLICIES = "no policy", "deny-all alone", "all policies"
Answers = dict[str, dict[Way, bool]]


@pytest.fixture(scope="module")
def answers(whole_cluster: WholeCluster) -> Iterator[Answers]:
    """Return what pods reached without policies, with the one that denies all, and with all of them."""
    kubectl = whole_cluster.kubectl
    policies = of_kind(rendered("dev"), "NetworkPolicy")
    scrapers = {"apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": SCRAPERS, "labels": {"fruits/scrape": "allowed"}}}  # fmt: skip
    kubectl.apply([scrapers])
    for namespace in (SCRAPERS, "default", "fruits"):
        kubectl.run("wait", "-n", namespace, "--for=create", "serviceaccount/default", "--timeout=60s")
    connections = Connections(whole_cluster, PLACES, ADDRESSES | SERVICES, (*OPEN, *SHUT))
    try:
        connections.listen(ADDRESSES)
        answers = {}
        for state, chosen in (
            (NO_POLICY, []),
            (DENY_ALL_ALONE, [policies["deny-all"]]),
            (ALL_POLICIES, [*policies.values()]),
        ):
            kubectl.run("delete", "networkpolicies", "-n", "fruits", "--all")
            if chosen:
                kubectl.apply(chosen)
            connections.wait_until_enforced(chosen)
            answers[state] = connections.answers()
        yield answers
    finally:
        connections.end()
        kubectl.apply(policies.values())


@pytest.mark.parametrize("way", OPEN, ids=str)
def test_what_a_run_needs_is_open(answers: Answers, way: Way) -> None:
    assert answers[ALL_POLICIES][way]
    assert not answers[DENY_ALL_ALONE][way]
    assert answers[NO_POLICY][way]


@pytest.mark.parametrize("way", SHUT, ids=str)
def test_all_else_is_shut_by_a_policy(answers: Answers, way: Way) -> None:
    assert not answers[ALL_POLICIES][way]
    assert not answers[DENY_ALL_ALONE][way]
    assert answers[NO_POLICY][way], "something else than a policy shuts it"
