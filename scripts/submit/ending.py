"""What submit.sh tells at the end of a run: where everything is, how fast it was and what it cost at most."""

import json
import sys
from typing import TYPE_CHECKING, Any

from job.storage import store
from scripts.cloud import run_cost
from scripts.cloud.aws_session import CancelledError, RunFailedError
from scripts.cloud.sizes import SIZES
from scripts.submit.follow import Followed

if TYPE_CHECKING:
    from scripts.submit.submitter import Submitter

FAILED = 1


def tell(submitter: "Submitter", ended: Followed) -> int:
    """Tell how a run ended, and return the exit code: the job's own if it said one.

    Raises
    ------
    CancelledError
        If it was cancelled.
    """
    run, state = ended.run, ended.run["state"]
    if state == "COMPLETED":
        _completed(submitter, ended)
        return 0
    name = submitter.name(run)
    if state == "CANCELLED":
        if submitter.given.json:
            _print_end(ended)
        raise CancelledError(f"run {name} was cancelled; nothing of it is committed")
    if submitter.given.json:
        _print_end(ended, reason=_reason(ended), advice=ended.advice(), last_lines=ended.last_lines)
    elif ended.last_lines:
        print(f"the last {len(ended.last_lines)} lines of the driver's stderr:", file=sys.stderr)
        for line in ended.last_lines:
            print(f"  | {line}", file=sys.stderr)
    print(f"error: run {name} failed: {_reason(ended)}", file=sys.stderr)
    print(f"what to do: {ended.advice()}", file=sys.stderr)
    return int((ended.failed or {}).get("exit_code", RunFailedError.exit_code))


def _reason(ended: Followed) -> str:
    """Return what the job itself said, else what EMR says."""
    if ended.failed and ended.failed.get("message"):
        return str(ended.failed["message"])
    said = [ended.run.get("failureReason"), ended.run.get("stateDetails")]
    return ": ".join(str(one) for one in said if one) or "EMR gives no reason"


def _completed(submitter: "Submitter", ended: Followed) -> None:
    done: dict[str, Any] = ended.summary or {}
    size = SIZES.get(ended.run.get("tags", {}).get("size", ""))
    cost = run_cost.estimate(size, ended.seconds) if size else "unknown"
    if submitter.given.json:
        _print_end(ended, cost=cost, output=done.get("output"))
        return
    took = f"{ended.seconds / 60:.1f} minutes"
    lines = [("run", submitter.name(ended.run)), ("took", took), ("cost", cost)]
    if {"counts", "model", "output", "record", "photos_per_second", "cores"} <= done.keys():
        counts, model, output = done["counts"], done["model"], done["output"]
        record = store.join(output, done["record"])
        rate = done["photos_per_second"]
        lines += [
            ("photos", f"{counts['listed']:,} listed, {counts['unchanged']:,} unchanged, "
                       f"{counts['featurized']:,} featurized, {counts['rejected']:,} rejected"),
            ("photos/second", f"{rate:,.0f}  (on {done['cores']} cores)" if rate else "none was read"),
            ("components", f"{model['components']}  ({model['variance_kept']:.2%} of the variance kept)"),
            ("output", output),
            ("record", record),
        ]  # fmt: skip
    else:
        lines.append(("summary", "the job's last line did not reach CloudWatch; its record is in runs/"))
    for name, value in lines:
        print(f"{name:<14} {value}")


def _print_end(ended: Followed, **fields: object) -> None:
    last = {"event": "ended", "state": ended.run["state"], "seconds": round(ended.seconds)}
    print(json.dumps({**last, "run": ended.run["id"], **fields}), flush=True)
