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
from job.model.spark_passes import MISPLACED
from job.network import backbone
from job.storage import store
from job.table import layout

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

KINDS_SHOWN = 5  # of skipped files, in the summary
VERSIONS_OF = ("ai-edge-litert", "deltalake", "duckdb", "numpy", "obstore", "pillow", "pyarrow", "simplejpeg")


@dataclass(frozen=True, slots=True)
class Counts:
    """The photos of a run; listed = featurized + rejected + unchanged, by path."""

    listed: int
    skipped: int  # other files beside the photos
    skipped_kinds: dict[str, int]
    unchanged: int  # their rows in the table are up to date
    rejected_before: int  # of the unchanged: rejected by an earlier run
    featurized: int
    rejected: int
    reasons: dict[str, int]  # of the rejected
    removed: int  # in the table, and not listed any more
    pruned: int  # of the removed: taken out of the table
    rows: int  # in the table now, of featurized photos


def count(inventory: Inventory, outcomes: Counter[str], rows: int) -> Counts:
    """Put the figures of a run together.

    `outcomes` are photos by the reason for their rejection, from :func:`spark_passes.outcome_counts`.

    Raises
    ------
    JobError
        If a listed photo is not accounted for, or a known one was lost: no record may be written then.
    """
    misplaced = outcomes.pop(MISPLACED, 0)
    reasons = {reason: number for reason, number in sorted(outcomes.items()) if reason}
    featurized, rejected = outcomes[""], sum(reasons.values())
    accounted = featurized + rejected + inventory.unchanged
    if misplaced or inventory.photos != accounted:
        raise JobError(
            f"{inventory.photos:,} photos were listed, {accounted:,} are accounted for, and {misplaced:,} "
            f"are not exactly once in the table {layout.PHOTOS}: the run is not committed; run it again"
        )
    return Counts(
        listed=inventory.photos,
        skipped=inventory.skipped,
        skipped_kinds=inventory.skipped_kinds,
        unchanged=inventory.unchanged,
        rejected_before=inventory.unchanged_rejected,
        featurized=featurized,
        rejected=rejected,
        reasons=reasons,
        removed=inventory.missing,
        pruned=inventory.pruned,
        rows=rows,
    )


def record(
    settings: Settings,
    name: str,
    version: int,
    inventory: Inventory,
    counts: Counts,
    model: dict[str, Any],
    classifier: dict[str, Any],
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
    processed = counts.featurized + counts.rejected
    return {
        "run_id": settings.run_id,
        "record": name,
        "status": "completed",
        "input": list(settings.inputs),
        "output": settings.output,
        "table_version": version,
        "settings": asdict(settings),
        "counts": asdict(counts),
        "bytes_listed": inventory.bytes,
        "model": model,
        "classifier": classifier,
        "seconds": seconds,
        "finished_at": datetime.now(UTC).isoformat(),
        "photos_per_second": round(processed / seconds["featurize"], 1) if processed else None,
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


def write(output: str, name: str, record: dict[str, Any]) -> None:
    """Write a run's record, last of all: only with it does a run count."""
    data = json.dumps(record, indent=2, ensure_ascii=False, default=str).encode(errors="backslashreplace")
    store.write_bytes(store.join(output, name), data)


def summary(record: dict[str, Any]) -> str:
    """Return the closing text of a run."""
    counts, model, output = record["counts"], record["model"], record["output"]
    classifier = record["classifier"]
    rejected = f"{counts['rejected']:,}"
    if counts["rejected"] or counts["rejected_before"]:
        rejected += f"  ({reasons_text(counts['reasons'], counts['rejected_before'])})"
    rate = record["photos_per_second"]
    fitted = "fitted now" if model["fitted_now"] else "kept"
    of_training = " of Training" if model["fitted_on"] == "training" else ""
    components = (
        f"{model['components']}  ({model['variance_kept']:.2%} of the variance{of_training}, {fitted})"
    )
    lines = [
        ("photos listed", f"{counts['listed']:,}  ({skipped_text(counts['skipped_kinds'])})"),
        ("unchanged", f"{counts['unchanged']:,}"),
        ("featurized", f"{counts['featurized']:,}"),
        ("rejected", rejected),
        ("removed", f"{counts['removed']:,}  ({counts['pruned']:,} of them taken out)"),
        ("photos per second", f"{rate:,.0f}  (on {record['cores']} cores)" if rate else "none was read"),
        ("components", components),
        ("classifier", classifier_text(classifier)),
        ("total time", f"{record['seconds']['total']:.1f} s"),
        ("output", output),
        ("  table", f"{layout.PHOTOS}/  (Delta Lake, version {record['table_version']})"),
        ("  matrix", f"{layout.PCA}/  {layout.PCA_CSV}/"),
        ("  model", f"{layout.MODELS}/{model['model_id']}/"),
        ("  classifier", f"{layout.MODELS}/{classifier.get('model_id')}/"),
        ("  confusion", classifier.get("confusion")),
        ("  predictions", f"{layout.PREDICTIONS}/photos={classifier['predictions']}/"),
        ("  record", record["record"]),
        ("  report", record["report"]),
    ]
    left_out = {
        "unchanged": not counts["unchanged"] + counts["removed"],
        "removed": not counts["unchanged"] + counts["removed"],
        "  classifier": "model_id" not in classifier,
        "  confusion": not classifier.get("confusion"),
        "  predictions": not classifier["predictions"],
        "  report": not record["report"],
    }
    return "\n".join(f"{name:<18} {value}" for name, value in lines if not left_out.get(name))


def classifier_text(classifier: dict[str, Any]) -> str:
    """Return how many labels a classifier knows and how often it is right, as text, or why there is none."""
    if "reason" in classifier:
        return f"none: {classifier['reason']}"
    text = f"{classifier['labels']:,} labels of {classifier['species']:,} species"
    if test := classifier["test"]:
        text += (
            f"; of {test['photos']:,} Test photos, {test['label_accuracy']:.1%} get their label and "
            f"{test['species_accuracy']:.1%} their species"
        )
    return text


def skipped_text(kinds: dict[str, int]) -> str:
    """Return the number of skipped files and their most frequent kinds, as text."""
    text = f"{sum(kinds.values()):,} other files skipped"
    texts = [f"{number:,} {kind}" for kind, number in list(kinds.items())[:KINDS_SHOWN]]
    return f"{text}: {', '.join(texts)}{', …' * (len(kinds) > KINDS_SHOWN)}" if kinds else text


def reasons_text(counts: dict[str, int], before: int) -> str:
    """Return the reasons for rejection with their counts, and the count of earlier runs, as text."""
    texts = [f"{number:,} {reason}" for reason, number in counts.items()]
    return ", ".join([*texts, f"{before:,} by earlier runs"] if before else texts)


def _version(package: str) -> str | None:
    """Return a package's version, or None without it."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
