"""A local Kubernetes: a control plane, a node for drivers, a node for executors, and MinIO in their reach."""

import fcntl
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.kubernetes import go_programs, images, object_store
from scripts.kubernetes.control_plane import ControlPlane, wait_until
from scripts.kubernetes.machine import Machine
from scripts.kubernetes.node import Node, remove_old_cgroups
from scripts.kubernetes.object_store import ObjectStore

POOLS: Final = ("drivers", "executors")
# What EKS Auto Mode defines beside Kubernetes: Karpenter's NodePool is published, AWS's NodeClass is not.
NODE_CLASS_DEFINITION: Final = Path(__file__).with_name("node-class-definition.yaml")


@dataclass
class Cluster:
    """A running cluster; ``logs`` is the folder of its programs' logs."""

    control_plane: ControlPlane
    nodes: dict[str, Node]
    object_store: ObjectStore | None
    logs: Path

    @property
    def kubectl_command(self) -> tuple[str, ...]:
        """The command that runs kubectl as the cluster's administrator."""
        return tuple(self.control_plane.machine.client_command(*self.control_plane.kubectl_words))


@contextmanager
def running(image_names: Sequence[str] = ()) -> Iterator[Cluster]:
    """Run a cluster whose nodes have images of the Docker engine; without any, a control plane alone.

    It needs root, which isolates its processes, mounts and networks from the machine's. It ends with the
    block, and also when this process is killed.

    Raises
    ------
    JobError
        If a part does not start.
    """
    program = go_programs.kubernetes()
    image_folder = images.unpacked(image_names) if image_names else None
    with ExitStack() as stack:
        folder = stack.enter_context(_new_folder())
        logs, keys = folder / "logs", folder / "control-plane"
        logs.mkdir()
        keys.mkdir()
        machine = Machine("control-plane", logs)
        stack.callback(machine.end)
        control_plane = ControlPlane(machine, program, keys, has_kubelets=image_folder is not None)
        definitions = (go_programs.node_pool_definition(), NODE_CLASS_DEFINITION)
        for definition in definitions:
            control_plane.kubectl("apply", "--server-side", "-f", str(definition))
        control_plane.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        if image_folder is None:
            yield Cluster(control_plane, {}, None, logs)
            return
        store = stack.enter_context(object_store.running(logs, machine))
        nodes = {}
        for number, pool in enumerate(POOLS, 1):
            nodes[pool] = Node(pool, number, control_plane, image_folder, folder / pool, logs)
            stack.callback(nodes[pool].end)
        for pool, node in nodes.items():
            wait_until(f"node {pool} is ready", node.is_ready)
            node.enforce_policies()
        yield Cluster(control_plane, nodes, store, logs)


@contextmanager
def _new_folder() -> Iterator[Path]:
    """Make a cluster's folder, and remove those of clusters that were killed."""
    # Beside the unpacked images, because nodes share them by hard links.
    clusters = go_programs.cache() / "clusters"
    clusters.mkdir(parents=True, exist_ok=True)
    for lock in clusters.glob("*/lock"):
        with lock.open() as file, suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent)
    remove_old_cgroups()
    folder = Path(tempfile.mkdtemp(dir=clusters))
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
