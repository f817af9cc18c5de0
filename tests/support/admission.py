"""Kubernetes's admission of pods: LimitRanges set defaults, ResourceQuotas refuse.

It follows Kubernetes's documentation ("Limit Ranges", "Resource Quotas") for the kinds
of rule in k8s/.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from copy import deepcopy
from decimal import Decimal
from typing import Any, Final

Object = dict[str, Any]
UNITS: Final = {
    "m": Decimal("0.001"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
}


def quantity(text: str) -> Decimal:
    """Read a quantity: ``3600m``, ``4Gi``, ``2``."""
    number = text.rstrip("mkMGTi")
    return Decimal(number) * (UNITS[text[len(number) :]] if len(number) < len(text) else 1)


def defaulted(pod: Object, limits: Iterable[Object]) -> Object:
    """Return a pod with the default requests and limits of LimitRanges."""
    pod = deepcopy(pod)
    for container in _containers(pod):
        resources = container.setdefault("resources", {})
        for name in ("requests", "limits"):
            resources.setdefault(name, {})
        # A limit becomes a request before LimitRanges are applied.
        resources["requests"] = {**resources["limits"], **resources["requests"]}
        for item in limits:
            limit, request = _defaults(item)
            resources["limits"] = {**limit, **resources["limits"]}
            resources["requests"] = {**request, **resources["requests"]}
    return pod


def refusals(pods: Iterable[Object], objects: Iterable[Object]) -> list[str]:
    """Return the reason for each pod that is refused, when pods start one after another and none ends."""
    objects = list(objects)
    items = [
        item
        for manifest in objects
        if manifest["kind"] == "LimitRange"
        for item in manifest["spec"]["limits"]
        if item["type"] == "Container"
    ]
    quotas = [manifest for manifest in objects if manifest["kind"] == "ResourceQuota"]
    used: dict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    reasons_by_pod = []
    for pod in (defaulted(pod, items) for pod in pods):
        pod_quotas = [quota for quota in quotas if _in_scope(pod, quota)]
        reasons = [*_over_limit(pod), *(reason for quota in pod_quotas for reason in _over(pod, quota, used))]
        if reasons:
            reasons_by_pod.append(f"{pod['metadata']['name']}: {reasons[0]}")
        for quota in pod_quotas if not reasons else ():
            for name in quota["spec"]["hard"]:
                used[quota["metadata"]["name"]][name] += _use(pod, name) or 0
    return reasons_by_pod


def requests(pod: Object, name: str) -> Decimal:
    """Return what a pod requests of ``cpu`` or ``memory``."""
    return _use(pod, f"requests.{name}") or Decimal(0)


def _containers(pod: Object) -> list[Object]:
    return [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]


def _defaults(item: Object) -> tuple[Object, Object]:
    # The API server stores max as a limit, and a limit as a request.
    limit = {**item.get("max", {}), **item.get("default", {})}
    return limit, {**item.get("min", {}), **limit, **item.get("defaultRequest", {})}


def _over_limit(pod: Object) -> Iterator[str]:
    for container in _containers(pod):
        resources = container["resources"]
        for name, limit in resources["limits"].items():
            if quantity(resources["requests"][name]) > quantity(limit):
                yield f"{container['name']} requests more {name} than its limit"


def _in_scope(pod: Object, quota: Object) -> bool:
    name = pod["spec"].get("priorityClassName")
    for expression in quota["spec"].get("scopeSelector", {}).get("matchExpressions", []):
        assert expression["scopeName"] == "PriorityClass"
        if {"In": name not in expression["values"], "NotIn": name in expression["values"]}[
            expression["operator"]
        ]:
            return False
    return True


def _over(pod: Object, quota: Object, used: dict[str, dict[str, Decimal]]) -> Iterator[str]:
    name = quota["metadata"]["name"]
    for resource, hard in quota["spec"]["hard"].items():
        use = _use(pod, resource)
        if use is None:
            yield f"quota {name} wants {resource}, which a container does not say"
        elif used[name][resource] + use > quantity(hard):
            yield f"quota {name} has no {resource} left"


def _use(pod: Object, resource: str) -> Decimal | None:
    if resource == "pods":
        return Decimal(1)
    kind, _, name = resource.partition(".")
    if any(name not in container["resources"][kind] for container in _containers(pod)):
        return None
    main = sum(quantity(container["resources"][kind][name]) for container in pod["spec"]["containers"])
    # Init containers start in their order; one that restarts always is a sidecar, and stays.
    sidecars = largest = Decimal(0)
    for container in pod["spec"].get("initContainers", []):
        use = quantity(container["resources"][kind][name])
        if container.get("restartPolicy") == "Always":
            sidecars += use
            use = Decimal(0)
        largest = max(largest, sidecars + use)
    return max(Decimal(main) + sidecars, largest)
