"""Create, check, show and remove a stage of Fruits! on AWS: see ``--help``.

boto3 only reads. Every change is a command of aws, eksctl or kubectl, printed before it runs, so that a user
can check it or type it. Emptying buckets is the exception: the CLI has no command for it.
"""

import argparse
import ipaddress
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

from job.cli.parser import SentenceParser
from job.errors import UsageError
from scripts.cloud import aws_session
from scripts.cloud.exits import exit_code_of
from scripts.cloud.stage import STAGES, Stage, default_stage
from scripts.cluster import access, cluster_tools, down, smoke_test, stack_templates, status, up
from scripts.cluster.cluster_tools import Tools
from scripts.cluster.down import Removal
from scripts.cluster.stage_state import AwsClients
from scripts.cluster.up_steps import Creation

EXAMPLES: Final = """
exit codes: 0 done, 1 failed, 2 wrong arguments or not confirmed, 4 outside the EU, 6 AWS refused
or no credentials, 130 interrupted
"""


def main(
    arguments: Sequence[str] | None = None,
    *,
    run: cluster_tools.RunCommand = cluster_tools.run_command,
    pause: Callable[[float], None] = time.sleep,
    ask: Callable[[str], str] = input,
) -> int:
    """Run a subcommand and return the exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line without the program's name; the process's own by default.
    run, pause, ask : callable
        Run a command, sleep for some seconds, and ask the user a question.
    """
    return exit_code_of(lambda: _run_command(arguments, run, pause, ask))


def _run_command(
    arguments: Sequence[str] | None,
    run: cluster_tools.RunCommand,
    pause: Callable[[float], None],
    ask: Callable[[str], str],
) -> int:
    options = _parse(arguments)
    session = aws_session.session(options.profile, options.region)
    if options.region != aws_session.release_value("AWS_REGION"):
        raise UsageError(
            f"k8s/ is written for {aws_session.release_value('AWS_REGION')}, not for {options.region}"
        )
    dry_run = bool(getattr(options, "dry_run", False))
    if options.command != "status" and not dry_run:
        names = ("aws", "kubectl") if options.command == "check" else ("aws", "eksctl", "kubectl")
        cluster_tools.require_tools(names, run)
    tools = Tools(Stage(options.stage), options.region, options.profile, dry_run, run, pause)
    if options.command == "up":
        parameters = stack_templates.parameters(options.parameter)
        public_access, admin_role = _cidrs(options.public_access), access.role_arn(options.admin_role)
    aws = AwsClients.from_session(session)
    if options.command == "status":
        return status.status(tools, aws, as_json=options.json)
    if options.command == "check":
        return smoke_test.check(tools, aws)
    if options.command == "down":
        removal = Removal(tools, aws, options.delete_data, options.without_kubectl, _resume_command(options))
        return down.down(removal, yes=options.yes, ask=ask)
    creation = Creation(tools, aws, parameters, public_access, admin_role, _resume_command(options))
    return up.up(creation, yes=options.yes, ask=ask)


def _resume_command(options: argparse.Namespace) -> str:
    """Return the command line with the options that decide what is made or removed."""
    words = ["./scripts/cluster.sh", options.command, "--stage", options.stage]
    for name, value in vars(options).items():
        if name in ("command", "stage", "yes", "dry_run") or not value:
            continue
        if name == "region" and value == aws_session.default_region():
            continue
        flag = f"--{name.replace('_', '-')}"
        for item in value if isinstance(value, list) else [value]:
            words += [flag] if item is True else [flag, str(item)]
    return shlex.join(words)


def _cidrs(text: str | None) -> tuple[str, ...] | None:
    """Parse the networks that may call the cluster's API."""
    if text is None:
        return None
    try:
        return tuple(str(ipaddress.ip_network(cidr)) for cidr in text.split(","))
    except ValueError as error:
        raise UsageError(f"--public-access {text}: {error}") from None


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    region, stage = aws_session.default_region(), default_stage()
    parser = SentenceParser(
        prog="./scripts/cluster.sh",
        description="Make, check, show and remove a stage of Fruits! on AWS.",
        epilog=EXAMPLES,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="up|check|status|down")
    common = SentenceParser(add_help=False, allow_abbrev=False)
    common.add_argument("--stage", choices=STAGES, default=stage, help=f"(default {stage})")
    common.add_argument("--profile", metavar="NAME", help="AWS profile (default the environment's)")
    common.add_argument("--region", default=region, help=f"(default {region})")
    confirmation = SentenceParser(add_help=False, allow_abbrev=False)
    confirmation.add_argument("--yes", action="store_true", help="do not ask")
    confirmation.add_argument(
        "--dry-run", action="store_true", help="show every command, run none that changes anything"
    )
    add = commands.add_parser
    up_parser = add(
        "up", help="make the stage, or what it lacks", parents=[common, confirmation], allow_abbrev=False
    )
    up_parser.add_argument(
        "--public-access", metavar="CIDR,…",
        help="from where the cluster's API may be called (default 0.0.0.0/0, or what a cluster there has)",
    )  # fmt: skip
    up_parser.add_argument(
        "--admin-role", metavar="ARN",
        help="a role whose people may use the cluster with kubectl, and so run up, check and down",
    )  # fmt: skip
    up_parser.add_argument(
        "--parameter", metavar="NAME=VALUE", action="append", default=[],
        help="a parameter of k8s/account.yaml or k8s/network.yaml, e.g. Nat=yes; may be repeated",
    )  # fmt: skip
    add(
        "check",
        help="run the smoke test: a pod on a drivers' node, new if none has room, reaches AWS",
        parents=[common],
        allow_abbrev=False,
    )
    status_parser = add(
        "status", help="show what there is, runs and costs", parents=[common], allow_abbrev=False
    )
    status_parser.add_argument("--json", action="store_true", help="as one JSON object")
    down_parser = add(
        "down", help="remove the stage, not its data", parents=[common, confirmation], allow_abbrev=False
    )
    down_parser.add_argument("--delete-data", action="store_true", help="buckets, images, logs and key too")
    down_parser.add_argument(
        "--without-kubectl", action="store_true", help="remove a cluster whose API cannot be reached"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
