"""How a run ended: its last state, the last events that the job logged, and the lines that tell it."""

import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from job.storage import store
from scripts.cloud import failures
from scripts.cloud.failures import Directions
from scripts.cloud.job_lines import job_event

FINAL: Final = ("COMPLETED", "FAILED", "CANCELLED")
# How many of a failed driver's last lines are shown.
LAST_LINES: Final = 20
# The events of the job after which photos have been read, or none is to be read.
PHOTO_EVENTS: Final = ("photos_featurized", "nothing_new", "summary")
SUMMARY_FIELDS: Final = {"counts", "model", "output", "record", "photos_per_second", "cores"}
FAILED: Final = 1


@dataclass
class RunOutcome:
    """The description of a run in the form of EMR's, and the last events that the job logged."""

    run: dict[str, Any]
    summary: dict[str, Any] | None = None
    failure: dict[str, Any] | None = None
    driver_wrote: bool = False
    has_run: bool = False
    has_photos: bool = False
    last_lines: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """The duration of the run so far, by the clock of its description."""
        end: datetime = self.run.get("finishedAt") or datetime.now(UTC)
        start: datetime = self.run["createdAt"]
        return max((end - start).total_seconds(), 0.0)

    @property
    def reason(self) -> str:
        """The reason of a failure that the job logged, else that of the run's description; or empty."""
        if self.failure and self.failure.get("message"):
            return str(self.failure["message"])
        reasons = [self.run.get("failureReason"), self.run.get("stateDetails")]
        return ": ".join(str(reason) for reason in reasons if reason)

    @property
    def exit_code(self) -> int:
        """The exit code of a failed run: the job's own, if its log has one."""
        return int((self.failure or {}).get("exit_code", FAILED))

    def record(self, text: str) -> None:
        """Record a line of the driver."""
        self.driver_wrote = self.has_run = True
        fields = job_event(text) or {}
        self.has_photos |= fields.get("event") in PHOTO_EVENTS or bool(fields.get("done"))
        if fields.get("event") == "run_started":  # of a driver that was started again
            self.summary = self.failure = None
        elif fields.get("event") == "summary":
            self.summary = fields
        elif fields.get("event") in ("run_failed", "run_interrupted"):
            self.failure = fields

    def advice(self, directions: Directions) -> str:
        """Return the advice for a failed run."""
        message = str(self.failure.get("message", "")) if self.failure else ""
        details = [str(self.run.get("stateDetails", "")), str(self.run.get("failureReason", "")), message]
        return failures.advice([*details, *self.last_lines], self.driver_wrote, directions)

    def time_lines(self, name: str) -> list[tuple[str, str]]:
        """Return the run's name and duration, as labels and texts."""
        return [("run", name), ("took", f"{self.seconds / 60:.1f} minutes")]

    def result_lines(self) -> list[tuple[str, str]]:
        """Return the results that the job logged, as labels and texts; nothing without its summary."""
        summary: dict[str, Any] = self.summary or {}
        if not summary.keys() >= SUMMARY_FIELDS:
            return []
        counts, model, output = summary["counts"], summary["model"], summary["output"]
        rate = summary["photos_per_second"]
        return [
            ("photos", f"{counts['listed']:,} listed, {counts['unchanged']:,} unchanged, "
                       f"{counts['featurized']:,} featurized, {counts['rejected']:,} rejected"),
            ("photos/second", f"{rate:,.0f}  (on {summary['cores']} cores)" if rate else "none was read"),
            ("components", f"{model['components']}  ({model['variance_kept']:.2%} of the variance kept)"),
            ("output", output),
            ("record", store.join(output, summary["record"])),
        ]  # fmt: skip

    def print_last_lines(self, source: str) -> None:
        """Print the last lines of a failed driver on stderr; `source` says of what they are."""
        if self.last_lines:
            print(f"the last {len(self.last_lines)} lines of {source}:", file=sys.stderr)
        for line in self.last_lines:
            print(f"  | {line}", file=sys.stderr)


def print_lines(lines: list[tuple[str, str]]) -> None:
    """Print labels and texts."""
    for name, value in lines:
        print(f"{name:<14} {value}")


def print_failure(name: str, reason: str, advice: str) -> None:
    """Print on stderr why a run failed, and what to do."""
    print(f"error: run {name} failed: {reason}", file=sys.stderr)
    print(f"what to do: {advice}", file=sys.stderr)
