"""The pod templates: what EMR takes of them, and what ours say."""

from collections.abc import Callable
from typing import Any

import pytest

from job.errors import UsageError
from scripts import manifests
from scripts.pod_templates import check
from tests.emr_pods import RUN, Pod, driver, template
from tests.network_policy import selects
from tests.schemas import core_faults, of_kind, rendered

ROLES = ("driver", "executor")


@pytest.mark.parametrize("role", ROLES)
def test_emr_takes_the_template(role: str) -> None:
    check(template(role))


@pytest.mark.parametrize("role", ROLES)
def test_kubernetes_takes_what_becomes_of_it(role: str) -> None:
    pod = template(role)
    pod["metadata"]["name"] = "a"
    pod["spec"]["containers"][0]["image"] = "a"
    assert core_faults(pod) == []
    pod["spec"]["nodeSelectors"] = {}
    assert core_faults(pod)


@pytest.mark.parametrize("role", ROLES)
def test_the_main_container_is_emrs(role: str) -> None:
    assert [one["name"] for one in template(role)["spec"]["containers"]] == [f"spark-kubernetes-{role}"]


def main(pod: Pod) -> dict[str, Any]:
    container: dict[str, Any] = pod["spec"]["containers"][0]
    return container


BROKEN: dict[str, tuple[Callable[[Pod], Any], str]] = {
    "security context": (lambda pod: pod["spec"].update(securityContext={}), "spec sets securityContext"),
    "service account": (
        lambda pod: pod["spec"].update(serviceAccountName="a"),
        "spec sets serviceAccountName",
    ),
    "host network": (lambda pod: pod["spec"].update(hostNetwork=True), "spec sets hostNetwork"),
    "DNS": (lambda pod: pod["spec"].update(dnsPolicy="None"), "spec sets dnsPolicy"),
    "two fields": (lambda pod: pod["spec"].update(os={}, hostPID=True), "spec sets hostPID, os"),
    "image": (lambda pod: main(pod).update(image="a"), "container spark-kubernetes-driver sets image"),
    "command": (lambda pod: main(pod).update(command=[], args=[]), "driver sets args, command"),
    "its security context": (lambda pod: main(pod).update(securityContext={}), "driver sets securityContext"),
    "ports": (lambda pod: main(pod).update(ports=[]), "driver sets ports"),
    "AWS's plural": (
        lambda pod: main(pod).update(name="spark-kubernetes-drivers"),
        "called spark-kubernetes-driver or spark-kubernetes-executor, not spark-kubernetes-drivers",
    ),
    "no container": (lambda pod: pod["spec"].pop("containers"), "exactly one container .* not none"),
    "both": (
        lambda pod: pod["spec"]["containers"].append({"name": "spark-kubernetes-executor"}),
        "exactly one container",
    ),
    "status": (lambda pod: pod.update(status={}), "the template sets status"),
    "a deployment": (lambda pod: pod.update(kind="Deployment"), "it is no Pod"),
    "a long name": (
        lambda pod: pod["metadata"]["labels"].update({"fruits/run": "a" * 64}),
        "label fruits/run",
    ),
    "a mark at the end": (
        lambda pod: pod["metadata"]["labels"].update({"fruits/run": "a-"}),
        "label fruits/run",
    ),
    "not filled in": (
        lambda pod: pod["metadata"]["labels"].update({"fruits/run": "${RunName}"}),
        "label fruits/run is '\\$",
    ),
}


@pytest.mark.parametrize("slip", BROKEN)
def test_a_template_that_emr_refuses_is_refused_in_one_sentence(slip: str) -> None:
    pod = template("driver")
    break_it, sentence = BROKEN[slip]
    break_it(pod)
    with pytest.raises(
        UsageError, match=f"the pod template is not one that EMR takes: .*{sentence}"
    ) as error:
        check(pod)
    assert "\n" not in str(error.value)


def test_a_container_beside_emrs_may_have_what_it_likes() -> None:
    pod = template("driver")
    pod["spec"]["containers"].append({"name": "metrics", "image": "a", "ports": [], "securityContext": {}})
    check(pod)


def test_an_executor_stands_in_the_zone_of_its_own_driver() -> None:
    affinity = template("executor")["spec"]["affinity"]["podAffinity"]
    (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == "topology.kubernetes.io/zone"
    own = driver("small")["metadata"]["labels"]
    assert selects(term["labelSelector"], own)
    assert not selects(term["labelSelector"], {**own, "fruits/run": "another"})
    assert not selects(term["labelSelector"], {**own, "spark-role": "executor"})


def test_a_driver_keeps_its_node_and_an_executor_goes_before_spot_takes_its_own() -> None:
    assert template("driver")["metadata"]["annotations"]["karpenter.sh/do-not-disrupt"] == "true"
    assert "karpenter.sh/do-not-disrupt" not in template("executor")["metadata"].get("annotations", {})
    assert template("executor")["spec"]["terminationGracePeriodSeconds"] < 120


def test_prometheus_is_sent_to_the_port_that_it_is_let_in_to() -> None:
    annotations = template("driver")["metadata"]["annotations"]
    rule = of_kind(rendered("dev"), "NetworkPolicy")["allow-driver"]["spec"]["ingress"][1]
    assert [annotations["prometheus.io/port"]] == [str(one["port"]) for one in rule["ports"]]
    assert annotations["prometheus.io/scrape"] == "true"


def test_the_run_is_named_in_both() -> None:
    assert {template(role)["metadata"]["labels"]["fruits/run"] for role in ROLES} == {RUN}
    for role in ROLES:
        with pytest.raises(UsageError, match="RunName"):
            manifests.fill(manifests.load(f"emr/{role}-pod.yaml"), {})
