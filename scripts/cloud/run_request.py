"""Builds a run's StartJobRun request from the template k8s/emr/job-run.yaml, without calling AWS."""

import argparse
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from job.cli.settings import Settings, parse_settings
from job.errors import UsageError
from scripts.cloud import manifests, request_check, run_cost, sizes
from scripts.cloud.aws_session import release_value
from scripts.cloud.sizes import Size

# Spark's own limit is twice the executors. A small run may have more: a task may fail eight times, and end an
# executor each time.
MIN_EXECUTOR_FAILURES: Final = 20
# Characters that EMR accepts in no argument (StartJobRun's documentation).
FORBIDDEN_CHARACTERS: Final = re.compile(r"[(){}\[\]]")
# Options of the job that mean nothing in a pod, or that would hide the run from submit.sh.
REFUSED_OPTIONS: Final = {
    "--run-id": "give it before --, it names the run for EMR too",
    "--log-format": "a run in the cloud writes JSON, which is shown as text here",
    "--cache": "the image has its own",
    "--weights": "the image has them, verified",
    "--help": "see .venv/bin/python -m job --help",
    "--version": "the image's tag is its revision",
}
RUN_NAME: Final = re.compile("[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
POD_TEMPLATES: Final = ("driver-pod.yaml", "executor-pod.yaml")


@dataclass(frozen=True, slots=True)
class Plan:
    """The settings of a run to start.

    ``stack_outputs`` are the outputs of the account's stack; ``image`` is ``repository@sha256:…``.
    """

    run_id: str
    stage: str
    region: str
    size: Size
    virtual_cluster: str
    image: str
    stack_outputs: Mapping[str, str]
    arguments: tuple[str, ...]

    @property
    def submission_prefix(self) -> str:
        """The place of the run's pod templates, where its role may read and its submitter may write."""
        return f"s3://{self.stack_outputs['ResultsBucket']}/submissions/{self.run_id}"

    @property
    def client_token(self) -> str:
        """The client token: EMR starts one run for it, however often the request is sent."""
        return hashlib.sha256(f"{self.virtual_cluster}/{self.run_id}".encode()).hexdigest()

    def template_values(self) -> dict[str, Any]:
        """Return the values for the templates in k8s/emr."""
        size = self.size
        return {
            **self.stack_outputs,
            "RunName": self.run_id,
            "ClientToken": self.client_token,
            "VirtualClusterId": self.virtual_cluster,
            "ReleaseLabel": f"emr-{release_value('EMR_RELEASE')}-latest",
            "Stage": self.stage,
            "Region": self.region,
            "Image": self.image,
            "JobArguments": list(self.arguments),
            "SubmissionPrefix": self.submission_prefix,
            "Size": size.name,
            "DriverCores": size.driver_cores,
            "DriverHeap": size.driver_heap,
            "DriverOverhead": size.driver_overhead,
            "Executors": size.executors,
            "ExecutorFailures": max(MIN_EXECUTOR_FAILURES, 2 * size.executors),
            "ExecutorCores": sizes.EXECUTOR_CORES,
            "ExecutorCpu": f"{sizes.EXECUTOR_CPU * 1000:.0f}m",
            "ExecutorHeap": sizes.EXECUTOR_HEAP,
            "ExecutorOverhead": sizes.EXECUTOR_OVERHEAD,
            "ExecutorLogging": "ENABLED" if size.logs_executors else "DISABLED",
            "Attempts": size.attempts,
            "HourlyCost": f"{run_cost.hourly(size)[0]:.3f}",
        }


def request(plan: Plan) -> dict[str, Any]:
    """Return the request for a run.

    Raises
    ------
    UsageError
        If EMR's own model would refuse it.
    """
    body: dict[str, Any] = manifests.fill(manifests.load("emr/job-run.yaml"), plan.template_values())
    request_check.check("emr-containers", "StartJobRun", body)
    return body


def pod_templates(plan: Plan) -> dict[str, str]:
    """Return the texts of the run's pod templates by file name."""
    return {
        name: manifests.dump(manifests.fill(manifests.load(f"emr/{name}"), plan.template_values()))
        for name in POD_TEMPLATES
    }


def job_arguments(
    user_arguments: Sequence[str], run_id: str, photos: str, results: str
) -> tuple[tuple[str, ...], Settings]:
    """Return the job's command line and the settings that the job parses from it.

    Parameters
    ----------
    user_arguments : sequence of str
        The job's options as the user gives them.
    run_id : str
        The name of the run.
    photos, results : str
        The default input and output.

    Raises
    ------
    UsageError
        If the job or EMR would refuse them.
    """
    options = {argument.partition("=")[0] for argument in user_arguments}
    for option, reason in REFUSED_OPTIONS.items():
        if option in options:
            raise UsageError(f"{option} is not for the job in the cloud: {reason}")
    arguments = list(user_arguments)
    if "--input" not in options:
        arguments += ["--input", photos]
    if "--output" not in options:
        arguments += ["--output", results]
    arguments += ["--run-id", run_id, "--log-format", "json"]
    _check_characters(arguments)
    settings = parse_settings(arguments, {})
    for location in (*settings.inputs, settings.output):
        if not location.startswith("s3://"):
            raise UsageError(f"{location} is a folder, which pods do not see: give s3://bucket/prefix")
    return tuple(arguments), settings


def _check_characters(arguments: Sequence[str]) -> None:
    for argument in arguments:
        if FORBIDDEN_CHARACTERS.search(argument):
            raise UsageError(
                f"{argument!r}: EMR takes no argument with one of ( ) {{ }} [ ] in it: rename it"
            )
        if not argument.isprintable() or any("\ud800" <= character <= "\udfff" for character in argument):
            raise UsageError(f"{argument!r} has a sign that is no text, which EMR does not take: rename it")
        if not argument.strip():
            raise UsageError("EMR takes no empty argument: leave it out")


def run_name(text: str) -> str:
    """Return a run's name from the command line; Kubernetes takes it as a label's value, too."""
    if RUN_NAME.fullmatch(text):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is not 1 to 63 letters and digits, with . _ - between them")


def object_name(run_id: str) -> str:
    """Return a run's name in lower-case letters, digits and hyphens, as names of Kubernetes's objects are."""
    return re.sub("[^a-z0-9-]+", "-", run_id.lower()).strip("-")
