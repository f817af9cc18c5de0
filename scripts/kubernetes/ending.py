"""Prints how a run on a cluster without EMR ended."""

from collections.abc import Callable

from scripts.cloud import run_outcome
from scripts.cloud.failures import Directions
from scripts.cloud.run_outcome import RunOutcome


def print_outcome(
    outcome: RunOutcome, directions: Directions, place: Callable[[str], str] = lambda text: text
) -> int:
    """Print how a run ended and return the exit code: the job's own, if its log has one.

    Parameters
    ----------
    outcome : RunOutcome
        The run's.
    directions : Directions
        Where to look.
    place : callable
        Returns where a user finds a location that the job names.
    """
    name = str(outcome.run["name"])
    if outcome.run["state"] == "COMPLETED":
        missing = [("summary", "the job's last line is not in the driver's log; its record is in runs/")]
        lines = [*outcome.time_lines(name), *(outcome.result_lines() or missing)]
        run_outcome.print_lines([(label, place(text)) for label, text in lines])
        return 0
    outcome.print_last_lines("the driver's log" if outcome.driver_wrote else "the job-runner's log")
    advice = outcome.advice(directions)
    run_outcome.print_failure(name, outcome.reason or "Kubernetes gives no reason", advice)
    return outcome.exit_code
