"""Following a run: its states with their times, the job's own lines as they come, and how it ended."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from scripts.cloud.aws_session import explained, is_network
from scripts.submit import failures
from scripts.submit.driver_log import DriverLog, event

if TYPE_CHECKING:
    from mypy_boto3_emr_containers import EMRContainersClient

FINAL: Final = ("COMPLETED", "FAILED", "CANCELLED")
# What the last words of a driver that failed are worth.
LAST_LINES: Final = 20
# How often the log is asked again after a run has ended, for lines that are still on their way to CloudWatch.
LATE_LOOKS: Final = 6


@dataclass
class Show:
    """Tells people a run's events as sentences, and programs as JSON, one object a line."""

    as_json: bool

    def state(self, run: dict[str, Any], seconds: float) -> None:
        """Tell that a run has another state."""
        details = run.get("stateDetails") or ""
        if self.as_json:
            self._object("state", state=run["state"], seconds=round(seconds), details=details)
        else:
            print(f"{clock()} {run['state']}  {_length(seconds)}  {details}".rstrip(), flush=True)

    def line(self, text: str) -> None:
        """Tell a line that the driver wrote, if it is one of the job's own."""
        fields = event(text)
        if fields is None:
            return
        if self.as_json:
            print(json.dumps(fields), flush=True)
        elif words := fields.get("message"):
            level = "" if fields["level"] == "info" else f"{fields['level']}: "
            print(f"{str(fields['ts'])[11:19]}   {level}{words}", flush=True)

    def note(self, text: str, **fields: object) -> None:
        """Tell something about the following itself."""
        if self.as_json:
            self._object("note", message=text, **fields)
        else:
            print(text, flush=True)

    def _object(self, name: str, **fields: object) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        print(json.dumps({"ts": now, "event": name, **fields}), flush=True)


@dataclass
class Followed:
    """How a run ended: EMR's description, and what the job itself said."""

    run: dict[str, Any]
    summary: dict[str, Any] | None = None
    failed: dict[str, Any] | None = None
    wrote: bool = False
    ran: bool = False
    last_lines: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Return how long the run took, by EMR's clock."""
        end: datetime = self.run.get("finishedAt") or datetime.now(UTC)
        began: datetime = self.run["createdAt"]
        return max((end - began).total_seconds(), 0.0)

    def advice(self) -> str:
        """Say what to do about a failed run."""
        own = str(self.failed.get("message", "")) if self.failed else ""
        said = [str(self.run.get("stateDetails", "")), str(self.run.get("failureReason", "")), own]
        return failures.advice([*said, *self.last_lines], self.wrote)


@dataclass
class Follower:
    """Asks EMR and CloudWatch about one run until it has ended.

    A line that breaks is waited for; ``wait`` is handed the seconds until the next question.
    """

    emr: "EMRContainersClient"
    log: DriverLog
    cluster: str
    run: str
    show: Show
    poll: float
    wait: Callable[[float], None]
    _found: Followed | None = None
    _blind: bool = False
    _late: int = LATE_LOOKS

    def until_the_end(self) -> Followed:
        """Follow the run, and return how it ended.

        Raises
        ------
        ClientError
            If AWS refuses; a network that is lost, or throttling, is waited for.
        """
        lost = False
        while True:
            try:
                ended = self._look()
            except (ClientError, BotoCoreError) as error:
                if not is_network(error):
                    raise
                if not lost:
                    self.show.note(f"{clock()} {explained(error)}; the run goes on, and so will this")
                lost = True
            else:
                if lost:
                    self.show.note(f"{clock()} AWS answers again")
                lost = False
                if ended is not None:
                    return ended
            self.wait(self.poll)

    def _look(self) -> Followed | None:
        run: dict[str, Any] = dict(
            self.emr.describe_job_run(virtualClusterId=self.cluster, id=self.run)["jobRun"]
        )
        # The log is read after the state, so that after the last state nothing is missing.
        if self._found is None or self._found.run["state"] != run["state"]:
            found = self._found or Followed(run)
            found.run = run
            self.show.state(run, found.seconds)
            self._found = found
        self._found.run = run
        self._found.ran |= run["state"] == "RUNNING"
        if not self._blind:
            self._read_log(self._found)
        return self._found if run["state"] in FINAL and self._is_told(self._found) else None

    def _is_told(self, found: Followed) -> bool:
        """Tell whether all is known of a run that has ended; a late line is waited for, for a while."""
        told = found.summary if found.run["state"] == "COMPLETED" else found.failed
        waits = found.ran and found.run["state"] != "CANCELLED" and not self._blind
        if not told and waits and self._late:
            self._late -= 1
            return False
        if found.run["state"] == "FAILED" and not self._blind:
            found.last_lines = self.log.last_lines(LAST_LINES)
        return True

    def _read_log(self, found: Followed) -> None:
        try:
            for lines in self.log.new_lines():
                for text in lines:
                    self._take(found, text)
        except ClientError as error:
            if "AccessDenied" not in error.response["Error"].get("Code", ""):
                raise
            self._blind = True
            self.show.note(f"the driver's log cannot be shown: {explained(error)}")

    def _take(self, found: Followed, text: str) -> None:
        found.wrote = found.ran = True
        fields = event(text) or {}
        if fields.get("event") == "run_started":  # a driver that was started again begins anew
            found.summary = found.failed = None
        elif fields.get("event") == "summary":
            found.summary = fields
        elif fields.get("event") in ("run_failed", "run_interrupted"):
            found.failed = fields
        self.show.line(text)


def clock() -> str:
    """Return the time as the job's own lines have it, in UTC."""
    return f"{datetime.now(UTC):%H:%M:%S}"


def _length(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"after {minutes}:{rest:02d}"
