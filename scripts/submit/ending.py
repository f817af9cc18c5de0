"""Prints how a run ended: its results, its speed and an estimate of its cost, or why it failed."""

import json
import sys
from typing import TYPE_CHECKING, Any

from job.storage import store
from scripts.cloud import run_cost
from scripts.cloud.aws_session import CancelledError, RunFailedError
from scripts.cloud.sizes import SIZES
from scripts.submit.follow import RunOutcome

if TYPE_CHECKING:
    from scripts.submit.submitter import Submitter

FAILED = 1


def print_outcome(submitter: "Submitter", outcome: RunOutcome) -> int:
    """Print how a run ended and return the exit code: the job's own, if its log has one.

    Raises
    ------
    CancelledError
        If the run was cancelled.
    """
    run, state = outcome.run, outcome.run["state"]
    if state == "COMPLETED":
        _print_results(submitter, outcome)
        return 0
    name = submitter.name(run)
    if state == "CANCELLED":
        if submitter.options.json:
            _print_json(outcome)
        raise CancelledError(f"run {name} was cancelled; nothing of it is committed")
    advice = outcome.advice(submitter.diagnosis(run))
    if submitter.options.json:
        _print_json(outcome, reason=_reason(outcome), advice=advice, last_lines=outcome.last_lines)
    elif outcome.last_lines:
        print(f"the last {len(outcome.last_lines)} lines of the driver's stderr:", file=sys.stderr)
        for line in outcome.last_lines:
            print(f"  | {line}", file=sys.stderr)
    print(f"error: run {name} failed: {_reason(outcome)}", file=sys.stderr)
    print(f"what to do: {advice}", file=sys.stderr)
    return int((outcome.failure or {}).get("exit_code", RunFailedError.exit_code))


def _reason(outcome: RunOutcome) -> str:
    """Return the reason that the job logged, else EMR's."""
    if outcome.failure and outcome.failure.get("message"):
        return str(outcome.failure["message"])
    reasons = [outcome.run.get("failureReason"), outcome.run.get("stateDetails")]
    return ": ".join(str(reason) for reason in reasons if reason) or "EMR gives no reason"


def _print_results(submitter: "Submitter", outcome: RunOutcome) -> None:
    summary: dict[str, Any] = outcome.summary or {}
    size = SIZES.get(outcome.run.get("tags", {}).get("size", ""))
    cost = run_cost.estimate_text(size, outcome.seconds) if size else "unknown"
    if submitter.options.json:
        _print_json(outcome, cost=cost, output=summary.get("output"), report=summary.get("report"))
        return
    duration = f"{outcome.seconds / 60:.1f} minutes"
    lines = [("run", submitter.name(outcome.run)), ("took", duration), ("cost", cost)]
    if {"counts", "model", "output", "record", "photos_per_second", "cores"} <= summary.keys():
        counts, model, output = summary["counts"], summary["model"], summary["output"]
        record = store.join(output, summary["record"])
        rate = summary["photos_per_second"]
        lines += [
            ("photos", f"{counts['listed']:,} listed, {counts['unchanged']:,} unchanged, "
                       f"{counts['featurized']:,} featurized, {counts['rejected']:,} rejected"),
            ("photos/second", f"{rate:,.0f}  (on {summary['cores']} cores)" if rate else "none was read"),
            ("components", f"{model['components']}  ({model['variance_kept']:.2%} of the variance kept)"),
            ("output", output),
            ("record", record),
        ]  # fmt: skip
        if report := summary.get("report"):
            command = submitter.command_line("report", outcome.run)
            lines.append(("report", f"{store.join(output, report)}  ({command} fetches it)"))
    else:
        lines.append(("summary", "the job's last line did not reach CloudWatch; its record is in runs/"))
    for name, value in lines:
        print(f"{name:<14} {value}")


def _print_json(outcome: RunOutcome, **fields: object) -> None:
    event = {"event": "ended", "state": outcome.run["state"], "seconds": round(outcome.seconds)}
    print(json.dumps({**event, "run": outcome.run["id"], **fields}), flush=True)
