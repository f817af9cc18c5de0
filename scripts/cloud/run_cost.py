"""Estimates a run's cost, as if all its pods ran from the first second to the last.

A run costs less than that when executors go before its end. It costs more when its nodes are larger than its
pods, or when EMR starts its driver again. The bill is what counts.
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


def hourly_text(size: Size) -> str:
    """Return the sentence for the cost of an hour."""
    spot, on_demand = hourly(size)
    return f"{spot:.2f} USD an hour on Spot, {on_demand:.2f} on demand"


def estimate_text(size: Size, seconds: float) -> str:
    """Return the sentence for the cost of a run."""
    spot, on_demand = (rate * max(seconds, LEAST_SECONDS) / 3600 for rate in hourly(size))
    return f"about {spot:.2f} USD on Spot, {on_demand:.2f} on demand, beside the cluster itself"
