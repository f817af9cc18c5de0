"""How big a run's driver and executors are, by the number of photos.

An executor is 4 workers of Python, each with a network of its own (172 MB at its peak, see
scripts/README.md), beside a JVM that moves task numbers and merges scatter matrices of 13 MB. So 2 GiB of
heap are plenty, and 2 GiB beside it hold the workers, the JVM's own overhead and S3's read-ahead: 1 GiB a
core, half of what the cheapest nodes (2 GiB a vCPU) have. Asking for 3.6 CPU for 4 workers lets two
executors, their log sidecars and the node's own pods share 8 vCPU; with 4 each, the second would ask for
another node.

The driver never holds the photos' list. Before Spark has anything to do, the list is compared with the table:
for ten million photos that takes 1.5 GB (scripts/README.md), and what more would take goes to the disk. After
that the driver keeps Spark's record of each task and the names of its files, some kilobytes for a few hundred
photos, and merges what its executors merged before: so it grows slowly, mostly in its heap. That is reasoned,
not measured. It is on demand, and what a run cannot lose: the larger the run, the more often it may be
started again.
"""

from dataclasses import dataclass
from typing import Final

EXECUTOR_CORES: Final = 4
EXECUTOR_CPU: Final = 3.6
EXECUTOR_HEAP: Final = 2
EXECUTOR_OVERHEAD: Final = 2
# What EMR's log sidecar asks for beside each container, as job-run.yaml sets it.
SIDECAR_GIB: Final = 0.25


@dataclass(frozen=True, slots=True)
class Size:
    """What a run asks for; memory in GiB.

    ``photos`` is the largest number that this size is meant for, ``attempts`` how often EMR may start the
    driver.
    """

    name: str
    photos: int
    executors: int
    driver_cores: int
    driver_heap: int
    driver_overhead: int
    attempts: int

    @property
    def cores(self) -> int:
        """Workers at once."""
        return self.executors * EXECUTOR_CORES

    @property
    def cpu(self) -> float:
        """Virtual CPUs that the pods ask for, when all are there."""
        return self.executors * EXECUTOR_CPU + self.driver_cores

    @property
    def memory(self) -> float:
        """GiB that the pods ask for, when all are there, sidecars included."""
        executor = EXECUTOR_HEAP + EXECUTOR_OVERHEAD + SIDECAR_GIB
        return self.executors * executor + self.driver_heap + self.driver_overhead + SIDECAR_GIB


# A small run is over in minutes: it is cheaper to start it again by hand than to repeat a mistake.
SIZES: Final = {
    size.name: size
    for size in (
        Size("small", 20_000, 2, 2, 2, 1, 1),
        Size("medium", 1_000_000, 10, 2, 3, 1, 1),
        Size("large", 10_000_000, 40, 4, 6, 2, 2),
        Size("xlarge", 100_000_000, 150, 4, 16, 4, 3),
    )
}
