"""A run on a cluster of this machine: photos go into its MinIO, results come back, and all of it ends."""

import argparse
import contextlib
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from job.storage import store
from scripts.cloud import aws_session, run_request
from scripts.cloud.aws_session import ROOT
from scripts.cloud.display import Display, utc_time
from scripts.cloud.run_outcome import RunOutcome
from scripts.fruit import draw
from scripts.kubernetes import base_objects, cluster, job_run, needs, results
from scripts.kubernetes.directions import ClusterDirections
from scripts.kubernetes.ending import print_outcome
from scripts.kubernetes.follow import Follower
from scripts.kubernetes.job_run import JobRun
from scripts.kubernetes.kubectl import Kubectl
from scripts.kubernetes.object_store import ObjectStore

POLL_SECONDS: Final = 1.0
PHOTOS, RESULTS = "photos", "results"
OUTPUT_PREFIX: Final = "fruits"
RESULTS_LOCATION: Final = f"s3://{RESULTS}/{OUTPUT_PREFIX}"
DRAWN: Final = ROOT / "build" / "drawn-fruit"
DEFAULT_OUTPUT: Final = ROOT / "build" / "kubernetes"
WRAPPER: Final = ROOT / "build" / "kubectl"
EXECUTOR_NODE: Final = "executors"
KEEP_SECONDS: Final = 3600.0


def run(options: argparse.Namespace, job_options: Sequence[str], wait: Callable[[float], None]) -> int:
    """Run the job on a new cluster, and return its exit code."""
    display = Display(as_json=False)
    output = Path(options.output).expanduser().absolute() if options.output else DEFAULT_OUTPUT
    folders = [results.photo_folder(text) for text in options.input]
    arguments = _job_arguments(options, job_options, len(folders))
    results.check(output)
    needs.check(options.image)
    if not folders:
        draw.draw_set(DRAWN)
        folders = [DRAWN]
    display.print_note(f"{utc_time()} starting a cluster")
    try:
        with cluster.running([options.image]) as local, _wrapper(local.kubectl_command) as wrapper:
            assert local.object_store is not None
            kubectl = Kubectl(local.kubectl_command)
            directions = ClusterDirections(wrapper, options.run_id)
            display.print_note(f"{utc_time()} the cluster runs; {wrapper} looks at it")
            kubectl.apply(base_objects.rendered(kubectl))
            _upload(local.object_store, folders, display)
            plan = job_run.small_plan(
                options.run_id,
                aws_session.release_value("AWS_REGION"),
                options.image,
                arguments,
                options.executors,
            )
            environment = local.object_store.environment()
            cpu = job_run.executor_cpu(_cores(kubectl), options.executors)
            this_run = JobRun(plan, environment, executor_cpu=cpu)
            kubectl.apply(this_run.objects())
            follower = Follower(kubectl, this_run, directions, display, POLL_SECONDS, wait)
            outcome = follower.follow()
            if outcome.run["state"] == "COMPLETED":
                results.fetch(local.object_store, RESULTS, OUTPUT_PREFIX, output)
            exit_code = print_outcome(
                outcome, directions, lambda text: text.replace(RESULTS_LOCATION, str(output))
            )
            _print_report(outcome, output)
            if options.keep:
                _keep(directions, local.object_store, wait)
            return exit_code
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted: the run and its cluster have ended") from None


def _job_arguments(options: argparse.Namespace, job_options: Sequence[str], folders: int) -> tuple[str, ...]:
    inputs = [word for number in range(folders) for word in ("--input", _photo_location(number, folders))]
    arguments, _ = run_request.job_arguments(
        [*inputs, *job_options], options.run_id, _photo_location(0, 1), RESULTS_LOCATION
    )
    return arguments


def _photo_prefix(number: int, folders: int) -> str:
    return PHOTOS if folders == 1 else f"{PHOTOS}/{number + 1}"


def _photo_location(number: int, folders: int) -> str:
    return f"s3://{PHOTOS}/{_photo_prefix(number, folders)}"


def _upload(object_store: ObjectStore, folders: Sequence[Path], display: Display) -> None:
    object_store.make_bucket(PHOTOS)
    object_store.make_bucket(RESULTS)
    for number, folder in enumerate(folders):
        files = object_store.upload(folder, PHOTOS, _photo_prefix(number, len(folders)))
        display.print_note(f"{utc_time()} {files:,} files of {folder} are in the cluster's S3")


def _cores(kubectl: Kubectl) -> float:
    """Return the cores of the executors' node."""
    node = kubectl.get("node", EXECUTOR_NODE)
    assert node is not None
    cpu = str(node["status"]["allocatable"]["cpu"])
    return float(cpu.removesuffix("m")) / 1000 if cpu.endswith("m") else float(cpu)


@contextlib.contextmanager
def _wrapper(command: Sequence[str]) -> Iterator[str]:
    """Write a kubectl for the cluster, for people, and return how to call it; it goes with the cluster."""
    WRAPPER.parent.mkdir(exist_ok=True)
    WRAPPER.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    WRAPPER.chmod(0o755)
    prefix = "sudo " if shutil.which("sudo") else ""
    try:
        yield f"{prefix}{WRAPPER}"
    finally:
        WRAPPER.unlink(missing_ok=True)


def _print_report(outcome: RunOutcome, output: Path) -> None:
    if report := (outcome.summary or {}).get("report"):
        print(
            f"report: {Path(store.join(str(output), report)).as_uri()}, to open in a browser", file=sys.stderr
        )


def _keep(directions: ClusterDirections, object_store: ObjectStore, wait: Callable[[float], None]) -> None:
    """Keep the cluster until Ctrl-C, and say how to look at it."""
    print(
        f"\nthe cluster stays until Ctrl-C here, with the run's pods and its S3 at {object_store.url}; look:"
    )
    print("\n".join(f"  {command}" for command in directions.commands), flush=True)
    try:
        while True:
            wait(KEEP_SECONDS)
    except KeyboardInterrupt:
        print("\nthe cluster has ended", file=sys.stderr)
