"""Prints how a run ended: its results, its speed and an estimate of its cost, or why it failed."""

import json
from typing import TYPE_CHECKING, Any

from job.storage import store
from scripts.cloud import run_cost, run_outcome
from scripts.cloud.aws_session import CancelledError
from scripts.cloud.run_outcome import RunOutcome
from scripts.cloud.sizes import SIZES

if TYPE_CHECKING:
    from scripts.submit.submitter import Submitter


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
    advice, reason = outcome.advice(submitter.diagnosis(run)), outcome.reason or "EMR gives no reason"
    if submitter.options.json:
        _print_json(outcome, reason=reason, advice=advice, last_lines=outcome.last_lines)
    else:
        outcome.print_last_lines("the driver's stderr")
    run_outcome.print_failure(name, reason, advice)
    return outcome.exit_code


def _print_results(submitter: "Submitter", outcome: RunOutcome) -> None:
    summary: dict[str, Any] = outcome.summary or {}
    size = SIZES.get(outcome.run.get("tags", {}).get("size", ""))
    cost = run_cost.estimate_text(size, outcome.seconds) if size else "unknown"
    if submitter.options.json:
        _print_json(outcome, cost=cost, output=summary.get("output"), report=summary.get("report"))
        return
    lines = [*outcome.time_lines(submitter.name(outcome.run)), ("cost", cost)]
    if results := outcome.result_lines():
        lines += results
        if report := summary.get("report"):
            command = submitter.command_line("report", outcome.run)
            lines.append(("report", f"{store.join(summary['output'], report)}  ({command} fetches it)"))
    else:
        lines.append(("summary", "the job's last line did not reach CloudWatch; its record is in runs/"))
    run_outcome.print_lines(lines)


def _print_json(outcome: RunOutcome, **fields: object) -> None:
    event = {"event": "ended", "state": outcome.run["state"], "seconds": round(outcome.seconds)}
    print(json.dumps({**event, "run": outcome.run["id"], **fields}), flush=True)
