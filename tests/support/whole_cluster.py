"""A whole local Kubernetes for tests, with the image that they build and the overlay of stage dev."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import pytest

from job.errors import JobError, UsageError
from scripts.kubernetes import base_objects, cluster, needs
from scripts.kubernetes.cluster import Cluster
from scripts.kubernetes.control_plane import wait_until
from scripts.kubernetes.kubectl import Kubectl
from scripts.kubernetes.object_store import ObjectStore


@dataclass(frozen=True)
class WholeCluster:
    """A running cluster, and the image that its nodes have."""

    cluster: Cluster
    image: str

    @cached_property
    def kubectl(self) -> Kubectl:
        """The administrator's kubectl."""
        return Kubectl(self.cluster.kubectl_command)

    @property
    def object_store(self) -> ObjectStore:
        """The cluster's MinIO."""
        assert self.cluster.object_store is not None
        return self.cluster.object_store

    def firewall(self) -> dict[str, str]:
        """Return the rules of each node's firewall."""
        return {name: node.machine.run("iptables", "-S") for name, node in self.cluster.nodes.items()}


@pytest.fixture(scope="session")
def whole_cluster(image: str) -> Iterator[WholeCluster]:
    """Run the cluster, once; where it cannot run, skip the test, or fail in CI."""
    try:
        needs.check(image)
    except UsageError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    with cluster.running([image]) as running:
        whole = WholeCluster(running, image)
        whole.kubectl.apply(base_objects.rendered(whole.kubectl))
        yield whole


def wait_for(what: str, is_true: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait until a real part has made something true; fail if it has not within a deadline."""
    try:
        wait_until(what, is_true, seconds=seconds)
    except JobError as error:
        pytest.fail(str(error))
