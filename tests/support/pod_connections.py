"""Pods that listen and pods that ask: which connections a cluster with network policies lets through.

The control plane's machine, which routes all traffic that leaves a node, gets the addresses of services, AWS
and other networks, and listens there. So a connection that fails was refused by a policy.
"""

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from tests.support.whole_cluster import WholeCluster, wait_for

# Listens on ADDRESS:PORT/PROTOCOL words; answers datagrams with themselves.
LISTENER: Final = """
import socket, sys, threading
def accept(server):
    while True:
        server.accept()[0].close()
def echo(server):
    while True:
        data, sender = server.recvfrom(2000)
        server.sendto(data, sender)
for word in sys.argv[1:]:
    end, protocol = word.split("/")
    address, port = end.split(":")
    kind = socket.SOCK_STREAM if protocol == "TCP" else socket.SOCK_DGRAM
    server = socket.socket(socket.AF_INET, kind)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((address, int(port)))
    if protocol == "TCP":
        server.listen(64)
    threading.Thread(target=accept if protocol == "TCP" else echo, args=(server,)).start()
print("ready", flush=True)
"""
# Tries ADDRESS:PORT/PROTOCOL words and prints a list of which were answered. The datagram is a DNS query.
ASKER: Final = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor
QUERY = bytes.fromhex("00010100000100000000000003777777076578616d706c6503636f6d0000010001")
def ask(word):
    end, protocol = word.split("/")
    address, port = end.split(":")
    kind = socket.SOCK_STREAM if protocol == "TCP" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as client:
        client.settimeout(3)
        try:
            client.connect((address, int(port)))
            if protocol == "UDP":
                client.send(QUERY)
                client.recv(2000)
        except OSError:
            return False
        return True
words = sys.argv[1:]
with ThreadPoolExecutor(len(words)) as pool:
    print(json.dumps(list(pool.map(ask, words))))
"""
# A pod's chain in kube-router's firewall names the policies that it goes through.
IN_FORCE: Final = re.compile(r'"run through nw policy (\S+)"')
POD_PORTS: Final = (22, 443, 4040, 7078, 7079, 8080)
Policy = dict[str, Any]


class Way(NamedTuple):
    """A connection from a pod to a pod or an address."""

    source: str
    target: str
    port: int
    protocol: str


class Place(NamedTuple):
    """A pod that listens and asks: where it is, and its labels."""

    namespace: str
    node: str
    labels: Mapping[str, str]
    priority_class: str | None = None


class Connections:
    """Asks real pods for connections.

    Parameters
    ----------
    whole : WholeCluster
        The cluster.
    places : mapping
        The pods by name.
    addresses : mapping
        The other ends by name.
    ways : iterable of Way
        The connections to try.
    """

    def __init__(
        self,
        whole: WholeCluster,
        places: Mapping[str, Place],
        addresses: Mapping[str, str],
        ways: Iterable[Way],
    ) -> None:
        self._whole, self._places, self._ways = whole, places, list(ways)
        self._addresses = dict(addresses)
        whole.kubectl.apply(_pod(name, place, whole.image) for name, place in places.items())
        for name, place in places.items():
            pod = f"pod/{_object_name(name)}"
            whole.kubectl.run("wait", "-n", place.namespace, "--for=condition=Ready", pod, "--timeout=120s")
            manifest = whole.kubectl.get("pod", _object_name(name), place.namespace)
            assert manifest is not None
            self._addresses[name] = manifest["status"]["podIP"]

    def listen(self, owned: Iterable[str]) -> None:
        """Give the control plane's machine addresses, and listen at each end there that a way leads to.

        Parameters
        ----------
        owned : iterable of str
            Names of ends; the cluster's own programs listen at the others.
        """
        machine = self._whole.cluster.control_plane.machine
        names = list(owned)
        for name in names:
            machine.run("ip", "addr", "add", f"{self._addresses[name]}/32", "dev", "lo")
        words = {self._word(way) for way in self._ways if way.target in names}
        machine.start("listeners", sys.executable, "-c", LISTENER, *sorted(words))

    def answers(self) -> dict[Way, bool]:
        """Return which connections are answered now."""
        answers: dict[Way, bool] = {}
        for source, place in self._places.items():
            ways = [way for way in self._ways if way.source == source]
            if ways:
                pod = ("-n", place.namespace, _object_name(source))
                command = ("python3", "-c", ASKER, *map(self._word, ways))
                output = self._whole.kubectl.run("exec", *pod, "--", *command)
                answers |= zip(ways, json.loads(output), strict=True)
        return answers

    def wait_until_enforced(self, policies: Sequence[Policy]) -> None:
        """Wait until each node's firewall has exactly those of these policies that select pods on it."""
        expected: dict[str, set[str]] = {node: set() for node in self._whole.cluster.nodes}
        for policy in policies:
            selector = _selector(policy["spec"]["podSelector"])
            for pod in self._whole.kubectl.items("pods", "-n", "fruits", "-l", selector):
                expected[pod["spec"]["nodeName"]].add(policy["metadata"]["name"])

        def is_enforced() -> bool:
            firewall = self._whole.firewall()
            return expected == {node: set(IN_FORCE.findall(rules)) for node, rules in firewall.items()}

        wait_for("the nodes enforce the policies", is_enforced)

    def end(self) -> None:
        """Delete the pods."""
        for name, place in self._places.items():
            pod = ("pod", "-n", place.namespace, _object_name(name))
            self._whole.kubectl.run("delete", *pod, "--grace-period=0", "--force", "--ignore-not-found")

    def _word(self, way: Way) -> str:
        return f"{self._addresses[way.target]}:{way.port}/{way.protocol}"


def _selector(selector: Mapping[str, Any]) -> str:
    """Return a label selector as kubectl takes it."""
    words = [f"{key}={value}" for key, value in selector.get("matchLabels", {}).items()]
    for expression in selector.get("matchExpressions", ()):
        values = ",".join(expression["values"])
        words.append(f"{expression['key']} {expression['operator'].lower()} ({values})")
    return ",".join(words)


def _object_name(name: str) -> str:
    return f"end-{name.lower().replace(' ', '-')}"


def _pod(name: str, place: Place, image: str) -> dict[str, Any]:
    words = [f"0.0.0.0:{port}/TCP" for port in POD_PORTS]
    resources = {"requests": {"cpu": "1m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}}
    priority = {} if place.priority_class is None else {"priorityClassName": place.priority_class}
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": _object_name(name), "namespace": place.namespace, "labels": dict(place.labels)},
        "spec": {
            **priority,
            "nodeSelector": {"fruits/pool": place.node},
            "tolerations": [{"key": "fruits/pool", "operator": "Exists"}],
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsUser": 0},  # it listens below port 1024
            "containers": [{
                "name": "end", "image": image, "imagePullPolicy": "IfNotPresent", "resources": resources,
                "command": ["python3", "-c", LISTENER, *words],
            }],
        },
    }  # fmt: skip
