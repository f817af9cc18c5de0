"""Prices in US dollars for Ireland, from public figures with their source and date, and estimates from them.

The estimates leave out tax, data transfer, requests and discounts of your account. AWS's calculator and your
bill are more exact.
"""

from dataclasses import dataclass
from typing import Final

HOURS_A_MONTH: Final = 730


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars for one unit, and the source and date of this figure."""

    usd: float
    unit: str
    source: str


CONTROL_PLANE: Final = Price(0.10, "hour", "EKS price list, the same in every region, 2026-03")
# 3,840 endpoint-hours of usage type EU-VpcEndpoint-Hours cost 42.24 USD.
ENDPOINT: Final = Price(0.011, "hour and zone", "a published bill of an account in Ireland, 2026")
NAT: Final = Price(0.048, "hour", "EC2 price list of eu-west-1, 2026-09-25")
KEY: Final = Price(1.0, "month", "KMS price list, the same in every region, 2026")
STORAGE: Final = Price(0.023, "GB and month", "S3 price list of us-east-1, 2026")
# EMR's fee on top of the nodes, for the requests of a run's pods: by the second, a minute at least.
EMR_VCPU: Final = Price(0.01012, "vCPU-hour", "EMR price list, example without a region")
EMR_GB: Final = Price(0.00111125, "GB-hour", "EMR price list, example without a region")
# By memory per vCPU: c7i.xlarge 0.19152, m5.xlarge 0.214, r6i.xlarge 0.282 an hour, a quarter of each.
EC2: Final = "EC2 on demand in eu-west-1, apache-libcloud's price data, 2025-03"
COMPUTE: Final = Price(0.04788, "vCPU-hour", EC2)
GENERAL: Final = Price(0.0535, "vCPU-hour", EC2)
MEMORY: Final = Price(0.0705, "vCPU-hour", EC2)
VOLUME: Final = Price(0.088, "GB and month", "gp3 in EC2's price API for eu-west-1, quoted in public in 2026")
# gp3 has 125 MiB a second without a fee.
VOLUME_THROUGHPUT: Final = Price(0.04, "MiB a second and month", "EBS price list of us-east-1, 2026")
FREE_THROUGHPUT: Final = 125
# In one snapshot of eu-west-1, m5ad.xlarge on Spot cost 46 to 55 % of on demand.
SPOT_SHARE: Final = 0.55
# EKS Auto Mode's fee for a node, on Spot too: about 12 % of the node's price on demand (public summaries of
# the price list, 2026-06; the list itself has a figure for each type).
AUTO_MODE_SHARE: Final = 0.12


def node_price(vcpus: float, gigabytes: float, *, spot: bool) -> float:
    """Return the price of a node of EKS Auto Mode for an hour."""
    ratio = gigabytes / vcpus if vcpus else 0.0
    price = COMPUTE if ratio < 3 else GENERAL if ratio < 6 else MEMORY
    on_demand = vcpus * price.usd
    return on_demand * (SPOT_SHARE if spot else 1.0) + on_demand * AUTO_MODE_SHARE


def volume_price(gigabytes: float, throughput: float) -> float:
    """Return the price of a node's volume for an hour; ``throughput`` is MiB a second."""
    paid_throughput = max(throughput - FREE_THROUGHPUT, 0)
    return (gigabytes * VOLUME.usd + paid_throughput * VOLUME_THROUGHPUT.usd) / HOURS_A_MONTH


def emr_price(vcpus: float, gigabytes: float) -> float:
    """Return EMR's fee for an hour of the cores and memory that a run's pods request."""
    return vcpus * EMR_VCPU.usd + gigabytes * EMR_GB.usd


def idle_costs(endpoints: int, nats: int) -> dict[str, float]:
    """Return the price of an hour for each part of a stage without a run, data not counted.

    Parameters
    ----------
    endpoints : int
        Interface endpoints, counted once for each zone.
    nats : int
        NAT gateways.
    """
    return {
        "account": KEY.usd / HOURS_A_MONTH,
        "network": endpoints * ENDPOINT.usd + nats * NAT.usd,
        "cluster": CONTROL_PLANE.usd,
    }


def usd_text(usd: float) -> str:
    """Return an amount with its currency."""
    return f"{usd:.3f} USD"


def sources() -> str:
    """Return the sentence that names the sources of the prices."""
    return "an estimate from public price lists of 2025-03 to 2026-09, which scripts/cloud/prices.py names"
