"""A real control plane for tests: one API server with its controllers and scheduler, and no real node.

Each test has its own namespace with a stage's objects, and nodes that exist as objects alone: the scheduler
binds pods to them as to any others, and no pod starts.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from copy import deepcopy
from itertools import count
from typing import Any, Final, NamedTuple

import pytest

from scripts.kubernetes import cluster, go_programs
from scripts.kubernetes.control_plane import wait_until

Object = dict[str, Any]
SECONDS: Final = 60
NOT_READY: Final = "node.kubernetes.io/"
# The label with a node's name in its test.
NODE_LABEL: Final = "fruits-test/node"


class Answer(NamedTuple):
    """What the API server answers: kubectl's output, the reasons of its refusals, and its warnings."""

    output: str
    refusals: list[str]
    warnings: list[str]


class Namespace:
    """A namespace with a stage's objects."""

    def __init__(self, api: "Api", name: str) -> None:
        self.name, self._api = name, api

    def create(self, *pods: Object) -> Answer:
        """Create pods one after another, each under a name of its own."""
        copies = [deepcopy(pod) for pod in pods]
        for pod in copies:
            pod["metadata"]["generateName"] = pod["metadata"].pop("name") + "-"
            pod["metadata"].pop("namespace", None)
        return self._api.ask("create", "-n", self.name, "-o", "name", "-f", "-", objects=copies)

    def admitted(self, *pods: Object) -> list[Object]:
        """Create pods, none of which is refused, and return them as the API server keeps them."""
        answer = self.create(*pods)
        assert answer.refusals == []
        names = [line.removeprefix("pod/") for line in answer.output.splitlines()]
        by_name = {pod["metadata"]["name"]: pod for pod in self.pods()}
        return [by_name[name] for name in names]

    def pods(self) -> list[Object]:
        """Return all pods."""
        return self._list("pods")

    def quota(self, name: str) -> dict[str, str]:
        """Return what the pods in a quota's scope take, as the API server adds it up."""
        (used,) = [
            quota["status"]["used"]
            for quota in self._list("resourcequotas")
            if quota["metadata"]["name"] == name
        ]
        return dict(used)

    def nodes_of(self, *pods: Object) -> list[str | None]:
        """Create pods, none of which is refused, and return the node of each as the scheduler decides."""
        names = [pod["metadata"]["name"] for pod in self.admitted(*pods)]
        node_count = len(json.loads(self._api.kubectl("get", "nodes", "-o", "json"))["items"])
        by_name: dict[str, Object] = {}

        def are_decided() -> bool:
            by_name.update({pod["metadata"]["name"]: pod for pod in self.pods()})
            return all(_is_decided(by_name[name], node_count) for name in names)

        wait_until("each pod has a node, or cannot have one", are_decided, seconds=SECONDS)
        assert self._api.are_nodes_ready(), "Kubernetes has stopped trusting a node"
        nodes = [by_name[name]["spec"].get("nodeName") for name in names]
        return [node_name and node_name.rpartition(".")[0] for node_name in nodes]

    def _list(self, kind: str) -> list[Object]:
        items: list[Object] = json.loads(self._api.kubectl("get", kind, "-n", self.name, "-o", "json"))[
            "items"
        ]
        return items

    def delete_pods(self) -> None:
        """Delete all pods at once; no kubelet is there to wait for."""
        self._api.kubectl("delete", "--raw", f"/api/v1/namespaces/{self.name}/pods?gracePeriodSeconds=0")


