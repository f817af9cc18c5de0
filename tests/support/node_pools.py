"""The pools of a stage's nodes, and the nodes that Karpenter would make for them."""

from decimal import Decimal
from typing import Any, Final

from tests.support.kubernetes import Object, node
from tests.support.schemas import of_kind, rendered

Pool = dict[str, Any]
SPOT: Final = "executors-spot"
ON_DEMAND: Final = "executors-on-demand"
ZONE: Final = "topology.kubernetes.io/zone"
MIB: Final = 2**20


def pools(stage: str) -> dict[str, Pool]:
    """Return a stage's pools by name."""
    return of_kind(rendered(stage), "NodePool")


def requirements(pool: Pool) -> dict[str, list[str]]:
    """Return the values that a pool's nodes may have for each label."""
    return {
        requirement["key"]: requirement.get("values", [])
        for requirement in pool["spec"]["template"]["spec"]["requirements"]
    }


def cpu_counts(stage: str, name: str) -> list[int]:
    """Return the numbers of vCPU that a pool's nodes may have, ascending."""
    return sorted(map(int, requirements(pools(stage)[name])["eks.amazonaws.com/instance-cpu"]))


def pool_node(name: str, pool: Pool, vcpus: int, gib_each: int, **labels: str) -> Object:
    """Return a node of a pool, in the first of its zones, with the room for pods of an EC2 instance.

    EKS keeps back 6 % of the first core, 1 % of the second, 0.5 % of two more and 0.25 % of the rest, and
    255 MiB, 11 MiB for each of up to 110 pods and 100 MiB before it evicts; Karpenter reckons with 7.5 % less
    memory than EC2 says.
    """
    template = pool["spec"]["template"]
    chosen = {
        requirement["key"]: requirement["values"][0]
        for requirement in template["spec"]["requirements"]
        if requirement["operator"] == "In"
    }
    kept = Decimal("0.06") + Decimal("0.01") + 2 * Decimal("0.005") + (vcpus - 4) * Decimal("0.0025")
    memory = vcpus * gib_each * 1024 * Decimal("0.925") - (255 + 11 * 110 + 100)
    return node(
        name,
        {**chosen, **template["metadata"]["labels"], **labels},
        template["spec"].get("taints", []),
        cpu=f"{(vcpus - kept) * 1000:.0f}m",
        memory=str(int(memory * MIB)),
    )
