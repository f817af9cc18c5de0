"""A stand-in for kubectl and the cluster's API; kustomize is the real kubectl's."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any, Final

import boto3
import yaml
from botocore.exceptions import ClientError

from tests.support.recorders.arguments import Line, Memory, Refused, read
from tests.support.schemas import of_kind

REAL: Final = Path(sys.executable).with_name("kubectl")
VERSION: Final = "v1.35.2"
SWITCHES: Final = ("client", "server-side", "ignore-not-found", "force-conflicts", "wait", "overwrite")
SHORT: Final = {"f": "filename", "k": "kustomize", "o": "output", "l": "selector", "n": "namespace"}
GLOBAL: Final = ("kubeconfig", "request-timeout")
UNREACHABLE: Final = (
    "Unable to connect to the server: dial tcp: lookup A1B2.gr7.eu-west-1.eks.amazonaws.com: i/o timeout"
)
# Auto Mode installs this definition some time after the cluster.
DEFINITIONS: Final = ["nodepools.karpenter.sh", "nodeclasses.eks.amazonaws.com"]


def main(arguments: Sequence[str], source: IO[str]) -> int:
    """Run kubectl's command and return the exit code."""
    memory = Memory.here()
    memory.note("kubectl", arguments)
    try:
        line = read(arguments, SWITCHES, SHORT)
        if line.words == ["version"]:
            print(json.dumps({"clientVersion": {"gitVersion": memory.get("kubectl-version", VERSION)}}))
            return 0
        work: dict[str, Callable[[Line, Memory], int | None]] = {
            "annotate": _annotate,
            "apply": _apply,
            "create": lambda line, memory: _create(line, memory, source.read()),
            "delete": _delete,
            "describe": _describe,
            "diff": _diff,
            "get": _get,
            "logs": _logs,
            "wait": _wait,
        }
        if not line.words or line.words[0] not in work:
            raise Refused(f'error: unknown command "{" ".join(line.words)}" for "kubectl"')
        _reach(line, memory)
        return work[line.words[0]](line, memory) or 0
    except Refused as refused:
        print(refused, file=sys.stderr)
        return 1


def _reach(line: Line, memory: Memory) -> None:
    """Fail as kubectl does without a kubeconfig, a cluster, or a connection."""
    file = Path(line.flags.get("kubeconfig", ""))
    if not file.is_file():
        raise Refused(f"error: stat {file}: no such file or directory")
    config = yaml.safe_load(file.read_text())
    (context,) = [item for item in config["contexts"] if item["name"] == config["current-context"]]
    arn = context["context"]["cluster"]
    try:
        boto3.client("eks", region_name=arn.split(":")[3]).describe_cluster(name=arn.rpartition("/")[2])
    except ClientError:
        raise Refused(UNREACHABLE) from None
    if memory.get("unreachable"):
        memory.put("unreachable", memory.get("unreachable") - 1)
        raise Refused(UNREACHABLE)


@cache
def _kustomized(folder: str) -> str:
    result = subprocess.run([REAL, "kustomize", folder], capture_output=True, text=True, check=False)
    if result.returncode:
        raise Refused(result.stderr.strip())
    return result.stdout


def _rendered(line: Line) -> list[Any]:
    return list(yaml.safe_load_all(_kustomized(line.flags["kustomize"])))


def _mine(line: Line) -> None:
    if line.flags.get("server-side") != "true" or line.flags.get("field-manager") != "fruits":
        raise Refused("here: apply and diff server-side, and as one manager")


def _get(line: Line, memory: Memory) -> int:
    line.take(*GLOBAL, "output", "ignore-not-found", "selector", "namespace")
    kind, objects = line.words[1], memory.get("objects", [])
    if kind == "crd" and line.words[2:] == DEFINITIONS:
        if memory.get("no-pools-yet"):
            memory.put("no-pools-yet", memory.get("no-pools-yet") - 1)
            raise Refused(
                'Error from server (NotFound): customresourcedefinitions.apiextensions.k8s.io "'
                f'{DEFINITIONS[0]}" not found'
            )
        print("\n".join(f"customresourcedefinition.apiextensions.k8s.io/{name}" for name in DEFINITIONS))
    elif kind == "namespace":
        _print_namespace(line, memory, objects)
    elif kind == "pod":
        _print_phase(line.words[2], memory)
    elif kind in ("nodes", "pods"):
        items = memory.get(kind, [])
        if items and isinstance(items[0], list):  # a list for each query; the last one stays
            memory.put(kind, items[1:] or [[]])
            items = items[0]
        if kind == "pods" and (label := line.flags.get("selector")):
            items = [item for item in items if label in item["metadata"].get("labels", {})]
        if line.flags["output"] == "json":
            print(json.dumps({"items": items}))
        elif items:
            print("\n".join(f"node/{item['metadata']['name']}" for item in items))
    else:
        raise Refused(f'error: the server doesn\'t have a resource type "{kind}"')
    return 0


