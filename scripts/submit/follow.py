"""Follows a run until it ends: prints its states with their times and the lines that the job logs."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from scripts.cloud.aws_session import aws_refusal, is_network
from scripts.submit import failures
from scripts.submit.diagnosis import INSTRUCTION, KARPENTER_QUERY, Diagnosis
from scripts.submit.driver_log import DriverLog, job_event

if TYPE_CHECKING:
    from mypy_boto3_emr_containers import EMRContainersClient

FINAL: Final = ("COMPLETED", "FAILED", "CANCELLED")
# How many lines of a failed driver's stderr are shown.
LAST_LINES: Final = 20
# How long the log is read again after a run has ended: EMR's sidecar sends lines to CloudWatch some seconds
# after they were written.
LATE_SECONDS: Final = 30.0
# After how long a run that has read no photo is reported: nodes and images take some minutes.
IDLE_SECONDS: Final = 600.0
# The events of the job after which photos have been read, or none is to be read.
PHOTO_EVENTS: Final = ("photos_featurized", "nothing_new", "summary")


@dataclass
class Display:
    """Prints a run's events as sentences, or as JSON, one object a line."""

    as_json: bool

    def print_state(self, run: dict[str, Any], seconds: float) -> None:
        """Print a run's new state."""
        details = run.get("stateDetails") or ""
        if self.as_json:
            self._print_object("state", state=run["state"], seconds=round(seconds), details=details)
        else:
            print(f"{utc_time()} {run['state']}  {_elapsed_text(seconds)}  {details}".rstrip(), flush=True)

    def print_line(self, text: str) -> None:
        """Print a line of the driver, if the job logged it."""
        fields = job_event(text)
        if fields is None:
            return
        if self.as_json:
            print(json.dumps(fields), flush=True)
        elif message := fields.get("message"):
            level = "" if fields["level"] == "info" else f"{fields['level']}: "
            print(f"{str(fields['ts'])[11:19]}   {level}{message}", flush=True)

    def print_note(self, text: str, **fields: object) -> None:
        """Print a note of submit.sh itself."""
        if self.as_json:
            self._print_object("note", message=text, **fields)
        else:
            print(text, flush=True)

    def print_hint(self, text: str, diagnosis: Diagnosis) -> None:
        """Print a sentence with the commands and the query that show more."""
        if self.as_json:
            fields = {
                "commands": diagnosis.kubectl_commands,
                "log": diagnosis.audit_log,
                "query": KARPENTER_QUERY,
            }
            self._print_object("hint", message=f"{text}; {INSTRUCTION}", **fields)
        else:
            print("\n  ".join(f"{text}; {diagnosis.text}".splitlines()), flush=True)

    def _print_object(self, name: str, **fields: object) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        print(json.dumps({"ts": now, "event": name, **fields}), flush=True)


@dataclass
class RunOutcome:
    """EMR's description of a run, and the last events that the job logged."""

    run: dict[str, Any]
    summary: dict[str, Any] | None = None
    failure: dict[str, Any] | None = None
    driver_wrote: bool = False
    has_run: bool = False
    has_photos: bool = False
    last_lines: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """The duration of the run so far, by EMR's clock."""
        end: datetime = self.run.get("finishedAt") or datetime.now(UTC)
        start: datetime = self.run["createdAt"]
        return max((end - start).total_seconds(), 0.0)

    def advice(self, diagnosis: Diagnosis) -> str:
        """Return the advice for a failed run."""
        message = str(self.failure.get("message", "")) if self.failure else ""
        details = [str(self.run.get("stateDetails", "")), str(self.run.get("failureReason", "")), message]
        return failures.advice([*details, *self.last_lines], self.driver_wrote, diagnosis)


