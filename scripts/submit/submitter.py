"""The commands of submit.sh: start a run, find it again, follow it, cancel it, list all."""

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from job.cli.settings import Settings
from job.errors import UsageError
from scripts.cloud import aws_session, manifests, quotas, run_cost, run_request, stage
from scripts.cloud.aws_session import RETRIES
from scripts.cloud.display import Display
from scripts.cloud.run_outcome import FINAL, RunOutcome
from scripts.cloud.run_request import Plan
from scripts.cloud.sizes import SIZES
from scripts.cloud.stage import Stage
from scripts.submit import ack, lookups
from scripts.submit.diagnosis import Diagnosis
from scripts.submit.driver_log import DriverLog
from scripts.submit.follow import Follower

if TYPE_CHECKING:
    from boto3 import Session
    from mypy_boto3_emr_containers import EMRContainersClient


@dataclass
class Submitter:
    """The commands of submit.sh on one stage, with the AWS clients and the stack's outputs."""

    options: argparse.Namespace
    session: "Session"
    wait: Callable[[float], None]
    stage: Stage = field(init=False)
    emr: "EMRContainersClient" = field(init=False)
    display: Display = field(init=False)
    stack_outputs: dict[str, str] = field(init=False)
    virtual_cluster: str = field(init=False)
    _followers: dict[str, Follower] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.stage = Stage(self.options.stage)
        self.display = Display(self.options.json)
        self.emr = self.session.client("emr-containers", config=RETRIES)
        cloudformation = self.session.client("cloudformation", config=RETRIES)
        self.stack_outputs = stage.account_outputs(cloudformation, self.stage)
        self.virtual_cluster = lookups.virtual_cluster_id(self.emr, self.stage, self.options.virtual_cluster)

    def submit(self, user_arguments: list[str]) -> dict[str, Any] | None:
        """Start a run and return its name and id; None if there is nothing to follow."""
        options, run_id = self.options, self.options.run_id
        photos = f"s3://{self.stack_outputs['PhotosBucket']}/photos/"
        results = f"s3://{self.stack_outputs['ResultsBucket']}/results/fruits"
        arguments, settings = run_request.job_arguments(user_arguments, run_id, photos, results)
        emr, virtual_cluster = self.emr, self.virtual_cluster
        if not options.dry_run and (run := lookups.existing_run(emr, virtual_cluster, run_id, arguments)):
            self.display.print_note(f"run {run_id} is there already, {run['state']}", run=run["id"])
            return None if options.detach else run
        plan = self._plan(arguments)
        locations = [*settings.inputs, settings.output]
        lookups.check_residency(self.session, plan, locations, settings.regions)
        request = run_request.request(plan)
        warnings = lookups.architecture_warnings(self.session, plan) + self._quota_warnings(plan)
        self._print_plan(plan, settings, warnings)
        if options.ack and not options.dry_run:
            lookups.upload_pod_templates(self.session, plan)
        if options.ack or options.dry_run:
            self._print_request(request)
            return None
        run = self._start(plan, request)
        if options.detach:
            self.display.print_note(f"started: {self.follow_command(run)}", run=run["id"])
            return None
        return run

    def _plan(self, arguments: tuple[str, ...]) -> Plan:
        options, size = self.options, SIZES[self.options.size]
        if not self.stage.accepts(size.name):
            raise UsageError(
                f"stage {options.stage} takes runs up to --size {self.stage.largest_size}: "
                f"the quota in k8s/overlays/{options.stage} holds no more"
            )
        if options.attempts is not None:
            size = replace(size, attempts=options.attempts)
        outputs = self.stack_outputs
        ecr = self.session.client("ecr", config=RETRIES)
        image = lookups.image_by_digest(ecr, self.stage, outputs, options.image)
        return Plan(
            options.run_id,
            options.stage,
            options.region,
            size,
            self.virtual_cluster,
            image,
            outputs,
            arguments,
        )

    def _quota_warnings(self, plan: Plan) -> list[str]:
        """Return a sentence for each quota that slows the run; refuse a run that could do no work."""
        shortages = quotas.account_shortages(self.session, plan.size, self.stage)
        sentences = [shortage.sentence for shortage in shortages]
        if any(shortage.is_blocking for shortage in shortages):
            raise UsageError("\n".join(sentences))
        return sentences

    def _print_plan(self, plan: Plan, settings: Settings, warnings: Iterable[str]) -> None:
        """Print the run's settings before the start, so that a user finds the run if submit.sh ends."""
        size = plan.size
        lines = {
            "run": plan.run_id,
            "image": plan.image,
            "photos": ", ".join(settings.inputs),
            "results": settings.output,
            "size": f"{size.name}: a driver and up to {size.executors} executors, {size.cores} cores, "
            f"about {run_cost.hourly_text(size)}",
            "watch": f"{self.follow_command({'name': plan.run_id})}  (times are UTC)",
        }
        inaccessible = lookups.inaccessible_locations(plan, settings.inputs, settings.output)
        if self.options.json and not (self.options.dry_run or self.options.ack):
            self.display.print_note("submitting", **lines, beyond_the_role=inaccessible, warnings=[*warnings])
            return
        for name, value in lines.items():
            print(f"{name:<8} {value}", file=sys.stderr)
        for warning in (*(f"the job's role has no rights to {place}" for place in inaccessible), *warnings):
            print(f"warning: {warning}", file=sys.stderr)

    def _print_request(self, request: dict[str, Any]) -> None:
        if self.options.ack:
            print(manifests.dump(ack.job_run(request)), end="")
        elif self.options.json:
            print(json.dumps(request, indent=2))
        else:
            print(manifests.dump(request), end="")

    def _start(self, plan: Plan, request: dict[str, Any]) -> dict[str, Any]:
        lookups.upload_pod_templates(self.session, plan)
        try:
            run_id = self.emr.start_job_run(**request)["id"]
        except (BotoCoreError, ClientError, KeyboardInterrupt) as error:
            if not isinstance(error, ClientError) or aws_session.is_network(error):
                print(
                    f"whether run {plan.run_id} has started is not known; the same command with "
                    f"--run-id {plan.run_id} starts it once and no more",
                    file=sys.stderr,
                )
            raise
        return {"name": plan.run_id, "id": run_id}

    def find_run(self, run: str) -> dict[str, Any]:
        """Return a run by its name or by EMR's id."""
        return lookups.find_run(self.emr, self.virtual_cluster, run)

    def follow(self, run: dict[str, Any]) -> RunOutcome:
        """Follow a run to its end; a second call continues where the first was interrupted."""
        if run["id"] not in self._followers:
            prefix = f"{self.name(run)}/{self.virtual_cluster}/jobs/{run['id']}/containers/"
            group = self.stack_outputs["LogGroup"]
            log = DriverLog(self.session.client("logs", config=RETRIES), group, prefix)
            addresses = (self.emr, log, self.virtual_cluster, run["id"])
            output = (self.diagnosis(run), self.display)
            self._followers[run["id"]] = Follower(*addresses, *output, self.options.poll, self.wait)
        return self._followers[run["id"]].follow()

    def diagnosis(self, run: dict[str, Any]) -> Diagnosis:
        """Return where to look for a run."""
        return Diagnosis(self.stage, self.name(run))

    @staticmethod
    def name(run: dict[str, Any]) -> str:
        """Return a run's name; its id if it has none, as a run that submit.sh did not start."""
        return str(run.get("name") or run["id"])

    def follow_command(self, run: dict[str, Any]) -> str:
        """Return the command that follows a run."""
        return self.command_line("follow", run)

    def command_line(self, name: str, run: dict[str, Any]) -> str:
        """Return a command of submit.sh on a run, with the options that find the run."""
        options, command = self.options, ["./scripts/submit.sh", name, self.name(run)]
        command += [] if options.stage == stage.default_stage() == "dev" else ["--stage", options.stage]
        command += (
            [] if options.region == aws_session.release_value("AWS_REGION") else ["--region", options.region]
        )
        command += ["--profile", options.profile] if options.profile else []
        command += ["--virtual-cluster", self.virtual_cluster] if options.virtual_cluster else []
        return " ".join(command)

    def cancel(self, run: dict[str, Any]) -> None:
        """Cancel a run.

        Raises
        ------
        UsageError
            If the run has ended.
        """
        if not self.request_cancellation(run):
            state = self.find_run(run["id"])["state"]
            raise UsageError(f"run {self.name(run)} is over, {state}: nothing is cancelled")

    def request_cancellation(self, run: dict[str, Any]) -> bool:
        """Ask EMR to cancel a run; return False if the run has ended."""
        try:
            self.emr.cancel_job_run(virtualClusterId=self.virtual_cluster, id=run["id"])
        except self.emr.exceptions.ValidationException:
            state = self.find_run(run["id"])["state"]
            if state not in (*FINAL, "CANCEL_PENDING"):
                raise
            return state not in FINAL
        return True

    def print_runs(self) -> int:
        """Print the runs, newest first, with times in UTC; return the exit code."""
        pages = self.emr.get_paginator("list_job_runs").paginate(virtualClusterId=self.virtual_cluster)
        runs: list[dict[str, Any]] = [dict(run) for page in pages for run in page["jobRuns"]]
        for run in sorted(runs, key=lambda run: str(run["createdAt"]), reverse=True):
            if self.options.json:
                fields = ("name", "id", "state", "createdAt", "finishedAt", "stateDetails", "tags")
                print(json.dumps({name: run[name] for name in fields if name in run}, default=str))
            else:
                size, start = run.get("tags", {}).get("size", ""), f"{run['createdAt']:%Y-%m-%d %H:%M}"
                print(f"{start}  {run['state']:<14} {size:<7} {run['id']}  {self.name(run)}")
        if not runs and not self.options.json:
            print("no runs yet")
        return 0
