"""``cluster.sh up``: says what it will make and what that costs, asks, and goes through the steps."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from scripts.cloud import prices
from scripts.cluster import stack_templates, stage_state, up_emr, up_steps
from scripts.cluster.stack_templates import NETWORK
from scripts.cluster.steps import Step, confirm, walk
from scripts.cluster.up_steps import Up


@dataclass(frozen=True)
class Part:
    """A part of a stage: its name, what it is, and the step that makes it."""

    name: str
    makes: str
    do: Callable[[Up], bool]


PARTS: Final = (
    Part("account", "stack {0}: buckets, key, repository, logs, roles", up_steps.account),
    Part("network", "stack {0}-network: private subnets, {1} endpoints, {2} NAT", up_steps.network),
    Part("cluster", "EKS cluster {0} with Auto Mode", up_steps.cluster),
    Part("namespace", "namespace fruits: limits, network policies, pools of nodes", up_steps.namespace),
    Part("virtual cluster", "virtual cluster {0} of EMR", up_emr.virtual_cluster),
    Part("trust", "trust of role {0}-job in the runs' pods", up_emr.trust_policy),
)


def up(step: Up, *, yes: bool, ask: Callable[[str], str]) -> int:
    """Make a stage, or what it lacks, and return the exit code.

    Raises
    ------
    JobError
        With the step that failed, and what was done before it.
    """
    print(f"stage {step.stage.name}, region {step.hands.region}, account {step.aws.account}", flush=True)
    missing = _missing(step)
    _say_plan(step, missing)
    if missing and not step.hands.dry_run:
        confirm("Make it? [y/N]", yes=yes, ask=ask)
    changed = walk([Step(part.name, partial(part.do, step)) for part in PARTS], step.stage.up)
    print()
    if step.hands.dry_run:
        print("dry run: nothing was changed; what stands between < and > is known after an earlier command")
    elif not changed:
        print(f"stage {step.stage.name} is complete: nothing was changed")
    else:
        print(f"stage {step.stage.name} is complete")
    if not step.hands.dry_run:
        _say_next(step)
    return 0


def _missing(step: Up) -> list[str]:
    """Return the names of the steps that have something to do, as far as AWS alone can say."""
    aws, stage = step.aws, step.stage
    names = []
    for wanted, name in zip(step.stacks, ("account", "network"), strict=True):
        if not wanted.is_met(aws, stage_state.stack(aws, wanted.name)):
            names.append(name)
    found = stage_state.cluster(aws, stage)
    if found is None or found["status"] not in ("ACTIVE", "UPDATING"):
        return [*names, *(one.name for one in PARTS[2:])]
    if not stage_state.has_provider(aws, found):
        names.append("cluster")
    known = stage_state.virtual_clusters(aws, stage)
    if not any(one["state"] == "RUNNING" and stage_state.is_of(one, found) for one in known):
        names.append("virtual cluster")
    if not stage_state.is_trusted(aws, stage, found):
        names.append("trust")
    return names


def costs(step: Up) -> tuple[dict[str, float], tuple[int, int]]:
    """Return what each part costs an hour at rest, and the numbers of endpoints and NAT gateways."""
    there = stage_state.stack(step.aws, step.stage.network_stack)
    parameters = {**(there.parameters if there is not None else {}), **step.parameters[NETWORK]}
    counted = stack_templates.hourly(parameters)
    return prices.at_rest(*counted), counted


def _say_plan(step: Up, missing: list[str]) -> None:
    each, counted = costs(step)
    if not missing:
        print(
            "all of it is there; where stacks and namespace differ from k8s/ they are brought in line; of a "
            "cluster that stands only --public-access is changed"
        )
        return
    print("up makes or changes:")
    for one in PARTS:
        if one.name in missing:
            what = one.makes.format(step.stage.cluster, *counted)
            print(f"  {one.name:<16}{what:<68}{prices.money(each.get(one.name, 0.0)):>10} an hour")
    total = sum(each.values())
    print(
        f"the whole stage costs {prices.money(total)} an hour at rest, {total * prices.HOURS_A_MONTH:.0f} "
        "USD a month, and data; nodes come with a run and go after it"
    )
    print(prices.sources())
    if "cluster" in missing:
        where = ", ".join(step.public_access or up_steps.ANYWHERE)
        print(
            f"its API can be called from {where} by whom IAM lets (--public-access narrows that); it takes "
            "about 20 minutes"
        )


def _say_next(step: Up) -> None:
    total = sum(costs(step)[0].values())
    name = step.stage.name
    print(
        f"it costs {prices.money(total)} an hour at rest: ./scripts/cluster.sh down --stage {name} ends that"
    )
    print("next:")
    print("  ./scripts/build-image.sh --release")
    print(f"  ./scripts/push-image.sh --repository {step.stage.cluster}")
    print(f"  ./scripts/submit.sh --stage {name}")
