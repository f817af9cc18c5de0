"""What a run costs at most: its pods' requests, all there from the first second to the last.

Executors come and go with the work and EC2's nodes are larger than what runs on them, so this is an estimate;
the bill is what counts.
"""

from typing import Final

from scripts.sizes import Size

# US dollars. EMR on EKS, for each vCPU and GB that pods ask for: AWS's price page, its example.
EMR_VCPU_HOUR: Final = 0.01012
EMR_GIB_HOUR: Final = 0.00111125
# EC2 on demand in eu-west-1, a vCPU of c7i with 2 GiB: c7i.xlarge is 0.19152 an hour (apache-libcloud's price
# data, 2025-03). Spot was about half of that; Auto Mode adds its fee, about 12 % of on-demand.
EC2_VCPU_HOUR: Final = 0.19152 / 4
SPOT_SHARE: Final = 0.5
AUTO_MODE_SHARE: Final = 0.12
# EMR bills a minute at least.
LEAST_SECONDS: Final = 60


def hourly(size: Size) -> tuple[float, float]:
    """Return US dollars an hour with executors on Spot, and with all of them on demand."""
    emr = size.cpu * EMR_VCPU_HOUR + size.memory * EMR_GIB_HOUR
    driver = size.driver_cores * EC2_VCPU_HOUR
    executors = (size.cpu - size.driver_cores) * EC2_VCPU_HOUR
    fee = (driver + executors) * AUTO_MODE_SHARE
    return emr + fee + driver + executors * SPOT_SHARE, emr + fee + driver + executors


def by_the_hour(size: Size) -> str:
    """Say what a size costs by the hour."""
    spot, demand = hourly(size)
    return f"${spot:.2f} an hour on Spot, ${demand:.2f} on demand"


def at_most(size: Size, seconds: float) -> str:
    """Say what a run cost at most."""
    spot, demand = (rate * max(seconds, LEAST_SECONDS) / 3600 for rate in hourly(size))
    return f"at most ${spot:.2f} on Spot, ${demand:.2f} on demand, beside the cluster itself"