def _print_namespace(line: Line, memory: Memory, objects: list[Any]) -> None:
    exists = any(
        manifest["kind"] == "Namespace" and manifest["metadata"]["name"] == line.words[2]
        for manifest in objects
    )
    if exists:
        namespace = {
            "metadata": {"annotations": memory.get("annotations", {})},
            "status": {"phase": "Active"},
        }
        print(json.dumps(namespace) if line.flags["output"] == "json" else "namespace/fruits")
    elif "ignore-not-found" not in line.flags:
        raise Refused(f'Error from server (NotFound): namespaces "{line.words[2]}" not found')


def _diff(line: Line, memory: Memory) -> int:
    line.take(*GLOBAL, "kustomize", "server-side", "field-manager")
    _mine(line)
    return 0 if memory.get("objects") == _rendered(line) else 1


def _apply(line: Line, memory: Memory) -> None:
    line.take(*GLOBAL, "kustomize", "server-side", "field-manager")
    _mine(line)
    objects = _rendered(line)
    memory.put("objects", objects)
    for manifest in objects:
        print(f"{manifest['kind'].lower()}/{manifest['metadata']['name']} serverside-applied")


def _wait(line: Line, memory: Memory) -> None:
    line.take(*GLOBAL, "for", "timeout")
    name = line.words[1].removeprefix("namespace/")
    if not any(manifest["metadata"]["name"] == name for manifest in memory.get("objects", [])):
        raise Refused(f'Error from server (NotFound): namespaces "{name}" not found')
    print(f"namespace/{name} condition met")


def _create(line: Line, memory: Memory, text: str) -> None:
    """Create a pod that selects a pool's nodes; tests/k8s/test_admission.py has it admitted for real."""
    line.take(*GLOBAL, "filename")
    pod, objects = yaml.safe_load(text), memory.get("objects", [])
    labels = [
        pool["spec"]["template"]["metadata"]["labels"] for pool in of_kind(objects, "NodePool").values()
    ]
    wanted = {"fruits/pool": pod["spec"]["nodeSelector"]["fruits/pool"]}
    if pod["metadata"]["namespace"] != "fruits" or wanted not in labels:
        raise Refused("here: no pool takes the pod")
    memory.put("pod", pod)
    print(f"pod/{pod['metadata']['name']} created")


def _print_phase(name: str, memory: Memory) -> None:
    _check_pod(name, memory)
    phases = memory.get("phases", ["Succeeded"])
    memory.put("phases", phases[1:] or phases)
    waiting = [{"state": {"waiting": memory.get("waiting")}}] if memory.get("waiting") else []
    print(json.dumps({"status": {"phase": phases[0], "containerStatuses": waiting}}))


def _check_pod(name: str, memory: Memory) -> None:
    if (memory.get("pod") or {"metadata": {"name": ""}})["metadata"]["name"] != name:
        raise Refused(f'Error from server (NotFound): pods "{name}" not found')


def _logs(line: Line, memory: Memory) -> None:
    line.take(*GLOBAL, "namespace")
    _check_pod(line.words[1], memory)
    for address in memory.get("pod")["spec"]["containers"][0]["args"]:
        state = "NOT reached" if address in memory.get("unreached", []) else "reached"
        print(f"{state} {address}: HTTP 403")


def _describe(line: Line, memory: Memory) -> None:
    line.take(*GLOBAL, "namespace", "selector")
    if line.words[1] == "pod":
        _check_pod(line.words[2], memory)
    print(f"Name: {line.words[1]}\nMessage: {memory.get('message', '')}")


def _annotate(line: Line, memory: Memory) -> None:
    line.take(*GLOBAL, "overwrite")
    name, _, value = line.words[3].partition("=")
    memory.put("annotations", {**memory.get("annotations", {}), name: value})
    print("namespace/fruits annotated")


def _delete(line: Line, memory: Memory) -> None:
    line.take(*GLOBAL, "kustomize", "ignore-not-found", "timeout", "namespace", "wait", "selector")
    if line.words[1:] == ["pod"]:
        label, pods = line.flags["selector"], memory.get("pods", [])
        memory.put("pods", [pod for pod in pods if label not in pod["metadata"].get("labels", {})])
        return
    if line.words[1:2] == ["pod"]:
        memory.put("pod", None)
        print(f'pod "{line.words[2]}" deleted')
        return
    for manifest in _rendered(line):
        print(f'{manifest["kind"].lower()} "{manifest["metadata"]["name"]}" deleted')
    memory.put("objects", [])
    memory.put("annotations", {})
