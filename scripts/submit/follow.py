"""Follows a run until it ends: prints its states with their times and the lines that the job logs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from scripts.cloud.aws_session import aws_refusal, is_network
from scripts.cloud.display import Display, utc_time
from scripts.cloud.run_outcome import FINAL, LAST_LINES, RunOutcome
from scripts.submit.diagnosis import Diagnosis
from scripts.submit.driver_log import DriverLog

if TYPE_CHECKING:
    from mypy_boto3_emr_containers import EMRContainersClient

# How long the log is read again after a run has ended: EMR's sidecar sends lines to CloudWatch some seconds
# after they were written.
LATE_SECONDS: Final = 30.0
# After how long a run that has read no photo is reported: nodes and images take some minutes.
IDLE_SECONDS: Final = 600.0


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
                    outcome.record(text)
                    self.display.print_line(text)
        except ClientError as error:
            if "AccessDenied" not in error.response["Error"].get("Code", ""):
                raise
            self._is_log_denied = True
            self.display.print_note(f"the driver's log cannot be shown: {aws_refusal(error)}")
