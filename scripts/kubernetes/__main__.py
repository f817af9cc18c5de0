"""Run the job on a Kubernetes without EMR, as EMR would run it there: see ``--help``."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

from job.cli.parser import SentenceParser
from job.cli.settings import new_run_id, parse_settings
from job.errors import UsageError
from scripts.cloud.docker_engine import DEFAULT_IMAGE
from scripts.cloud.exits import exit_code_of
from scripts.cloud.run_request import run_name
from scripts.kubernetes import local_run, other_run

# The namespace's quota in k8s/overlays/dev holds no more.
MOST_EXECUTORS: Final = 24
EPILOG: Final = """\
All other options are the job's; --job-help lists them.

  sudo ./scripts/run-kubernetes.sh               drawn fruit on a local cluster; report in build/kubernetes
  sudo ./scripts/run-kubernetes.sh --input photos --output results --variance 0.9 --keep
  ./scripts/run-kubernetes.sh --context kind --image localhost:5001/fruits:latest \\
    --input s3://my-photos/2026 --output s3://my-results/2026

A local cluster is a real Kubernetes in networks of its own, with MinIO for S3. Its programs are built with
Go on first use (about 10 minutes, 8 GB of Go's caches). It needs root, Docker with the image, and Debian's
packages containerd runc containernetworking-plugins iptables ipset iproute2. It ends with this command.
With --context, any cluster of your kubeconfig runs the job: S3 takes the AWS settings of this shell, such as
AWS_ENDPOINT_URL. The namespace fruits, its quotas and policies, and two priority classes stay there.
exit codes: 0 completed, 1 failed, 2 wrong arguments or something is missing here, 3 data not acceptable,
            4 would leave the EU, 6 no AWS credentials, 130 interrupted
"""


def main(arguments: Sequence[str] | None = None, wait: Callable[[float], None] = time.sleep) -> int:
    """Run the job on a cluster and return its exit code; 130 after Ctrl-C, which ends what was started.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line without the program's name, by default the process's own.
    wait : callable
        Sleeps for a number of seconds between two questions to the cluster.
    """
    command_line = sys.argv[1:] if arguments is None else list(arguments)
    return exit_code_of(lambda: _run(command_line, wait))


def _run(command_line: Sequence[str], wait: Callable[[float], None]) -> int:
    options, job_options = _options(command_line)
    if options.job_help:
        parse_settings(["--help"], {})
    if options.context is None:
        return local_run.run(options, job_options, wait)
    return other_run.run(options, job_options, wait)


def _options(command_line: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return this command's options and those of the job."""
    parser = SentenceParser(
        prog="./scripts/run-kubernetes.sh",
        usage="%(prog)s [options] [job options]",
        description="Run the image on Kubernetes as EMR on EKS does, follow it, and bring the results back.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    image = os.environ.get("FRUITS_IMAGE") or DEFAULT_IMAGE
    add(
        "--input",
        action="append",
        default=[],
        metavar="FOLDER",
        help="photos; repeatable (default drawn fruit)",
    )
    add(
        "--output",
        metavar="FOLDER",
        help="for the results, replacing earlier ones (default build/kubernetes)",
    )
    add("--executors", type=_executors, default=2, metavar="N", help="executors at most (default 2)")
    add("--image", metavar="NAME", help=f"image of this machine's Docker (default {image})")
    add("--run-id", type=run_name, metavar="NAME", default=new_run_id(), help="the run's name (default new)")
    add("--keep", action="store_true", help="keep the cluster, or the run's objects, to look at")
    add("--context", metavar="NAME", help="run on this cluster of your kubeconfig; locations are then s3://")
    add("--profile", metavar="NAME", help="AWS profile for S3 with --context (default the environment's)")
    add("--job-help", action="store_true", help="list the job's own options")
    options, job_options = parser.parse_known_args([word for word in command_line if word != "--"])
    if options.context is None:
        options.image = options.image or image
        if options.profile:
            raise UsageError("--profile is for S3 with --context: a local cluster has its own S3")
    return options, job_options


def _executors(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text) <= MOST_EXECUTORS:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of executors from 1 to {MOST_EXECUTORS}")


if __name__ == "__main__":
    sys.exit(main())
