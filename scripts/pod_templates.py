"""A pod template against what EMR on EKS takes: a bad one is refused here, and not by a run that fails.

EMR reads the template in its job-runner and refuses fields that it keeps to itself. The lists are those of
the EMR on EKS Development Guide, "Using pod templates", but for the containers' names: the guide has a plural
that does not work (aws/aws-emr-containers-best-practices #87).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from job.errors import UsageError

MAIN: Final = ("spark-kubernetes-driver", "spark-kubernetes-executor")
TEMPLATE: Final = frozenset({"apiVersion", "kind", "metadata", "spec"})
SPEC: Final = frozenset(
    {
        "activeDeadlineSeconds",
        "affinity",
        "containers",
        "enableServiceLinks",
        "ephemeralContainers",
        "hostAliases",
        "hostname",
        "imagePullSecrets",
        "initContainers",
        "nodeName",
        "nodeSelector",
        "overhead",
        "preemptionPolicy",
        "priority",
        "priorityClassName",
        "readinessGates",
        "restartPolicy",
        "runtimeClassName",
        "schedulerName",
        "subdomain",
        "terminationGracePeriodSeconds",
        "tolerations",
        "topologySpreadConstraints",
        "volumes",
    }
)
CONTAINER: Final = frozenset(
    {
        "env",
        "envFrom",
        "lifecycle",
        "livenessProbe",
        "name",
        "readinessProbe",
        "resources",
        "startupProbe",
        "stdin",
        "stdinOnce",
        "terminationMessagePath",
        "terminationMessagePolicy",
        "tty",
        "volumeDevices",
        "volumeMounts",
        "workingDir",
    }
)
# What Kubernetes takes for a label's value.
LABEL: Final = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")


def check(template: Mapping[str, Any]) -> None:
    """Refuse a template, filled in, that EMR or Kubernetes would.

    Parameters
    ----------
    template : mapping
        A Pod as YAML has it. Containers beside EMR's own may have what they like.

    Raises
    ------
    UsageError
        With the first fault.
    """
    for fault in _faults(template):
        raise UsageError(f"the pod template is not one that EMR takes: {fault}")


def _faults(template: Mapping[str, Any]) -> Iterator[str]:
    spec = template.get("spec")
    if template.get("apiVersion") != "v1" or template.get("kind") != "Pod" or not isinstance(spec, Mapping):
        yield "it is no Pod of v1 with a spec"
        return
    yield from _others(template, TEMPLATE, "the template")
    yield from _others(spec, SPEC, "spec")
    containers = spec.get("containers") or ()
    main = [container for container in containers if container.get("name") in MAIN]
    if len(main) != 1:
        names = ", ".join(str(container.get("name")) for container in containers)
        yield f"exactly one container is to be called {' or '.join(MAIN)}, not {names or 'none'}"
    for container in main:
        yield from _others(container, CONTAINER, f"container {container['name']}")
    for key, value in ((template.get("metadata") or {}).get("labels") or {}).items():
        if not isinstance(value, str) or not LABEL.fullmatch(value):
            yield f"label {key} is {value!r}: up to 63 of letters, digits and ._-, the first and last no mark"


def _others(given: Mapping[str, Any], allowed: frozenset[str], where: str) -> Iterator[str]:
    if others := sorted(set(given) - allowed):
        yield f"{where} sets {', '.join(others)}"
