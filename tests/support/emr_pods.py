"""The pods that EMR and Spark make for a run, as far as they are published.

Labels: EMR's own samples and blogs (`resource.type`, `component`); roles: Spark's documentation. Requests of
the log sidecars: EMR on EKS Development Guide (no CPU for drivers and executors). The job-runner's own
requests are not published, so tests try each possibility.
"""

from typing import Any, Final

from scripts.cloud import manifests
from scripts.cloud.sizes import EXECUTOR_CPU, EXECUTOR_HEAP, EXECUTOR_OVERHEAD, SIDECAR_GIB, SIZES

RUN: Final = "20261121T210500Z-3f9a1c"
Pod = dict[str, Any]


def gib(size: float) -> str:
    """Write GiB as Kubernetes does."""
    return f"{int(size * 1024)}Mi"


def pod(name: str, component: str, *containers: dict[str, Any]) -> Pod:
    """Return a pod as EMR makes it."""
    labels = {
        "emr-containers.amazonaws.com/resource.type": "job.run",
        "emr-containers.amazonaws.com/component": component,
        "emr-containers.amazonaws.com/job.id": "0000000312345678abc",
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "fruits", "labels": labels},
        "spec": {"containers": [{**container, "image": "image"} for container in containers]},
    }


def sidecar(**requests: str) -> dict[str, Any]:
    """Return EMR's log sidecar, which has no limit."""
    return {"name": "emr-container-fluentd", "resources": {"requests": requests}}


def job_runner(resources: dict[str, Any] | None = None) -> Pod:
    """Return the pod that starts a driver: it has no pod template, but a node selector."""
    main = {"name": "job-runner", "resources": resources or {}}
    runner = pod("job-runner", "job.submitter", main, sidecar(cpu="100m", memory="200Mi"))
    runner["spec"]["nodeSelector"] = {"fruits/pool": "drivers"}
    return runner


def driver(size: str) -> Pod:
    """Return the driver of a run of a size, with our template in it."""
    chosen = SIZES[size]
    memory = gib(chosen.driver_heap + chosen.driver_overhead)
    return _templated("driver", str(chosen.driver_cores), memory)


def executor(*, logs: bool = True) -> Pod:
    """Return an executor, with our template in it; without logs, EMR adds no sidecar."""
    made = _templated("executor", f"{EXECUTOR_CPU * 1000:.0f}m", gib(EXECUTOR_HEAP + EXECUTOR_OVERHEAD))
    if not logs:
        del made["spec"]["initContainers"]
    return made


def template(role: str) -> Pod:
    """Return our template, filled in."""
    filled: Pod = manifests.fill(manifests.load(f"emr/{role}-pod.yaml"), {"RunName": RUN})
    return filled


def _templated(role: str, cpu: str, memory: str) -> Pod:
    # Spark sets limits of memory, but none of CPU.
    main = {
        "name": f"spark-kubernetes-{role}",
        "resources": {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}},
    }
    pod_template = template(role)
    templated = pod(f"spark-{role}", role, main)
    # A native sidecar is an init container that is never waited for (Kubernetes, "Sidecar Containers").
    native = {**sidecar(memory=gib(SIDECAR_GIB)), "image": "image", "restartPolicy": "Always"}
    templated["spec"]["initContainers"] = [native]
    templated["metadata"]["labels"] |= {"spark-role": role, **pod_template["metadata"]["labels"]}
    templated["metadata"]["annotations"] = pod_template["metadata"].get("annotations", {})
    templated["spec"] |= {key: value for key, value in pod_template["spec"].items() if key != "containers"}
    return templated
