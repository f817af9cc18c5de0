"""Follows a run until it ends: prints its states with their times and the lines that the job logs."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from scripts.cloud.aws_session import aws_refusal, is_network
from scripts.submit import failures
from scripts.submit.driver_log import DriverLog, job_event

if TYPE_CHECKING:
    from mypy_boto3_emr_containers import EMRContainersClient

FINAL: Final = ("COMPLETED", "FAILED", "CANCELLED")
# How many lines of a failed driver's stderr are shown.
LAST_LINES: Final = 20
# How often the log is read again after a run has ended, for lines that reach CloudWatch late.
LATE_POLLS: Final = 6


@dataclass
class Display:
    """Prints a run's events as sentences, or as JSON, one object a line."""

    as_json: bool

    def state(self, run: dict[str, Any], seconds: float) -> None:
        """Print a run's new state."""
        details = run.get("stateDetails") or ""
        if self.as_json:
            self._object("state", state=run["state"], seconds=round(seconds), details=details)
        else:
            print(f"{clock()} {run['state']}  {_length(seconds)}  {details}".rstrip(), flush=True)

    def line(self, text: str) -> None:
        """Print a line of the driver, if the job logged it."""
        fields = job_event(text)
        if fields is None:
            return
        if self.as_json:
            print(json.dumps(fields), flush=True)
        elif words := fields.get("message"):
            level = "" if fields["level"] == "info" else f"{fields['level']}: "
            print(f"{str(fields['ts'])[11:19]}   {level}{words}", flush=True)

    def note(self, text: str, **fields: object) -> None:
        """Print a note of submit.sh itself."""
        if self.as_json:
            self._object("note", message=text, **fields)
        else:
            print(text, flush=True)

    def _object(self, name: str, **fields: object) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        print(json.dumps({"ts": now, "event": name, **fields}), flush=True)


@dataclass
class RunOutcome:
    """EMR's description of a run, and the job's own last events."""

    run: dict[str, Any]
    summary: dict[str, Any] | None = None
    failure: dict[str, Any] | None = None
    driver_wrote: bool = False
    has_run: bool = False
    last_lines: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """How long the run has taken, by EMR's clock."""
        end: datetime = self.run.get("finishedAt") or datetime.now(UTC)
        began: datetime = self.run["createdAt"]
        return max((end - began).total_seconds(), 0.0)

    def advice(self) -> str:
        """Return the advice for a failed run."""
        message = str(self.failure.get("message", "")) if self.failure else ""
        details = [str(self.run.get("stateDetails", "")), str(self.run.get("failureReason", "")), message]
        return failures.advice([*details, *self.last_lines], self.driver_wrote)


@dataclass
class Follower:
    """Polls EMR and CloudWatch about one run until it has ended, and survives network failures.

    ``wait`` sleeps for ``poll`` seconds between two polls.
    """

    emr: "EMRContainersClient"
    log: DriverLog
    cluster: str
    run: str
    show: Display
    poll: float
    wait: Callable[[float], None]
    _outcome: RunOutcome | None = None
    _log_denied: bool = False
    _polls_left: int = LATE_POLLS

    def follow(self) -> RunOutcome:
        """Follow the run, and return how it ended.

        Raises
        ------
        ClientError
            If AWS refuses; network failures and throttling are retried.
        """
        lost = False
        while True:
            try:
                ended = self._poll_once()
            except (ClientError, BotoCoreError) as error:
                if not is_network(error):
                    raise
                if not lost:
                    self.show.note(f"{clock()} {aws_refusal(error)}; the run goes on, and so will this")
                lost = True
            else:
                if lost:
                    self.show.note(f"{clock()} AWS answers again")
                lost = False
                if ended is not None:
                    return ended
            self.wait(self.poll)

    def _poll_once(self) -> RunOutcome | None:
        run: dict[str, Any] = dict(
            self.emr.describe_job_run(virtualClusterId=self.cluster, id=self.run)["jobRun"]
        )
        # The log is read after the state, so that no line is missing at the final state.
        if self._outcome is None or self._outcome.run["state"] != run["state"]:
            outcome = self._outcome or RunOutcome(run)
            outcome.run = run
            self.show.state(run, outcome.seconds)
            self._outcome = outcome
        self._outcome.run = run
        self._outcome.has_run |= run["state"] == "RUNNING"
        if not self._log_denied:
            self._read_log(self._outcome)
        return self._outcome if run["state"] in FINAL and self._is_complete(self._outcome) else None

    def _is_complete(self, outcome: RunOutcome) -> bool:
        """Tell whether an ended run's log is complete; a late last line gets ``LATE_POLLS`` more polls."""
        last_event = outcome.summary if outcome.run["state"] == "COMPLETED" else outcome.failure
        may_be_late = outcome.has_run and outcome.run["state"] != "CANCELLED" and not self._log_denied
        if not last_event and may_be_late and self._polls_left:
            self._polls_left -= 1
            return False
        if outcome.run["state"] == "FAILED" and not self._log_denied:
            outcome.last_lines = self.log.last_lines(LAST_LINES)
        return True

    def _read_log(self, outcome: RunOutcome) -> None:
        try:
            for lines in self.log.new_lines():
                for text in lines:
                    self._handle_line(outcome, text)
        except ClientError as error:
            if "AccessDenied" not in error.response["Error"].get("Code", ""):
                raise
            self._log_denied = True
            self.show.note(f"the driver's log cannot be shown: {aws_refusal(error)}")

    def _handle_line(self, outcome: RunOutcome, text: str) -> None:
        outcome.driver_wrote = outcome.has_run = True
        fields = job_event(text) or {}
        if fields.get("event") == "run_started":  # a restarted driver begins from the start
            outcome.summary = outcome.failure = None
        elif fields.get("event") == "summary":
            outcome.summary = fields
        elif fields.get("event") in ("run_failed", "run_interrupted"):
            outcome.failure = fields
        self.show.line(text)


def clock() -> str:
    """Return the time in UTC, formatted as in the job's own lines."""
    return f"{datetime.now(UTC):%H:%M:%S}"


def _length(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"after {minutes}:{rest:02d}"
