"""Make, show and remove a stage of Fruits! on AWS: see ``--help``.

Everything that changes something is a command of aws, eksctl or kubectl that is shown before it runs, so that
it can be explained, and typed by hand; boto3 looks. The one exception is the emptying of buckets.
"""

import argparse
import ipaddress
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

from job.cli.arguments import SentenceParser
from job.errors import UsageError
from scripts.cloud import aws_session
from scripts.cloud.aws_session import hanging_up
from scripts.cloud.stage import STAGES, Stage
from scripts.cluster import cluster_tools, down, stack_templates, status, up
from scripts.cluster.cluster_tools import Hands
from scripts.cluster.down import Down
from scripts.cluster.stage_state import Aws
from scripts.cluster.up_steps import Up

INTERRUPTED: Final = 130
EXAMPLES: Final = """
exit codes: 0 done, 1 failed, 2 wrong arguments or not confirmed, 4 outside the EU, 6 AWS refused,
130 interrupted
"""


def main(
    arguments: Sequence[str] | None = None,
    *,
    run: cluster_tools.Run = cluster_tools.run,
    pause: Callable[[float], None] = time.sleep,
    ask: Callable[[str], str] = input,
) -> int:
    """Do what the arguments say and return the exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line without the program's name; the process's own by default.
    run, pause, ask : callable
        How commands are run, time is passed and people are asked.
    """
    try:
        with hanging_up():
            return aws_session.answer(lambda: _do(arguments, run, pause, ask))
    except KeyboardInterrupt as error:
        print(f"error: {error or 'interrupted'}", file=sys.stderr)
        return INTERRUPTED


def _do(
    arguments: Sequence[str] | None,
    run: cluster_tools.Run,
    pause: Callable[[float], None],
    ask: Callable[[str], str],
) -> int:
    given = _parse(arguments)
    session = aws_session.session(given.profile, given.region)
    if given.region != aws_session.release("AWS_REGION"):
        raise UsageError(f"k8s/ is written for {aws_session.release('AWS_REGION')}, not for {given.region}")
    dry_run = bool(getattr(given, "dry_run", False))
    if given.command != "status" and not dry_run:
        cluster_tools.require(("aws", "eksctl", "kubectl"), run)
    hands = Hands(Stage(given.stage), given.region, given.profile, dry_run, run, pause)
    if given.command == "up":
        parameters = stack_templates.parameters(given.parameter)
        public_access = _networks(given.public_access)
    aws = Aws.of(session)
    if given.command == "status":
        return status.status(hands, aws, as_json=given.json)
    if given.command == "down":
        step = Down(hands, aws, given.delete_data, given.without_kubectl)
        return down.down(step, yes=given.yes, ask=ask)
    return up.up(Up(hands, aws, parameters, public_access), yes=given.yes, ask=ask)


def _networks(given: str | None) -> tuple[str, ...] | None:
    """Read what may call the cluster's API."""
    if given is None:
        return None
    try:
        return tuple(str(ipaddress.ip_network(one)) for one in given.split(","))
    except ValueError as error:
        raise UsageError(f"--public-access {given}: {error}") from None


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    region = aws_session.default_region()
    parser = SentenceParser(
        prog="./scripts/cluster.sh",
        description="Make, show and remove a stage of Fruits! on AWS.",
        epilog=EXAMPLES,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="up|status|down")
    every = SentenceParser(add_help=False, allow_abbrev=False)
    every.add_argument("--stage", choices=STAGES, default="dev", help="(default dev)")
    every.add_argument("--profile", metavar="NAME", help="AWS profile (default the environment's)")
    every.add_argument("--region", default=region, help=f"(default {region})")
    acting = SentenceParser(add_help=False, allow_abbrev=False)
    acting.add_argument("--yes", action="store_true", help="do not ask")
    acting.add_argument(
        "--dry-run", action="store_true", help="show every command, run none that changes anything"
    )
    add = commands.add_parser
    making = add("up", help="make the stage, or what it lacks", parents=[every, acting], allow_abbrev=False)
    making.add_argument(
        "--public-access", metavar="CIDR,…",
        help="from where the cluster's API may be called (default 0.0.0.0/0, or what a cluster there has)",
    )  # fmt: skip
    making.add_argument(
        "--parameter", metavar="NAME=VALUE", action="append", default=[],
        help="a parameter of k8s/account.yaml or k8s/network.yaml, e.g. Nat=yes; may be repeated",
    )  # fmt: skip
    looking = add("status", help="show what there is, runs and costs", parents=[every], allow_abbrev=False)
    looking.add_argument("--json", action="store_true", help="as one JSON object")
    removing = add("down", help="remove the stage, not its data", parents=[every, acting], allow_abbrev=False)
    removing.add_argument("--delete-data", action="store_true", help="buckets, images, logs and key too")
    removing.add_argument(
        "--without-kubectl", action="store_true", help="remove a cluster whose API cannot be reached"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
