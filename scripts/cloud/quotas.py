"""Compares the vCPU quotas of an account with the vCPUs that a size of run needs.

EC2 counts the vCPUs of all standard instances of a region, on demand and on Spot apart; a new account may
have 5 of each. When a quota is used up, Karpenter tries again without end: the run waits for executors, and
its driver's node costs money all the while.
"""

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from scripts.cloud import manifests, sizes
from scripts.cloud.sizes import Size
from scripts.cloud.stage import Stage

if TYPE_CHECKING:
    from boto3 import Session

# In Service Quotas "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances" and "All Standard (…)
# Spot Instance Requests".
ON_DEMAND: Final = "L-1216C47A"
SPOT: Final = "L-34B43A08"
# Most runs fit, so nobody waits long for the answer.
IMPATIENT: Final = Config(
    retries={"mode": "standard", "total_max_attempts": 2}, connect_timeout=3, read_timeout=10
)
# The vCPUs of a node that its kubelet keeps: 0.08 of 4 (EKS's formula).
KUBELET_CPU: Final = 0.1


@dataclass(frozen=True, slots=True)
class VcpuQuotas:
    """The vCPUs that an account may run at once in a region."""

    on_demand: float
    spot: float


@dataclass(frozen=True, slots=True)
class Shortage:
    """A quota that a run does not fit; ``is_blocking`` if the run could not do any work."""

    sentence: str
    is_blocking: bool


def account_shortages(session: "Session", size: Size, stage: Stage) -> list[Shortage]:
    """Return the quotas of a session's account and region that a size does not fit on a stage.

    If AWS does not tell the quotas, one shortage that does not block says what the size needs.
    """
    try:
        client: Any = session.client("service-quotas", config=IMPATIENT)
        quotas = vcpu_quotas(client)
    except (BotoCoreError, ClientError, ResponseParserError, KeyError) as error:
        code = error.response["Error"].get("Code") if isinstance(error, ClientError) else None
        reason = code or type(error).__name__
        return [Shortage(f"the vCPU quotas cannot be read ({reason}); {need_text(size)}", is_blocking=False)]
    profile = None if session.profile_name == "default" else session.profile_name
    return shortages(size, quotas, stage, session.region_name, profile)


def vcpu_quotas(client: Any) -> VcpuQuotas:
    """Return the quotas of an account; ``client`` is one of Service Quotas.

    Raises
    ------
    BotoCoreError, ClientError
        If AWS refuses or does not answer.
    KeyError
        If the answer has no quota, as a proxy's page.
    """

    def value(code: str) -> float:
        return float(client.get_service_quota(ServiceCode="ec2", QuotaCode=code)["Quota"]["Value"])

    return VcpuQuotas(value(ON_DEMAND), value(SPOT))


def driver_vcpus(size: Size) -> int:
    """Return the vCPUs of the nodes of a run's job-runner and driver together."""
    return sum(driver_nodes(size))


def driver_nodes(size: Size) -> list[int]:
    """Return the vCPUs of each node of a run's job-runner and driver, which are on demand.

    The job-runner comes first and gets the smallest node. The driver shares that node if it fits.
    """
    nodes = node_sizes("drivers")
    shared = nodes[0]
    driver_cpu = size.driver_cores + sizes.SIDECAR_CPU
    if driver_cpu + sizes.JOB_RUNNER_CPU <= shared - KUBELET_CPU:
        return [shared]
    return [shared, next(vcpus for vcpus in nodes if driver_cpu <= vcpus - KUBELET_CPU)]


def executor_vcpus(size: Size) -> int:
    """Return the vCPUs of the nodes of all executors of a run: one a worker."""
    return max(size.cores, node_sizes("executors-spot")[0])


def executors_within(vcpus: float) -> int:
    """Return how many executors fit into so many vCPUs of nodes."""
    return max(int(vcpus // sizes.EXECUTOR_CORES), 0)


def executor_vcpus_on_demand(stage: Stage) -> int:
    """Return the vCPUs on demand that a stage lets executors have, where Spot has none."""
    pool = manifests.load(f"overlays/{stage.name}/pool-executors-on-demand.yaml")
    return int(pool["spec"]["limits"]["cpu"])


def node_sizes(pool: str) -> list[int]:
    """Return the vCPUs of the nodes that a pool of ``k8s/base`` takes, the smallest first."""
    requirements = manifests.load(f"base/pool-{pool}.yaml")["spec"]["template"]["spec"]["requirements"]
    return sorted(
        int(value)
        for requirement in requirements
        if requirement["key"] == "eks.amazonaws.com/instance-cpu"
        for value in requirement["values"]
    )


def need_text(size: Size) -> str:
    """Return the sentence for the vCPUs that a size needs."""
    return (
        f"size {size.name} needs {driver_vcpus(size)} vCPUs on demand for its driver and "
        f"{executor_vcpus(size)} on Spot for {size.executors} executors"
    )


def shortages(
    size: Size, quotas: VcpuQuotas, stage: Stage, region: str, profile: str | None = None
) -> list[Shortage]:
    """Return the quotas that a size does not fit, each with the command that asks AWS for more.

    What runs in the account already counts for the quotas too, and is not known here.
    """
    driver, executors = driver_vcpus(size), executor_vcpus(size)
    account = ["--region", region, *(["--profile", profile] if profile else [])]
    found = []
    if quotas.on_demand < driver:
        effect = f"the quota of {quotas.on_demand:g} vCPUs on demand is too small for a driver"
        request = _increase_text(size, ON_DEMAND, driver, account)
        found.append(Shortage(f"{effect}: {request}", is_blocking=True))
    if quotas.spot < executors:
        request = _increase_text(size, SPOT, executors, account)
        effect, possible = _spot_effect(size, quotas, executor_vcpus_on_demand(stage))
        found.append(Shortage(f"{effect}: {request}", is_blocking=not possible))
    return found


def _spot_effect(size: Size, quotas: VcpuQuotas, on_demand_limit: int) -> tuple[str, int]:
    """Return what too small a quota on Spot means for a run, and how many executors are possible.

    Karpenter uses the pool on demand where EC2 refuses Spot.
    """
    on_spot, rest = executors_within(quotas.spot), quotas.on_demand - driver_vcpus(size)
    possible = on_spot + executors_within(min(rest, on_demand_limit))
    if possible >= size.executors:
        effect = f"let {'some' if on_spot else 'all'} executors run on demand only, at about twice the price"
    elif possible:
        effect = f"let {possible} of {size.executors} executors run, so the run takes longer"
    else:
        effect = "hold no executor"
    limit = f", of which executors may have {on_demand_limit}," if on_demand_limit < rest else ""
    return (
        f"the quotas of {quotas.spot:g} vCPUs on Spot and {quotas.on_demand:g} on demand{limit} {effect}",
        possible,
    )


def _increase_text(size: Size, code: str, vcpus: int, account: list[str]) -> str:
    command = [
        *("aws", "service-quotas", "request-service-quota-increase", "--service-code", "ec2"),
        *("--quota-code", code, "--desired-value", str(vcpus), *account),
    ]
    return f"{need_text(size)}; ask for more: {shlex.join(command)}"
