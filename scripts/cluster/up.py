"""``cluster.sh up``: prints what it will create and its cost, asks for confirmation, and runs the steps."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from botocore.exceptions import ClientError

from job.errors import UsageError
from scripts.cloud import prices, quotas
from scripts.cloud.sizes import SIZES
from scripts.cloud.stage import find_stack
from scripts.cluster import access, smoke_test, stack_templates, stage_state, up_emr, up_steps
from scripts.cluster.stack_templates import ACCOUNT, NETWORK
from scripts.cluster.stage_state import NOT_FOUND
from scripts.cluster.steps import Step, confirm, run_steps
from scripts.cluster.up_steps import Creation


@dataclass(frozen=True)
class Part:
    """A part of a stage: its name, its description, and the step that creates it."""

    name: str
    description: str
    run: Callable[[Creation], bool]


PARTS: Final = (
    Part("account", "stack {0}: buckets, key, repository, logs, roles", up_steps.account),
    Part("network", "stack {0}-network: {3} interface endpoints in {4} zones, {2} NAT", up_steps.network),
    Part("cluster", "EKS cluster {0} with Auto Mode", up_steps.cluster),
    Part("namespace", "namespace fruits: limits, network policies, pools of nodes", up_steps.namespace),
    Part("virtual cluster", "virtual cluster {0} of EMR", up_emr.virtual_cluster),
    Part("trust", "lets the runs' pods assume role {0}-job", up_emr.trust_policy),
    Part("smoke test", "a pod on a drivers' node reaches AWS, for some minutes", smoke_test.first_check),
)


def up(creation: Creation, *, yes: bool, ask: Callable[[str], str]) -> int:
    """Create a stage, or the parts that it lacks, and return the exit code.

    Raises
    ------
    JobError
        With the step that failed, and what was done before it.
    """
    stage, tools = creation.stage, creation.tools
    print(f"stage {stage.name}, region {tools.region}, account {creation.aws.account}", flush=True)
    access.refuse_missing_role(creation.aws, creation.admin_role)
    _refuse_budget_without_address(creation)
    missing = _missing(creation)
    _print_plan(creation, missing)
    if missing and not creation.tools.dry_run:
        confirm("Make it? [y/N]", yes=yes, ask=ask)
    changed = run_steps([Step(part.name, partial(part.run, creation)) for part in PARTS], creation.command)
    print()
    if creation.tools.dry_run:
        print("dry run: nothing was changed; what stands between < and > is known after an earlier command")
    elif not changed:
        print(f"stage {creation.stage.name} is complete: nothing was changed")
    else:
        print(f"stage {creation.stage.name} is complete")
    if not creation.tools.dry_run:
        _print_next_steps(creation)
    return 0


def _refuse_budget_without_address(creation: Creation) -> None:
    """Check that a budget has somebody to report to: without AlarmEmail, the template makes none."""
    stack = find_stack(creation.aws.cloudformation, creation.stage.account_stack)
    parameters = {**(stack.parameters if stack is not None else {}), **creation.parameters[ACCOUNT]}
    if float(parameters.get("BudgetUsd", 0)) and not parameters.get("AlarmEmail"):
        raise UsageError(
            "BudgetUsd without AlarmEmail makes no budget: add --parameter AlarmEmail=you@example.org, "
            "or set --parameter BudgetUsd=0"
        )


def _missing(creation: Creation) -> list[str]:
    """Return the names of the steps that have something to do, as far as AWS and the namespace show."""
    aws, stage = creation.aws, creation.stage
    names = []
    for stack, name in zip(creation.stacks, ("account", "network"), strict=True):
        if not stack.is_met(aws, find_stack(aws.cloudformation, stack.name)):
            names.append(name)
    eks = stage_state.cluster(aws, stage)
    if eks is None or eks["status"] not in ("ACTIVE", "UPDATING"):
        return [*names, *(virtual.name for virtual in PARTS[2:])]
    if not stage_state.has_identity_provider(aws, eks):
        names.append("cluster")
    existing = stage_state.virtual_clusters(aws, stage)
    if not any(
        virtual["state"] == "RUNNING" and stage_state.belongs_to(virtual, eks) for virtual in existing
    ):
        names.append("virtual cluster")
    if not stage_state.is_trusted(aws, stage, eks):
        names.append("trust")
    if smoke_test.last_success(creation.tools) is None:
        names.append("smoke test")
    return names


def hourly_costs(creation: Creation) -> tuple[dict[str, float], tuple[int, int]]:
    """Return each part's US dollars an hour without a run, and the numbers of endpoints and NAT gateways."""
    network = find_stack(creation.aws.cloudformation, creation.stage.network_stack)
    parameters = {**(network.parameters if network is not None else {}), **creation.parameters[NETWORK]}
    counts = stack_templates.billed_resources(parameters)
    return prices.idle_costs(*counts), counts


def _print_plan(creation: Creation, missing: list[str]) -> None:
    costs, counts = hourly_costs(creation)
    zones = stack_templates.endpoint_zones()
    _print_shortages(creation)
    _print_missing_spot_role(creation)
    if not missing:
        print(
            "all of it is there; where stacks and namespace differ from k8s/ they are brought in line; "
            "--public-access and --admin-role are changed, an existing cluster keeps its other settings"
        )
        return
    print("up makes or changes:")
    for part in PARTS:
        if part.name in missing:
            description = part.description.format(
                creation.stage.cluster, *counts, len(zones), max(zones, default=0)
            )
            cost = f"{prices.usd_text(costs.get(part.name, 0.0)):>10} an hour"
            print(f"  {part.name:<16}{description:<68}{'some cents' if part.name == 'smoke test' else cost}")
    total = sum(costs.values())
    print(
        f"the whole stage costs {prices.usd_text(total)} an hour at rest, {total * prices.HOURS_A_MONTH:.0f} "
        "USD a month, and data; nodes come with a run and go after it"
    )
    print(prices.sources())
    if "cluster" in missing:
        networks = ", ".join(creation.public_access or up_steps.ANYWHERE)
        print(
            f"its API can be called from {networks} by whom IAM lets (--public-access narrows that); it "
            "takes about 25 minutes"
        )


def _print_shortages(creation: Creation) -> None:
    """Print the account's vCPU quotas that the smallest and the largest size of the stage do not fit."""
    for name in ("small", creation.stage.largest_size):
        for shortage in quotas.account_shortages(creation.aws.session, SIZES[name], creation.stage):
            print(f"note: {shortage.sentence}")


def _print_missing_spot_role(creation: Creation) -> None:
    """Print the command that makes EC2's role for Spot, if the account lacks it."""
    profile = f" --profile {creation.tools.profile}" if creation.tools.profile else ""
    command = f"aws iam create-service-linked-role --aws-service-name spot.amazonaws.com{profile}"
    try:
        creation.aws.iam.get_role(RoleName="AWSServiceRoleForEC2Spot")
    except ClientError as error:
        if error.response["Error"]["Code"] in NOT_FOUND:
            print(f"note: this account has no role for Spot, so executors get no Spot nodes: {command}")
        else:
            print(f"note: whether this account has its role for Spot cannot be seen; if not: {command}")


def _print_next_steps(creation: Creation) -> None:
    total = sum(hourly_costs(creation)[0].values())
    name = creation.stage.name
    down = f"./scripts/cluster.sh down --stage {name}"
    print(f"it costs {prices.usd_text(total)} an hour at rest: {down} ends that")
    print("next:")
    print("  ./scripts/build-image.sh --release")
    print(f"  ./scripts/push-image.sh --stage {name}")
    print(f"  ./scripts/submit.sh --stage {name}")
