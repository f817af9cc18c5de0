"""The commands of submit.sh: start a run, find it again, follow it, cancel it, list all."""

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from job.cli.settings import Settings
from job.errors import UsageError
from scripts.cloud import aws_session, manifests, run_cost, stage
from scripts.cloud.aws_session import RETRIES
from scripts.cloud.sizes import SIZES
from scripts.cloud.stage import Stage
from scripts.submit import ack, lookups, run_request
from scripts.submit.driver_log import DriverLog
from scripts.submit.follow import FINAL, Followed, Follower, Show
from scripts.submit.run_request import Plan

if TYPE_CHECKING:
    from boto3 import Session
    from mypy_boto3_emr_containers import EMRContainersClient


@dataclass
class Submitter:
    """One command of submit.sh, on one stage."""

    given: argparse.Namespace
    session: "Session"
    wait: Callable[[float], None]
    stage: Stage = field(init=False)
    emr: "EMRContainersClient" = field(init=False)
    show: Show = field(init=False)
    made: dict[str, str] = field(init=False)
    cluster: str = field(init=False)
    _followers: dict[str, Follower] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.stage = Stage(self.given.stage)
        self.show = Show(self.given.json)
        self.emr = self.session.client("emr-containers", config=RETRIES)
        self.made = stage.ground(self.session.client("cloudformation", config=RETRIES), self.stage)
        self.cluster = lookups.virtual_cluster(self.emr, self.stage, self.given.virtual_cluster)

    def submit(self, words: list[str]) -> dict[str, Any] | None:
        """Start a run, and return its name and id; None if there is nothing to follow."""
        given, run_id = self.given, self.given.run_id
        arguments, settings = run_request.job_arguments(words, run_id, self.made)
        if not given.dry_run and (known := lookups.known(self.emr, self.cluster, run_id, arguments)):
            self.show.note(f"run {run_id} is there already, {known['state']}", run=known["id"])
            return None if given.detach else known
        plan = self._plan(arguments)
        locations = [*settings.inputs, settings.output]
        lookups.check_residency(self.session, plan, locations, settings.regions)
        request = run_request.request(plan)
        self._introduce(plan, settings)
        if given.ack and not given.dry_run:
            lookups.upload(self.session, plan)
        if given.ack or given.dry_run:
            self._print_request(request)
            return None
        run = self._start(plan, request)
        if given.detach:
            self.show.note(f"started: {self.again(run)}", run=run["id"])
            return None
        return run

    def _plan(self, arguments: tuple[str, ...]) -> Plan:
        given, size = self.given, SIZES[self.given.size]
        if not self.stage.takes(size.name):
            raise UsageError(
                f"stage {given.stage} takes runs up to --size {self.stage.largest}: "
                f"the quota in k8s/overlays/{given.stage} holds no more"
            )
        if given.attempts is not None:
            size = replace(size, attempts=given.attempts)
        ecr = self.session.client("ecr", config=RETRIES)
        image = lookups.image(ecr, self.made["RepositoryName"], self.made["RepositoryUri"], given.image)
        return Plan(given.run_id, given.stage, given.region, size, self.cluster, image, self.made, arguments)

    def _introduce(self, plan: Plan, settings: Settings) -> None:
        """Say what will be started, before it is: whatever happens then, it can be found."""
        size = plan.size
        lines = {
            "run": plan.run_id,
            "image": plan.image,
            "photos": ", ".join(settings.inputs),
            "results": settings.output,
            "size": f"{size.name}: a driver and up to {size.executors} executors, {size.cores} cores, "
            f"about {run_cost.by_the_hour(size)}",
            "watch": f"{self.again({'name': plan.run_id})}  (times are UTC)",
        }
        beyond = lookups.beyond(plan, settings.inputs, settings.output)
        if self.given.json and not (self.given.dry_run or self.given.ack):
            self.show.note("submitting", **lines, beyond_the_role=beyond)
            return
        for name, value in lines.items():
            print(f"{name:<8} {value}", file=sys.stderr)
        for location in beyond:
            print(f"warning: the job's role has no rights to {location}", file=sys.stderr)

    def _print_request(self, request: dict[str, Any]) -> None:
        if self.given.ack:
            print(manifests.dump(ack.job_run(request)), end="")
        elif self.given.json:
            print(json.dumps(request, indent=2))
        else:
            print(manifests.dump(request), end="")

    def _start(self, plan: Plan, request: dict[str, Any]) -> dict[str, Any]:
        lookups.upload(self.session, plan)
        try:
            identity = self.emr.start_job_run(**request)["id"]
        except (BotoCoreError, ClientError, KeyboardInterrupt) as error:
            if not isinstance(error, ClientError) or aws_session.is_network(error):
                print(
                    f"whether run {plan.run_id} has started is not known; the same command with "
                    f"--run-id {plan.run_id} starts it once and no more",
                    file=sys.stderr,
                )
            raise
        return {"name": plan.run_id, "id": identity}

    def find(self, run: str) -> dict[str, Any]:
        """Return a run by its name or by EMR's id."""
        return lookups.find(self.emr, self.cluster, run)

    def follow(self, run: dict[str, Any]) -> Followed:
        """Follow a run to its end, from where it was left."""
        if run["id"] not in self._followers:
            prefix = f"{self.name(run)}/{self.cluster}/jobs/{run['id']}/containers/"
            log = DriverLog(self.session.client("logs", config=RETRIES), self.made["LogGroup"], prefix)
            self._followers[run["id"]] = Follower(
                self.emr, log, self.cluster, run["id"], self.show, self.given.poll, self.wait
            )
        return self._followers[run["id"]].until_the_end()

    @staticmethod
    def name(run: dict[str, Any]) -> str:
        """Return a run's name; one that was started by other means may have none."""
        return str(run.get("name") or run["id"])

    def again(self, run: dict[str, Any]) -> str:
        """Return the command that follows a run."""
        given, words = self.given, ["./scripts/submit.sh", "follow", self.name(run)]
        default = os.environ.get("FRUITS_STAGE") or "dev"
        words += [] if given.stage == default == "dev" else ["--stage", given.stage]
        words += [] if given.region == aws_session.release("AWS_REGION") else ["--region", given.region]
        words += ["--profile", given.profile] if given.profile else []
        words += ["--virtual-cluster", self.cluster] if given.virtual_cluster else []
        return " ".join(words)

    def cancel(self, run: dict[str, Any]) -> None:
        """Ask EMR to cancel a run, which must not have ended.

        Raises
        ------
        UsageError
            If it has.
        """
        if not self.ask_to_cancel(run):
            state = self.find(run["id"])["state"]
            raise UsageError(f"run {self.name(run)} is over, {state}: nothing is cancelled")

    def ask_to_cancel(self, run: dict[str, Any]) -> bool:
        """Ask EMR to cancel a run; return False if that has ended."""
        try:
            self.emr.cancel_job_run(virtualClusterId=self.cluster, id=run["id"])
        except self.emr.exceptions.ValidationException:
            state = self.find(run["id"])["state"]
            if state not in (*FINAL, "CANCEL_PENDING"):
                raise
            return state not in FINAL
        return True

    def show_runs(self) -> int:
        """List the runs, newest first; times are UTC."""
        pages = self.emr.get_paginator("list_job_runs").paginate(virtualClusterId=self.cluster)
        runs: list[dict[str, Any]] = [dict(one) for page in pages for one in page["jobRuns"]]
        for run in sorted(runs, key=lambda one: str(one["createdAt"]), reverse=True):
            if self.given.json:
                wanted = ("name", "id", "state", "createdAt", "finishedAt", "stateDetails", "tags")
                print(json.dumps({name: run[name] for name in wanted if name in run}, default=str))
            else:
                size, began = run.get("tags", {}).get("size", ""), f"{run['createdAt']:%Y-%m-%d %H:%M}"
                print(f"{began}  {run['state']:<14} {size:<7} {run['id']}  {self.name(run)}")
        if not runs and not self.given.json:
            print("no runs yet")
        return 0
