"""Estimates a run's cost, as if all its pods ran from the first second to the last.

Executors come and go with the work, which makes it less; nodes are larger than what runs on them, and a
driver may be started again, which makes it more. The bill is what counts.
"""

from typing import Final

from scripts.cloud import prices, sizes
from scripts.cloud.sizes import Size

# EMR bills a minute at least.
LEAST_SECONDS: Final = 60


def hourly(size: Size) -> tuple[float, float]:
    """Return US dollars an hour with executors on Spot, and with all of them on demand."""
    driver_gib = size.driver_heap + size.driver_overhead + sizes.SIDECAR_GIB
    executors, executors_gib = size.cpu - size.driver_cores, size.memory - driver_gib
    fixed = prices.emr_price(size.cpu, size.memory) + prices.node_price(
        size.driver_cores, driver_gib, spot=False
    )
    return (
        fixed + prices.node_price(executors, executors_gib, spot=True),
        fixed + prices.node_price(executors, executors_gib, spot=False),
    )


def by_the_hour(size: Size) -> str:
    """Say what a size costs by the hour."""
    spot, demand = hourly(size)
    return f"{spot:.2f} USD an hour on Spot, {demand:.2f} on demand"


def estimate(size: Size, seconds: float) -> str:
    """Say what a run cost, about."""
    spot, demand = (rate * max(seconds, LEAST_SECONDS) / 3600 for rate in hourly(size))
    return f"about {spot:.2f} USD on Spot, {demand:.2f} on demand, beside the cluster itself"