@dataclass
class Follower:
    """Polls EMR and CloudWatch about one run until it has ended, and survives network failures.

    ``wait`` sleeps for ``poll`` seconds between two polls.
    """

    emr: "EMRContainersClient"
    log: DriverLog
    virtual_cluster: str
    run_id: str
    diagnosis: Diagnosis
    display: Display
    poll: float
    wait: Callable[[float], None]
    _outcome: RunOutcome | None = None
    _is_log_denied: bool = False
    _late_seconds_left: float = LATE_SECONDS
    _is_idle_reported: bool = False

    def follow(self) -> RunOutcome:
        """Follow the run to its end and return its outcome.

        Raises
        ------
        ClientError
            If AWS refuses; network failures and throttling are retried.
        """
        is_connection_lost = False
        while True:
            try:
                outcome = self._poll_once()
            except (ClientError, BotoCoreError) as error:
                if not is_network(error):
                    raise
                if not is_connection_lost:
                    self.display.print_note(
                        f"{utc_time()} {aws_refusal(error)}; the run goes on; submit.sh tries again"
                    )
                is_connection_lost = True
            else:
                if is_connection_lost:
                    self.display.print_note(f"{utc_time()} AWS answers again")
                is_connection_lost = False
                if outcome is not None:
                    return outcome
            self.wait(self.poll)

    def _poll_once(self) -> RunOutcome | None:
        run: dict[str, Any] = dict(
            self.emr.describe_job_run(virtualClusterId=self.virtual_cluster, id=self.run_id)["jobRun"]
        )
        # The log is read after the state, so that no line is missing when the state is final.
        if self._outcome is None or self._outcome.run["state"] != run["state"]:
            outcome = self._outcome or RunOutcome(run)
            outcome.run = run
            self.display.print_state(run, outcome.seconds)
            self._outcome = outcome
        self._outcome.run = run
        self._outcome.has_run |= run["state"] == "RUNNING"
        if not self._is_log_denied:
            self._read_log(self._outcome)
        self._report_idle(self._outcome)
        return self._outcome if run["state"] in FINAL and self._is_complete(self._outcome) else None

    def _report_idle(self, outcome: RunOutcome) -> None:
        """Print, once, where to look if a run has read no photo for a long time."""
        is_unknown = self._is_log_denied and outcome.has_run
        if self._is_idle_reported or is_unknown or outcome.has_photos or outcome.run["state"] in FINAL:
            return
        if outcome.seconds >= IDLE_SECONDS:
            self._is_idle_reported = True
            cause = (
                "the driver is at work: it may still be listing photos, or its executors have no nodes"
                if outcome.driver_wrote
                else "the pods may have no nodes"
            )
            text = f"no photo after {outcome.seconds // 60:.0f} minutes: {cause}"
            self.display.print_hint(f"{utc_time()} {text}", self.diagnosis)

    def _is_complete(self, outcome: RunOutcome) -> bool:
        """Tell whether an ended run's log is complete; a late last line has ``LATE_SECONDS`` to come."""
        last_event = outcome.summary if outcome.run["state"] == "COMPLETED" else outcome.failure
        may_be_late = outcome.has_run and outcome.run["state"] != "CANCELLED" and not self._is_log_denied
        if not last_event and may_be_late and self._late_seconds_left > 0:
            self._late_seconds_left -= self.poll
            return False
        if outcome.run["state"] == "FAILED" and not self._is_log_denied:
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
            self._is_log_denied = True
            self.display.print_note(f"the driver's log cannot be shown: {aws_refusal(error)}")

    def _handle_line(self, outcome: RunOutcome, text: str) -> None:
        outcome.driver_wrote = outcome.has_run = True
        fields = job_event(text) or {}
        outcome.has_photos |= fields.get("event") in PHOTO_EVENTS or bool(fields.get("done"))
        if fields.get("event") == "run_started":  # of a driver that was started again
            outcome.summary = outcome.failure = None
        elif fields.get("event") == "summary":
            outcome.summary = fields
        elif fields.get("event") in ("run_failed", "run_interrupted"):
            outcome.failure = fields
        self.display.print_line(text)


def utc_time() -> str:
    """Return the time in UTC, in the form of the job's own lines."""
    return f"{datetime.now(UTC):%H:%M:%S}"


def _elapsed_text(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"after {minutes}:{rest:02d}"