class Api:
    """An API server, asked by kubectl."""

    def __init__(self, kubectl_command: Iterable[str]) -> None:
        self._command = tuple(kubectl_command)
        self._numbers = count(1)
        self.namespaces: list[Namespace] = []

    def run(self, *words: str, data: str | None = None) -> "subprocess.CompletedProcess[str]":
        """Run kubectl."""
        return subprocess.run(
            [*self._command, *words], input=data, capture_output=True, text=True, check=False, timeout=120
        )

    def kubectl(self, *words: str) -> str:
        """Run kubectl, which must succeed, and return its stdout."""
        result = self.run(*words)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def ask(self, *words: str, objects: Iterable[Object]) -> Answer:
        """Run kubectl on objects."""
        # Not as a List, whose fields kubectl would check itself.
        result = self.run(*words, data="\n".join(map(json.dumps, objects)))
        warnings: list[str] = []
        refusals: list[str] = []
        for line in result.stderr.splitlines():
            if line.startswith("* "):  # one of several reasons
                refusals[-1] += line
            else:
                (warnings if line.startswith("Warning: ") else refusals).append(line)
        assert (result.returncode != 0) == bool(refusals), result.stderr
        return Answer(result.stdout, refusals, warnings)

    def apply(self, objects: Iterable[Object], *more: str) -> Answer:
        """Apply objects as cluster.sh does, as one manager."""
        return self.ask("apply", "--server-side", "--field-manager=fruits", *more, "-f", "-", objects=objects)

    def namespace(self, objects: Iterable[Object]) -> Namespace:
        """Make a new namespace with the objects of a stage's namespace, ready for pods."""
        name = f"fruits-{next(self._numbers)}"
        copies = [in_namespace(manifest, name) for manifest in objects]
        # Kubernetes makes it, too, but some time later, and refuses pods until then.
        account = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "default", "namespace": name},
        }
        assert self.apply([*copies, account]).refusals == []
        # Until a quota is counted once, it refuses all.
        self.kubectl("wait", "-n", name, "--for=jsonpath={.status.used.pods}", "quota", "--all")
        self.namespaces.append(Namespace(self, name))
        return self.namespaces[-1]

    def create_nodes(self, *nodes: Object) -> None:
        """Create nodes, and wait until they take pods."""
        number = next(self._numbers)
        copies = [deepcopy(node) for node in nodes]
        for copy in copies:
            # Kubernetes remembers a deleted node by its name, and how long it has been silent.
            copy["metadata"]["name"] += f".{number}"
        assert self.ask("create", "-f", "-", objects=copies).refusals == []
        wait_until("the nodes take pods", self.are_nodes_ready, seconds=SECONDS)

    def are_nodes_ready(self) -> bool:
        """Tell whether Kubernetes itself keeps pods from no node."""
        return NOT_READY not in self.kubectl("get", "nodes", "-o", "jsonpath={.items[*].spec.taints}")

    def clear(self) -> None:
        """Delete what a test has left of pods and nodes."""
        while self.namespaces:
            self.namespaces.pop().delete_pods()
        self.kubectl("delete", "--raw", "/api/v1/nodes")


def in_namespace(manifest: Object, namespace: str) -> Object:
    """Return an object of a stage's namespace for another namespace."""
    copy = deepcopy(manifest)
    metadata = copy["metadata"]
    if copy["kind"] == "Namespace":
        metadata["name"] = namespace
    elif metadata.get("namespace") == "fruits":
        metadata["namespace"] = namespace
    return copy


def node(name: str, labels: dict[str, str], taints: list[Object], cpu: str, memory: str) -> Object:
    """Return a node that says that it is ready, with room for pods."""
    room = {"cpu": cpu, "memory": memory, "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {**labels, NODE_LABEL: name}},
        "spec": {"taints": taints},
        "status": {
            "allocatable": room,
            "capacity": room,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def on(node_name: str, pod: Object) -> Object:
    """Return a pod that runs on a node or nowhere."""
    copy = deepcopy(pod)
    labels = [{"key": NODE_LABEL, "operator": "In", "values": [node_name]}]
    required = {"nodeSelectorTerms": [{"matchExpressions": labels}]}
    affinity = copy["spec"].setdefault("affinity", {})
    affinity["nodeAffinity"] = {"requiredDuringSchedulingIgnoredDuringExecution": required}
    return copy


def _is_decided(pod: Object, node_count: int) -> bool:
    """Tell whether a pod has a node, or the scheduler has looked at all nodes in vain."""
    messages = [condition.get("message", "") for condition in pod.get("status", {}).get("conditions", [])]
    return "nodeName" in pod["spec"] or any(
        message.startswith(f"0/{node_count} nodes are available: ") for message in messages
    )


@pytest.fixture(scope="session")
def control_plane() -> Iterator[Api]:
    """Run a control plane, once; without root or ``go`` its tests are skipped, but never in CI."""
    reason = _missing()
    if reason:
        assert not os.environ.get("CI"), reason
        pytest.skip(reason)
    with cluster.running() as running:
        yield Api(running.kubectl_command)


def _missing() -> str | None:
    if sys.platform != "linux" or os.geteuid():
        return "a local Kubernetes needs root on Linux"
    try:
        go_programs.kubernetes()
    except go_programs.NoGoError as error:
        return str(error)
    return None


@pytest.fixture
def kubernetes(control_plane: Api) -> Iterator[Api]:
    """Return the control plane's API server, without pods and nodes."""
    yield control_plane
    control_plane.clear()
