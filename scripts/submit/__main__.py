"""Start a run on EMR on EKS, follow, cancel or list runs, fetch a report: see ``--help``."""

import argparse
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from job.cli.exits import INTERRUPTED
from job.cli.parser import SentenceParser
from job.cli.settings import new_run_id
from job.errors import UsageError
from job.storage.residency import EU_REGIONS
from scripts.cloud import aws_session
from scripts.cloud.aws_session import CancelledError
from scripts.cloud.exits import Hangup, exit_code_of
from scripts.cloud.run_request import run_name
from scripts.cloud.sizes import SIZES
from scripts.cloud.stage import STAGES, default_stage
from scripts.submit import ending, report
from scripts.submit.submitter import Submitter

EXAMPLE: Final = """\
examples:
  ./scripts/submit.sh                                    all photos of the stage's photos bucket
  ./scripts/submit.sh --size medium -- --variance 0.9    what follows -- goes to the job
  ./scripts/submit.sh --run-id monday --detach           the same name again is the same run
  ./scripts/submit.sh follow monday                      also after a lost connection
  ./scripts/submit.sh report monday                      its report, into report-monday.html here
the job needs nothing more for its Delta table; a Spark job on EMR that reads the table needs this:
  --jars local:///usr/share/aws/delta/lib/delta-spark.jar,local:///usr/share/aws/delta/lib/delta-storage.jar
  --conf spark.sql.extensions=io.delta.sql.DeltaSparkSessionExtension
  --conf spark.sql.catalog.spark_catalog=org.apache.spark.sql.delta.catalog.DeltaCatalog
exit codes: 0 completed, 1 failed, 2 wrong arguments, 3 data not acceptable, 4 would leave the EU,
            5 cancelled, 6 AWS refused or did not answer, 130 no longer watched
"""
COMMANDS_ON_A_RUN: Final = ("follow", "cancel", "report")
COMMANDS: Final = (*COMMANDS_ON_A_RUN, "list")


def main(arguments: Sequence[str] | None = None, wait: Callable[[float], None] = time.sleep) -> int:
    """Run a command of submit.sh and return the exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line without the program's name, by default the process's own.
    wait : callable
        Sleeps for a number of seconds between two requests to AWS.
    """
    command_line = sys.argv[1:] if arguments is None else list(arguments)
    return exit_code_of(lambda: _run_command(command_line, wait))


def _run_command(command_line: list[str], wait: Callable[[float], None]) -> int:
    options = _options(command_line)
    submitter = Submitter(options, aws_session.session(options.profile, options.region), wait)
    if options.command == "list":
        return submitter.print_runs()
    if options.command == "submit":
        new_run = submitter.submit(options.job_arguments)
        return 0 if new_run is None else watch(submitter, new_run)
    run = submitter.find_run(options.run)
    if options.command == "follow":
        return watch(submitter, run)
    if options.command == "report":
        report.fetch(submitter, run, options.to)
        return 0
    submitter.cancel(run)
    try:
        return watch(submitter, run)
    except CancelledError:  # which is what the user wanted
        return 0


def watch(submitter: Submitter, run: dict[str, Any]) -> int:
    """Follow a run to its end and return the exit code; Ctrl-C asks whether to cancel the run."""
    is_cancelling = False
    while True:
        try:
            if is_cancelling:
                is_cancelling = False
                submitter.request_cancellation(run)
            outcome = submitter.follow(run)
            break
        except KeyboardInterrupt as interrupt:
            if isinstance(interrupt, Hangup) or not _is_cancel_wanted(submitter.name(run)):
                print(f"no longer watched, and it goes on: {submitter.follow_command(run)}", file=sys.stderr)
                return INTERRUPTED
            is_cancelling = True
        except BaseException:
            print(f"the run goes on: {submitter.follow_command(run)}", file=sys.stderr)
            raise
    return ending.print_outcome(submitter, outcome)


def _is_cancel_wanted(name: str) -> bool:
    if sys.stdin is None or not sys.stdin.isatty():
        return False
    # The question goes to stderr, because a program may read stdout.
    print(f"\ncancel run {name} (c), or only stop watching (Enter)? ", end="", file=sys.stderr, flush=True)
    try:
        answer = input()
    except (KeyboardInterrupt, EOFError):
        return False
    return answer.strip().lower() in ("c", "cancel")


def _options(command_line: list[str]) -> argparse.Namespace:
    command = command_line[0] if command_line and command_line[0] in COMMANDS else "submit"
    own_arguments, job_arguments = _split_at_dashes(command_line[1:] if command in COMMANDS else command_line)
    parser = SentenceParser(
        prog="./scripts/submit.sh",
        usage="%(prog)s [options] [-- job options]\n"
        "       %(prog)s follow RUN | cancel RUN | report RUN | list [options]",
        description="Start the featurization and PCA run on EMR on EKS, follow it, and fetch its report.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if command in COMMANDS_ON_A_RUN:
        parser.add_argument("run", metavar="RUN", type=run_name, help="a run's name, or EMR's id of it")
    _add_stage_options(parser)
    if command == "report":
        parser.add_argument("--to", metavar="FILE", type=Path, help="default report-RUN.html in this folder")
    if command == "submit":
        _add_run_options(parser)
    options = parser.parse_args(own_arguments)
    options.command, options.job_arguments = command, job_arguments
    if job_arguments and command != "submit":
        raise UsageError(f"{command} takes no job options: {' '.join(job_arguments)}")
    return options


def _add_stage_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    region, stage = aws_session.default_region(), default_stage()
    add("--stage", choices=STAGES, default=stage, help=f"default {stage}")
    add("--profile", metavar="NAME", help="AWS profile (default the environment's)")
    add("--region", default=region, help=f"one of {', '.join(EU_REGIONS)} (default {region})")
    add("--virtual-cluster", metavar="ID", help="where the stage has more than one")
    add("--json", action="store_true", help="one JSON object a line instead of text")
    add("--poll", type=_seconds, default=5.0, metavar="S", help="seconds between two questions (default 5)")


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    size_texts = [f"{size.name}: to {size.photos:,} photos on {size.cores} cores" for size in SIZES.values()]
    add("--size", choices=tuple(SIZES), default="small", help="; ".join(size_texts) + " (default small)")
    add("--image", metavar="TAG", help="tag or digest in the stage's repository (default the newest)")
    add("--run-id", type=run_name, metavar="NAME", default=new_run_id(), help="the run's name (default new)")
    add("--attempts", type=int, choices=range(1, 10), help="starts of the driver (default by size)")
    add("--detach", action="store_true", help="start the run, say how to follow it, and end")
    add("--dry-run", action="store_true", help="check everything, print the request, start nothing")
    add("--ack", action="store_true", help="print the run for ACK's controller, and upload its pod templates")


def _split_at_dashes(arguments: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in arguments:
        return arguments, []
    dashes = arguments.index("--")
    return arguments[:dashes], arguments[dashes + 1 :]


def _seconds(text: str) -> float:
    if re.fullmatch(r"\d{1,4}(\.\d+)?", text) and 1 <= float(text) <= 3600:
        return float(text)
    raise argparse.ArgumentTypeError(f"{text} is not a number of seconds from 1 to 3600")


if __name__ == "__main__":
    sys.exit(main())
