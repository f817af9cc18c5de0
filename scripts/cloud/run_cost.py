"""Estimates a run's cost, as if all its pods ran from the first second to the last.

A run costs less than that when executors go before its end. It costs more when its nodes are larger than its
pods, or when EMR starts its driver again. The bill is what counts.
"""

import math
from typing import Final

from scripts.cloud import prices, quotas, sizes
from scripts.cloud.sizes import Size

# EMR bills a minute at least.
LEAST_SECONDS: Final = 60


def hourly(size: Size) -> tuple[float, float]:
    """Return US dollars an hour with executors on Spot, and with all of them on demand.

    EMR's price list does not say whether the job-runner counts, so it counts here.
    """
    driver_gib = size.driver_heap + size.driver_overhead + sizes.SIDECAR_GIB
    executors, executors_gib = size.cpu - size.driver_cores, size.memory - driver_gib
    runner = (sizes.JOB_RUNNER_CPU, sizes.JOB_RUNNER_GIB)
    fixed = prices.emr_price(size.cpu, size.memory) + prices.emr_price(*runner) + volumes_price(size)
    for pod in ((size.driver_cores, driver_gib), runner):
        fixed += prices.node_price(*pod, spot=False)
    return (
        fixed + prices.node_price(executors, executors_gib, spot=True),
        fixed + prices.node_price(executors, executors_gib, spot=False),
    )


def volumes_price(size: Size) -> float:
    """Return US dollars an hour for the volumes of a run's nodes, of which two executors share one."""
    nodes = len(quotas.driver_nodes(size)) + math.ceil(size.executors / 2)
    return nodes * prices.volume_price(sizes.NODE_VOLUME_GB, sizes.NODE_VOLUME_THROUGHPUT)


def hourly_text(size: Size) -> str:
    """Return the sentence for the cost of an hour."""
    spot, on_demand = hourly(size)
    return f"{spot:.2f} USD an hour on Spot, {on_demand:.2f} on demand"


def estimate_text(size: Size, seconds: float) -> str:
    """Return the sentence for the cost of a run."""
    spot, on_demand = (rate * max(seconds, LEAST_SECONDS) / 3600 for rate in hourly(size))
    return f"about {spot:.2f} USD on Spot, {on_demand:.2f} on demand, beside the cluster itself"
