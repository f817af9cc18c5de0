"""A run on a cluster of the user's kubeconfig, such as kind, k3s, minikube, or EKS without EMR."""

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from job.errors import UsageError
from job.storage import store
from scripts.cloud import aws_session, run_request
from scripts.cloud.display import Display, utc_time
from scripts.cloud.stage import NAMESPACE
from scripts.kubernetes import base_objects, job_run
from scripts.kubernetes.directions import ClusterDirections
from scripts.kubernetes.ending import print_outcome
from scripts.kubernetes.follow import Follower
from scripts.kubernetes.job_run import JobRun
from scripts.kubernetes.kubectl import Kubectl, KubectlError
from scripts.kubernetes.run_pods import RUN_LABEL

POLL_SECONDS: Final = 2.0
ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
# What Spark made for the driver goes with the driver's pod.
KINDS: Final = "pods,configmaps,secrets,serviceaccounts,roles,rolebindings"


def run(options: argparse.Namespace, job_options: Sequence[str], wait: Callable[[float], None]) -> int:
    """Run the job on the context's cluster, and return its exit code."""
    arguments = _job_arguments(options, job_options)
    image = _image(options.image)
    kubectl = Kubectl(("kubectl", "--context", options.context))
    _check_context(options.context)
    environment = _environment(options.profile)
    endpoint = environment.get("AWS_ENDPOINT_URL")
    display = Display(as_json=False)
    base = base_objects.plain(base_objects.rendered(kubectl))
    kubectl.apply([*base, *base_objects.policies(kubectl, endpoint)])
    display.print_note(f"{utc_time()} namespace {NAMESPACE} is ready on {options.context}")
    plan = job_run.small_plan(options.run_id, environment["AWS_REGION"], image, arguments, options.executors)
    this_run = JobRun(plan, environment, has_pools=False)
    directions = ClusterDirections(f"kubectl --context {options.context}", options.run_id)
    is_kept = False
    try:
        kubectl.apply(this_run.objects())
        outcome = Follower(kubectl, this_run, directions, display, POLL_SECONDS, wait).follow()
        exit_code = print_outcome(outcome, directions)
        is_kept = options.keep
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted: the run is deleted; namespace {NAMESPACE} stays") from None
    finally:
        if not is_kept:
            _delete(kubectl, options.run_id)
    if is_kept:
        _print_kept(directions, options.run_id)
    return exit_code


def _job_arguments(options: argparse.Namespace, job_options: Sequence[str]) -> tuple[str, ...]:
    if not options.input or not options.output:
        raise UsageError("--context needs --input and --output, as s3://bucket/prefix")
    locations = [word for location in options.input for word in ("--input", location)]
    words = [*locations, "--output", options.output, *job_options]
    arguments, settings = run_request.job_arguments(words, options.run_id, "", "")
    assert all(store.is_s3(location) for location in settings.inputs)
    return arguments


def _image(image: str | None) -> str:
    if image is None or "/" not in image:
        raise UsageError(
            "--context needs --image REGISTRY/NAME:TAG, from where the cluster's nodes can fetch it"
        )
    return image


def _check_context(name: str) -> None:
    contexts = Kubectl(("kubectl",)).run("config", "get-contexts", "-o", "name").split()
    if name not in contexts:
        raise UsageError(
            f"there is no context {name} in the kubeconfig: it has {', '.join(contexts) or 'none'}"
        )


def _environment(profile: str | None) -> dict[str, str]:
    """Return the AWS variables of driver and executors."""
    variables = aws_session.variables(profile)
    variables.setdefault("AWS_REGION", aws_session.default_region())
    aws_session.session(profile, variables["AWS_REGION"])  # refuses a region outside the EU
    if endpoint := next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), None):
        variables["AWS_ENDPOINT_URL"] = endpoint
    return variables


def _delete(kubectl: Kubectl, run_id: str) -> None:
    words = ("delete", KINDS, "-n", NAMESPACE, "-l", f"{RUN_LABEL}={run_id}")
    try:
        kubectl.run(*words, "--ignore-not-found", "--wait=false")
    except KubectlError as error:
        command = shlex.join([*kubectl.command, *words])
        print(f"warning: the run's objects may still be there ({error}): {command}", file=sys.stderr)


def _print_kept(directions: ClusterDirections, run_id: str) -> None:
    delete = f"{directions.kubectl} -n {NAMESPACE} delete {KINDS} -l {RUN_LABEL}={run_id}"
    commands: Iterable[str] = (*directions.commands, delete)
    print("\nthe run's pods, with its credentials in a secret, stay until the last of these commands:")
    print("\n".join(f"  {command}" for command in commands), flush=True)
