"""The pod templates have only fields that EMR allows, and the settings that a run needs."""

from typing import Final

import pytest

from tests.support.emr_pods import RUN, template
from tests.support.kubernetes import Api
from tests.support.schemas import of_kind, rendered

ROLES: Final = ("driver", "executor")
# The fields that EMR allows; its job-runner refuses others after the run has started. EMR on EKS Development
# Guide, "Using pod templates".
SPEC: Final = """
activeDeadlineSeconds affinity containers enableServiceLinks ephemeralContainers hostAliases hostname
imagePullSecrets initContainers nodeName nodeSelector overhead preemptionPolicy priority priorityClassName
readinessGates restartPolicy runtimeClassName schedulerName subdomain terminationGracePeriodSeconds
tolerations topologySpreadConstraints volumes
"""
CONTAINER: Final = """
env envFrom lifecycle livenessProbe name readinessProbe resources startupProbe stdin stdinOnce
terminationMessagePath terminationMessagePolicy tty volumeDevices volumeMounts workingDir
"""


@pytest.mark.parametrize("role", ROLES)
def test_emr_takes_the_template(role: str) -> None:
    pod_template = template(role)
    assert (pod_template["apiVersion"], pod_template["kind"]) == ("v1", "Pod")
    assert set(pod_template) <= {"apiVersion", "kind", "metadata", "spec"}
    assert set(pod_template["spec"]) <= set(SPEC.split())
    (main,) = pod_template["spec"]["containers"]
    # The guide has a plural that does not work (aws/aws-emr-containers-best-practices #87).
    assert main["name"] == f"spark-kubernetes-{role}"
    assert set(main) <= set(CONTAINER.split())
    # EMR refuses the other fields that Pod Security's baseline forbids.
    assert not any("hostPath" in volume for volume in pod_template["spec"].get("volumes", []))


@pytest.mark.parametrize("role", ROLES)
def test_kubernetes_takes_what_becomes_of_it(kubernetes: Api, role: str) -> None:
    pod = template(role)
    pod["metadata"]["name"] = role
    pod["spec"]["containers"][0]["image"] = "image"
    namespace = kubernetes.namespace(rendered("dev"))
    assert namespace.create(pod).refusals == []
    pod["spec"]["nodeSelectors"] = {}
    (refusal,) = namespace.create(pod).refusals
    assert 'unknown field "spec.nodeSelectors"' in refusal


def test_a_driver_keeps_its_node_and_an_executor_goes_before_spot_takes_its_own() -> None:
    assert template("driver")["metadata"]["annotations"]["karpenter.sh/do-not-disrupt"] == "true"
    assert "karpenter.sh/do-not-disrupt" not in template("executor")["metadata"].get("annotations", {})
    assert template("executor")["spec"]["terminationGracePeriodSeconds"] < 120


def test_prometheus_is_sent_to_the_port_that_it_is_let_in_to() -> None:
    annotations = template("driver")["metadata"]["annotations"]
    rule = of_kind(rendered("dev"), "NetworkPolicy")["allow-driver"]["spec"]["ingress"][1]
    assert [annotations["prometheus.io/port"]] == [str(port["port"]) for port in rule["ports"]]
    assert annotations["prometheus.io/scrape"] == "true"


def test_the_run_is_named_in_both() -> None:
    assert {template(role)["metadata"]["labels"]["fruits/run"] for role in ROLES} == {RUN}
