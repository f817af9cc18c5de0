"""The end of a run: its counts, its record as JSON, and the summary for people."""

import json
import platform
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any

from job import __version__
from job.cli.settings import Settings
from job.errors import JobError
from job.inventory.listing import Inventory
from job.model.passes import MISPLACED
from job.network import backbone
from job.storage import store
from job.table import layout

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

VERSIONS_OF = ("ai-edge-litert", "deltalake", "duckdb", "numpy", "pillow", "pyarrow", "obstore")


@dataclass(frozen=True, slots=True)
class Counts:
    """The photos of a run; listed = featurized + rejected + unchanged, by path."""

    listed: int
    skipped: int  # other files beside the photos
    unchanged: int  # known as they are
    rejected_before: int  # of the unchanged: rejected by an earlier run
    featurized: int
    rejected: int
    reasons: dict[str, int]  # of the rejected
    removed: int  # known, and not listed any more
    pruned: int  # of the removed: taken out of the table
    rows: int  # the table has features of now


def count(taken: Inventory, found: Counter[str], rows: int) -> Counts:
    """Put the figures of a run together.

    `found` are photos by the reason for their rejection, as :func:`passes.outcome_counts` returns them.

    Raises
    ------
    JobError
        If a listed photo is not accounted for, or a known one was lost: no record may be written then.
    """
    wrong = found.pop(MISPLACED, 0)
    reasons = {reason: number for reason, number in sorted(found.items()) if reason}
    featurized, rejected = found[""], sum(reasons.values())
    accounted = featurized + rejected + taken.unchanged
    if wrong or taken.photos != accounted:
        raise JobError(
            f"{taken.photos:,} photos were listed, {accounted:,} are accounted for, and {wrong:,} are not "
            f"exactly once in the table {layout.PHOTOS}: the run is not committed; run it again"
        )
    return Counts(
        listed=taken.photos,
        skipped=taken.skipped,
        unchanged=taken.unchanged,
        rejected_before=taken.unchanged_rejected,
        featurized=featurized,
        rejected=rejected,
        reasons=reasons,
        removed=taken.missing,
        pruned=taken.pruned,
        rows=rows,
    )


def record(
    settings: Settings,
    name: str,
    version: int,
    taken: Inventory,
    counts: Counts,
    model: dict[str, Any],
    seconds: dict[str, float],
    spark: "SparkSession | None",
    first_photo: float | None,
) -> dict[str, Any]:
    """Return the contents of a run's record.

    Parameters
    ----------
    name : str
        Of the record's file, below the output.
    version : int
        Of the table, as the run has left it.
    first_photo : float or None
        When the first photo was done, in seconds since 1970.
    """
    done = counts.featurized + counts.rejected
    return {
        "run_id": settings.run_id,
        "record": name,
        "status": "completed",
        "input": list(settings.inputs),
        "output": settings.output,
        "table_version": version,
        "settings": asdict(settings),
        "counts": asdict(counts),
        "bytes_listed": taken.bytes,
        "model": model,
        "seconds": seconds,
        "finished_at": datetime.now(UTC).isoformat(),
        "photos_per_second": round(done / seconds["featurize"], 1) if done else None,
        "backbone": backbone.name(settings.engine),
        "cores": spark.sparkContext.defaultParallelism if spark else None,
        "first_photo_at": datetime.fromtimestamp(first_photo, UTC).isoformat() if first_photo else None,
        "versions": {
            "fruits": __version__,
            "python": platform.python_version(),
            "spark": spark.version if spark else None,
            **{name: _version(name) for name in VERSIONS_OF},
        },
    }


def write(output: str, name: str, run: dict[str, Any]) -> None:
    """Write a run's record, last of all: only with it does a run count."""
    data = json.dumps(run, indent=2, ensure_ascii=False, default=str).encode(errors="backslashreplace")
    store.write_bytes(store.join(output, name), data)


def summary(run: dict[str, Any]) -> str:
    """Return the closing text of a run."""
    counts, model, output = run["counts"], run["model"], run["output"]
    rejected = f"{counts['rejected']:,}"
    if counts["rejected"] or counts["rejected_before"]:
        rejected += f"  ({reasons(counts['reasons'], counts['rejected_before'])})"
    rate = run["photos_per_second"]
    fitted = "fitted now" if model["fitted_now"] else "kept"
    lines = [
        ("photos listed", f"{counts['listed']:,}" + f"  ({counts['skipped']:,} other files skipped)"),
        ("unchanged", f"{counts['unchanged']:,}"),
        ("featurized", f"{counts['featurized']:,}"),
        ("rejected", rejected),
        ("removed", f"{counts['removed']:,}  ({counts['pruned']:,} of them taken out)"),
        ("photos per second", f"{rate:,.0f}  (on {run['cores']} cores)" if rate else "none was read"),
        ("components", f"{model['components']}  ({model['variance_kept']:.2%} of the variance, {fitted})"),
        ("total time", f"{run['seconds']['total']:.1f} s"),
        ("output", output),
        ("  table", f"{layout.PHOTOS}/  (Delta Lake, version {run['table_version']})"),
        ("  matrix", f"{layout.PCA}/  {layout.PCA_CSV}/"),
        ("  model", f"{layout.MODELS}/{model['model_id']}/"),
        ("  record", run["record"]),
    ]
    left_out = ("unchanged", "removed") if not counts["unchanged"] + counts["removed"] else ()
    return "\n".join(f"{name:<18} {value}" for name, value in lines if name not in left_out)


def reasons(found: dict[str, int], before: int) -> str:
    """Return the reasons for rejection with their counts, and the count of earlier runs, as text."""
    told = [f"{number:,} {reason}" for reason, number in found.items()]
    return ", ".join([*told, f"{before:,} by earlier runs"] if before else told)


def _version(package: str) -> str | None:
    """Return a package's version, or None without it: ``--engine tensorflow`` needs no LiteRT."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
