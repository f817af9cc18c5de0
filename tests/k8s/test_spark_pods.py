"""Spark keeps the templates' and settings' values in its pods, and the rest of k8s/ agrees with them."""

import pytest
from pyspark.sql import SparkSession

from tests.support import emr_pods
from tests.support.emr_pods import Pod
from tests.support.kubernetes import Api
from tests.support.schemas import of_kind, rendered
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


def test_the_namespace_admits_them_like_the_pods_that_other_tests_go_by(
    kubernetes: Api, run_pods: dict[str, Pod]
) -> None:
    run_pods["executor"]["metadata"].pop("ownerReferences", None)  # names a driver without a uid
    assumed = (emr_pods.driver("medium"), emr_pods.executor())
    real_pods = [run_pods[role] for role in ROLES]
    admitted = kubernetes.namespace(rendered("dev")).admitted(*real_pods, *assumed)
    resources = [pod["spec"]["containers"][0]["resources"] for pod in admitted]
    assert resources[:2] == resources[2:]
    assert all(set(of_container["limits"]) == {"memory"} for of_container in resources)
    assert [pod["metadata"]["labels"]["spark-role"] for pod in admitted] == [*ROLES, *ROLES]


def test_the_drivers_ports_are_those_of_the_network_policy(run_pods: dict[str, Pod]) -> None:
    ports = {port["containerPort"] for port in run_pods["driver"]["spec"]["containers"][0]["ports"]}
    policy = of_kind(rendered("dev"), "NetworkPolicy")["allow-driver"]
    assert {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]} == ports
