"""The StartJobRun request of a run, from the template k8s/emr/job-run.yaml; nothing here asks AWS."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from job.cli.settings import Settings, parse_settings
from job.errors import UsageError
from scripts.cloud import manifests, request_check, sizes
from scripts.cloud.aws_session import release
from scripts.cloud.sizes import Size

# EMR takes no argument with one of these in it (StartJobRun's documentation).
NOT_TAKEN: Final = re.compile(r"[(){}\[\]]")
# Options of the job that mean nothing in a pod, or would hide the run from whoever follows it.
NOT_HERE: Final = {
    "--run-id": "give it before --, it names the run for EMR too",
    "--log-format": "a run in the cloud writes JSON, which is shown as text here",
    "--cache": "the image has its own",
    "--weights": "the image has them, verified",
    "--help": "see .venv/bin/python -m job --help",
    "--version": "the image's tag is its revision",
}
POD_TEMPLATES: Final = ("driver-pod.yaml", "executor-pod.yaml")


@dataclass(frozen=True, slots=True)
class Plan:
    """A run as it will be asked for.

    ``made`` are the outputs of the account's stack, ``image`` is ``repository@sha256:…``.
    """

    run_id: str
    stage: str
    region: str
    size: Size
    virtual_cluster: str
    image: str
    made: Mapping[str, str]
    arguments: tuple[str, ...]

    @property
    def submission(self) -> str:
        """Where the run's pod templates lie: a place that its role may read and its submitter may write."""
        return f"s3://{self.made['ResultsBucket']}/submissions/{self.run_id}"

    @property
    def token(self) -> str:
        """The client token: EMR starts one run for it, however often it is asked."""
        return hashlib.sha256(f"{self.virtual_cluster}/{self.run_id}".encode()).hexdigest()

    def values(self) -> dict[str, Any]:
        """Return what the templates of k8s/emr ask for."""
        size = self.size
        return {
            **self.made,
            "RunName": self.run_id,
            "ClientToken": self.token,
            "VirtualClusterId": self.virtual_cluster,
            "ReleaseLabel": f"emr-{release('EMR_RELEASE')}-latest",
            "Stage": self.stage,
            "Region": self.region,
            "Image": self.image,
            "JobArguments": list(self.arguments),
            "SubmissionPrefix": self.submission,
            "Size": size.name,
            "DriverCores": size.driver_cores,
            "DriverHeap": size.driver_heap,
            "DriverOverhead": size.driver_overhead,
            "Executors": size.executors,
            "ExecutorCores": sizes.EXECUTOR_CORES,
            "ExecutorCpu": f"{sizes.EXECUTOR_CPU * 1000:.0f}m",
            "ExecutorHeap": sizes.EXECUTOR_HEAP,
            "ExecutorOverhead": sizes.EXECUTOR_OVERHEAD,
            "Attempts": size.attempts,
        }


def request(plan: Plan) -> dict[str, Any]:
    """Return the request for a run.

    Raises
    ------
    UsageError
        If EMR's own model would refuse it.
    """
    made: dict[str, Any] = manifests.fill(manifests.load("emr/job-run.yaml"), plan.values())
    request_check.check("emr-containers", "StartJobRun", made)
    return made


def pod_templates(plan: Plan) -> dict[str, str]:
    """Return the run's pod templates, by the name of their file."""
    return {
        name: manifests.dump(manifests.fill(manifests.load(f"emr/{name}"), plan.values()))
        for name in POD_TEMPLATES
    }


def job_arguments(
    given: Sequence[str], run_id: str, made: Mapping[str, str]
) -> tuple[tuple[str, ...], Settings]:
    """Return the job's command line, and what the job itself will make of it.

    Parameters
    ----------
    given : sequence of str
        What the user wrote after ``--``; photos and results default to the stage's own.
    run_id : str
        The name of the run.
    made : mapping
        The outputs of the account's stack.

    Raises
    ------
    UsageError
        If the job or EMR would refuse them.
    """
    said = {word.partition("=")[0] for word in given}
    for option, why in NOT_HERE.items():
        if option in said:
            raise UsageError(f"{option} is not for the job in the cloud: {why}")
    words = list(given)
    if "--input" not in said:
        words += ["--input", f"s3://{made['PhotosBucket']}/photos/"]
    if "--output" not in said:
        words += ["--output", f"s3://{made['ResultsBucket']}/results/fruits"]
    words += ["--run-id", run_id, "--log-format", "json"]
    _check_words(words)
    settings = parse_settings(words, {})
    for location in (*settings.inputs, settings.output):
        if not location.startswith("s3://"):
            raise UsageError(f"{location} is a folder, which pods do not see: give s3://bucket/prefix")
    return tuple(words), settings


def _check_words(words: Sequence[str]) -> None:
    for word in words:
        if NOT_TAKEN.search(word):
            raise UsageError(f"{word!r}: EMR takes no argument with one of ( ) {{ }} [ ] in it: rename it")
        if not word.isprintable() or any("\ud800" <= sign <= "\udfff" for sign in word):
            raise UsageError(f"{word!r} has a sign that is no text, which EMR does not take: rename it")
        if not word.strip():
            raise UsageError("EMR takes no empty argument: leave it out")
