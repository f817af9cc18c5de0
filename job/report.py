"""What a run tells at its end: the counts that must add up, the record, and the summary for people."""

import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any

from job import __version__, passes, store, tables
from job.errors import DataError, JobError
from job.inventory import Inventory
from job.pca import Pca
from job.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

VERSIONS_OF = ("pyspark", "ai-edge-litert", "numpy", "pillow", "pyarrow", "obstore")


@dataclass(frozen=True, slots=True)
class Counts:
    """The photos of a run; listed = featurized + rejected, by path."""

    listed: int
    skipped: int
    featurized: int
    rejected: int
    reasons: dict[str, int]


def reconcile(spark: "SparkSession", output: str, taken: Inventory, run_id: str) -> tuple[Counts, list[str]]:
    """Count what was written against what was listed, path by path.

    Returns
    -------
    Counts
        Of the run's photos.
    list of str
        The files of ``features``, in the order of their tasks, of which all later steps are made.

    Raises
    ------
    JobError
        If a photo is in neither table, in both, or twice: the run must not be committed then.
    """
    features = tables.parts(store.join(output, store.FEATURES_TABLE), run_id)
    rejected = tables.parts(store.join(output, store.REJECTED_TABLE), run_id)
    found = passes.outcomes(spark, taken, features, rejected)
    wrong, featurized = found.pop("wrong", 0), found.pop("", 0)
    if wrong or featurized + found.total() != taken.photos:
        raise JobError(
            f"{wrong:,} of {taken.photos:,} photos are not exactly once in features or rejected: "
            "the run is not committed; run it again"
        )
    counts = Counts(taken.photos, taken.skipped, featurized, found.total(), dict(sorted(found.items())))
    return counts, [features[task] for task in sorted(features)]


def check_same(counts: Counts, fitted: int, projected: int) -> None:
    """Make sure that the model and the matrix are of the photos that were counted.

    Raises
    ------
    JobError
        If they are of more or fewer, as when another run has changed the tables meanwhile.
    """
    if not counts.featurized == fitted == projected:
        raise JobError(
            f"{counts.featurized:,} photos have features, the model is of {fitted:,} and the matrix of "
            f"{projected:,}: another run has changed this output; run it again"
        )


def check_rejected(counts: Counts, max_rejected: float, output: str) -> None:
    """Refuse a run with too many bad photos.

    Raises
    ------
    DataError
        With the reasons, and where the list is.
    """
    if counts.rejected > max_rejected * counts.listed:
        raise DataError(
            f"{counts.rejected:,} of {counts.listed:,} photos were rejected ({_reasons(counts)}), more than "
            f"--max-rejected {max_rejected:g} allows: see {store.join(output, store.REJECTED_TABLE)}"
        )


def record(
    settings: Settings,
    spark: "SparkSession",
    backbone: str,
    taken: Inventory,
    counts: Counts,
    model: Pca,
    seconds: dict[str, float],
    first_photo: float | None,
) -> dict[str, Any]:
    """Return what ``runs/<run id>.json`` holds."""
    said = {
        key: str(value) if key in ("cache", "weights") and value else value
        for key, value in asdict(settings).items()
    }
    return {
        "run_id": settings.run_id,
        "status": "completed",
        "input": list(settings.inputs),
        "output": settings.output,
        "settings": said,
        "counts": asdict(counts),
        "bytes_listed": taken.bytes,
        "backbone": backbone,
        "model": {
            "model_id": model.model_id,
            "components": model.k,
            "variance_kept": float(model.explained_variance_ratio.sum()),
            "rank": model.rank,
        },
        "seconds": seconds,
        "first_photo_at": datetime.fromtimestamp(first_photo, UTC).isoformat() if first_photo else None,
        "finished_at": datetime.now(UTC).isoformat(),
        "photos_per_second": round(counts.listed / seconds["featurize"], 1),
        "cores": spark.sparkContext.defaultParallelism,
        "versions": {
            "fruits": __version__,
            "python": platform.python_version(),
            "spark": spark.version,
            **{name: _version(name) for name in VERSIONS_OF},
        },
    }


def summary(run: dict[str, Any]) -> str:
    """Return the closing text of a run."""
    counts, model, output = run["counts"], run["model"], run["output"]
    rejected = f"{counts['rejected']:,}"
    if counts["rejected"]:
        rejected += f"  ({_reasons(Counts(**counts))})"
    tables_of = [store.FEATURES_TABLE, store.REJECTED_TABLE, store.PCA_TABLE, store.PCA_CSV_TABLE]
    lines = [
        ("photos listed", f"{counts['listed']:,}" + f"  ({counts['skipped']:,} other files skipped)"),
        ("featurized", f"{counts['featurized']:,}"),
        ("rejected", rejected),
        ("photos per second", f"{run['photos_per_second']:,.0f}  (on {run['cores']} cores)"),
        ("components", f"{model['components']}  ({model['variance_kept']:.2%} of the variance kept)"),
        ("total time", f"{run['seconds']['total']:.1f} s"),
        ("output", output),
        ("  tables", "  ".join(f"{name}/" for name in tables_of)),
        ("  model", f"{store.MODELS}/{model['model_id']}/"),
        ("  record", f"{store.RUNS}/{run['run_id']}.json"),
    ]
    return "\n".join(f"{name:<18} {value}" for name, value in lines)


def _reasons(counts: Counts) -> str:
    return ", ".join(f"{number:,} {reason}" for reason, number in counts.reasons.items())


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed as a package"
