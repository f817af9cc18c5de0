"""The sizes of a run's driver and executors, by the number of photos.

An executor is 4 workers of Python, each with its own network (172 MB at its peak, see scripts/README.md),
beside a JVM that moves task numbers and merges scatter matrices of 13 MB. So 2 GiB of heap are plenty, and
2 GiB beside it hold the workers, the JVM's overhead and S3's read-ahead: 1 GiB a core, half of what the
cheapest nodes have (2 GiB a vCPU). An executor requests 3.6 CPU for 4 workers, so that two executors, their
log sidecars and the node's own pods share 8 vCPU; with 4 each, the second would need another node.

The driver never holds the list of photos. Its figures are in scripts/README.md ("The driver of a large run").
Its Python takes the most, 1.4 GB, where it sorts a list of ten million photos. From three million to ten,
each million took 58 MB more; if that goes on, a hundred million take 6.6 GB, which nobody has measured. With
the classifier, the report and the merged sums it takes 0.7 to 1.1 GB. Beside Python and the heap, Java takes
0.1 GB. Spark's record of 100,000 tasks, of a thousand photos each, takes 0.2 GB of the heap. The merged sums
take 0.3 GB more (1 GB with four splits of a thousand labels each), and as much again as they arrive. The heap
is larger than that, because the figures come from two workers and not from 600.
The driver's node is on demand, because a run cannot lose its driver: the larger the run, the more often EMR
may start the driver again.
"""

from dataclasses import dataclass
from typing import Final

EXECUTOR_CORES: Final = 4
EXECUTOR_CPU: Final = 3.6
EXECUTOR_HEAP: Final = 2
EXECUTOR_OVERHEAD: Final = 2
# The memory of EMR's log sidecar beside each container, as job-run.yaml sets it.
SIDECAR_GIB: Final = 0.5
# Its CPU: the default of k8s/base/limit-range.yaml, since EMR sets none beside drivers and executors.
SIDECAR_CPU: Final = 0.1
# What EMR's job-runner pod requests: 0.8 CPU and 512 MiB in a pod of 2026-04 (Airflow's pull request 64817),
# and 0.1 CPU and 200 MiB for its log sidecar (EMR's documentation of emr-job-submitter).
JOB_RUNNER_CPU: Final = 0.9
JOB_RUNNER_GIB: Final = 0.7
# The volume of each node, and its MiB a second, as k8s/base/node-class.yaml sets them.
NODE_VOLUME_GB: Final = 80
NODE_VOLUME_THROUGHPUT: Final = 250


@dataclass(frozen=True, slots=True)
class Size:
    """The resources that a run requests; memory in GiB.

    ``photos`` is the largest number of photos that the size is meant for, ``attempts`` is how often EMR may
    start the driver.
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
        """The number of workers."""
        return self.executors * EXECUTOR_CORES

    @property
    def cpu(self) -> float:
        """The vCPUs that driver and executors request together."""
        return self.executors * EXECUTOR_CPU + self.driver_cores

    @property
    def logs_executors(self) -> bool:
        """Whether executors have a log sidecar: where there are many, the driver's log says enough."""
        return self.executors <= 10

    @property
    def memory(self) -> float:
        """The GiB that driver and executors request together, with their log sidecars."""
        executor = EXECUTOR_HEAP + EXECUTOR_OVERHEAD + SIDECAR_GIB * self.logs_executors
        return self.executors * executor + self.driver_heap + self.driver_overhead + SIDECAR_GIB


# A small run takes minutes: a person who starts it again after a look costs less than a second failure.
SIZES: Final = {
    size.name: size
    for size in (
        Size("small", 20_000, 2, 2, 2, 2, 1),
        Size("medium", 1_000_000, 10, 2, 2, 2, 1),
        Size("large", 10_000_000, 40, 4, 4, 3, 2),
        Size("xlarge", 100_000_000, 150, 4, 4, 8, 3),
    )
}
