"""Spark keeps the templates' and settings' values in its pods, and the rest of k8s/ agrees with them."""

import pytest
from pyspark.sql import SparkSession

from tests.support import emr_pods
from tests.support.admission import quantity, refusals
from tests.support.emr_pods import Pod
from tests.support.schemas import core_faults, of_kind, rendered
from tests.support.spark_pods import pods


@pytest.fixture(scope="module")
def run_pods(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pod]:
    """Make a medium run's driver and an executor."""
    return pods(spark, tmp_path_factory.mktemp("templates"), "medium")


ROLES = ("driver", "executor")


@pytest.mark.parametrize("role", ROLES)
def test_spark_keeps_what_the_template_says(run_pods: dict[str, Pod], role: str) -> None:
    pod, pod_template = run_pods[role], emr_pods.template(role)
    for key, value in pod_template["spec"].items():
        if key == "tolerations":
            assert value[0] in pod["spec"][key]
        elif key != "containers":
            assert pod["spec"][key] == value
    for part in ("labels", "annotations"):
        assert pod_template["metadata"].get(part, {}).items() <= pod["metadata"].get(part, {}).items()
    assert pod["spec"]["containers"][0]["name"] == f"spark-kubernetes-{role}"
    pod["metadata"].pop("ownerReferences", None)  # refers to a driver without a uid
    assert core_faults(pod) == []


@pytest.mark.parametrize("role", ROLES)
def test_the_pods_that_other_tests_go_by_are_as_spark_makes_them(run_pods: dict[str, Pod], role: str) -> None:
    assumed = emr_pods.driver("medium") if role == "driver" else emr_pods.executor()
    assert run_pods[role]["metadata"]["labels"]["spark-role"] == role
    real, guess = (pod["spec"]["containers"][0]["resources"] for pod in (run_pods[role], assumed))
    as_numbers = [
        {
            kind: {name: quantity(value) for name, value in resources[kind].items()}
            for kind in ("requests", "limits")
        }
        for resources in (real, guess)
    ]
    assert as_numbers[0] == as_numbers[1]
    assert set(real["limits"]) == {"memory"}


def test_the_drivers_ports_are_those_of_the_network_policy(run_pods: dict[str, Pod]) -> None:
    ports = {port["containerPort"] for port in run_pods["driver"]["spec"]["containers"][0]["ports"]}
    policy = of_kind(rendered("dev"), "NetworkPolicy")["allow-driver"]
    assert {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]} == ports


def test_the_namespace_admits_them(run_pods: dict[str, Pod]) -> None:
    assert refusals(run_pods.values(), rendered("dev")) == []
