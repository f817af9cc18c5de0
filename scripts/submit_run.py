"""The commands of submit.sh: start a run, find it again, follow it, cancel it, list all."""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from job.errors import UsageError
from scripts import ack, job_run, manifests, run_cost, stage, submission
from scripts.cloud import RETRIES
from scripts.driver_log import DriverLog
from scripts.follow import FINAL, Followed, Follower, Show
from scripts.job_run import Plan
from scripts.sizes import SIZES
from scripts.stage import Stage

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

    def __post_init__(self) -> None:
        submission.use_profile(self.given.profile, self.given.region)
        self.stage = Stage(self.given.stage)
        self.show = Show(self.given.json)
        self.emr = self.session.client("emr-containers", config=RETRIES)
        self.made = stage.ground(self.session.client("cloudformation", config=RETRIES), self.stage)
        self.cluster = submission.virtual_cluster(self.emr, self.stage, self.given.virtual_cluster)

    def submit(self, words: list[str]) -> dict[str, Any] | None:
        """Start a run, and return its name and id; None if there is nothing to follow."""
        given, run_id = self.given, self.given.run_id
        if not given.dry_run and (known := submission.named(self.emr, self.cluster, run_id)):
            self.show.note(f"run {run_id} is there already, {known['state']}", run=known["id"])
            return None if given.detach else known
        arguments, settings = job_run.job_arguments(words, run_id, self.made)
        size = SIZES[given.size]
        if given.attempts is not None:
            size = replace(size, attempts=given.attempts)
        ecr = self.session.client("ecr", config=RETRIES)
        uri = self.made["RepositoryUri"]
        image = submission.image(ecr, self.made["RepositoryName"], uri, given.image)
        plan = Plan(
            run_id, given.stage, given.region, size, self.cluster, image, self.made, arguments
        )  # fmt: skip
        submission.check_residency(plan, [*settings.inputs, settings.output], settings.regions)
        request = job_run.request(plan)
        self._introduce(plan, settings.inputs, settings.output)
        if given.dry_run:
            self._print_request(request)
            return None
        run = self._start(plan, request)
        if given.detach:
            self.show.note(f"started: {self.again(run)}", run=run["id"])
            return None
        return run

    def _introduce(self, plan: Plan, inputs: tuple[str, ...], output: str) -> None:
        """Say what will be started, before it is: whatever happens then, it can be found."""
        if self.given.json:
            return
        size = plan.size
        print(f"run      {plan.run_id}", file=sys.stderr)
        print(f"image    {plan.image}", file=sys.stderr)
        print(f"photos   {', '.join(inputs)}", file=sys.stderr)
        print(f"results  {output}", file=sys.stderr)
        print(
            f"size     {size.name}: a driver and up to {size.executors} executors, {size.cores} cores, "
            f"at most {run_cost.by_the_hour(size)}",
            file=sys.stderr,
        )
        for location in submission.beyond(plan, inputs, output):
            print(f"warning: the job's role has no rights to {location}", file=sys.stderr)

    def _print_request(self, request: dict[str, Any]) -> None:
        if self.given.ack:
            print(manifests.dump(ack.job_run(request)), end="")
        elif self.given.json:
            print(json.dumps(request, indent=2))
        else:
            print(manifests.dump(request), end="")

    def _start(self, plan: Plan, request: dict[str, Any]) -> dict[str, Any]:
        try:
            identity = submission.start(self.session, self.emr, plan, request)
        except (BotoCoreError, ClientError, KeyboardInterrupt) as error:
            if not isinstance(error, ClientError):
                print(
                    f"whether run {plan.run_id} has started is not known; the same command with "
                    f"--run-id {plan.run_id} starts it once and no more",
                    file=sys.stderr,
                )
            raise
        return {"name": plan.run_id, "id": identity}

    def find(self, run: str) -> dict[str, Any]:
        """Return a run by its name or by EMR's id."""
        return submission.find(self.emr, self.cluster, run)

    def follow(self, run: dict[str, Any]) -> Followed:
        """Follow a run to its end."""
        prefix = f"{run['name']}/{self.cluster}/jobs/{run['id']}/containers/"
        logs = self.session.client("logs", config=RETRIES)
        log = DriverLog(logs, self.made["LogGroup"], prefix)
        return Follower(
            self.emr, log, self.cluster, run["id"], self.show, self.given.poll, self.wait
        ).until_the_end()

    def again(self, run: dict[str, Any]) -> str:
        """Return the command that follows a run."""
        where = "" if self.given.stage == "dev" else f" --stage {self.given.stage}"
        return f"./scripts/submit.sh follow {run['name']}{where}"

    def cancel(self, wanted: str) -> int:
        """Cancel a run, and wait until it has ended."""
        run = self.find(wanted)
        self.ask_to_cancel(run)
        ended = self.follow(run)
        if ended.run["state"] != "CANCELLED":
            raise UsageError(f"run {run['name']} could not be cancelled, it is {ended.run['state']}")
        return 0

    def ask_to_cancel(self, run: dict[str, Any]) -> None:
        """Ask EMR to cancel a run that has not ended."""
        try:
            self.emr.cancel_job_run(virtualClusterId=self.cluster, id=run["id"])
        except self.emr.exceptions.ValidationException:
            state = self.find(run["id"])["state"]
            if state in FINAL:
                raise UsageError(f"run {run['name']} is over, {state}: nothing is cancelled") from None
            if state != "CANCEL_PENDING":
                raise

    def show_runs(self) -> int:
        """List the runs, newest first."""
        pages = self.emr.get_paginator("list_job_runs").paginate(virtualClusterId=self.cluster)
        runs: list[dict[str, Any]] = [dict(one) for page in pages for one in page["jobRuns"]]
        for run in sorted(runs, key=lambda one: str(one["createdAt"]), reverse=True):
            if self.given.json:
                wanted = ("name", "id", "state", "createdAt", "finishedAt", "stateDetails", "tags")
                print(json.dumps({name: run[name] for name in wanted if name in run}, default=str))
            else:
                size, began = run.get("tags", {}).get("size", ""), f"{run['createdAt']:%Y-%m-%d %H:%M}"
                print(f"{began}  {run['state']:<14} {size:<7} {run['id']}  {run['name']}")
        if not runs and not self.given.json:
            print("no runs yet")
        return 0
