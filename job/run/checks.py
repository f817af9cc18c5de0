"""What must hold of a run's figures: each is a sentence that ends the run if it does not."""

from job.errors import DataError, JobError, UsageError
from job.inventory.comparison import Comparison
from job.network.backbone import FEATURES
from job.run import run_record
from job.storage import store
from job.table import layout


def check_components(components: int | None, photos: int) -> None:
    """Raise UsageError if there are to be more components than the features of so few photos can have."""
    most = min(FEATURES, photos - 1)
    if components is not None and components > most:
        raise UsageError(
            f"--components {components} is more than the rank of the features, "
            f"which is at most {most} for {photos:,} photos"
        )


def check_missing(comparison: Comparison, prune: bool, max_pruned: float) -> None:
    """Raise DataError if photos are missing, and may be neither taken out nor kept.

    So many are not listed any more that an input may be out of reach; or their rows are of another network,
    and a model is not fitted with both.
    """
    if prune and comparison.missing > max_pruned * comparison.known:
        raise DataError(
            f"{comparison.missing:,} of {comparison.known:,} known photos are not listed any more, and "
            f"--max-pruned {max_pruned:g} lets --prune take out fewer: check that all of the input can be "
            "seen, or raise it"
        )
    if comparison.outdated and not prune:
        raise DataError(
            f"{comparison.outdated:,} photos are not listed any more, and their features are of "
            "another network: take them out with --prune, or bring the photos back"
        )


def check_same(counts: run_record.Counts, fitted: int, projected: int) -> None:
    """Raise JobError if the moments or the matrix are of more or fewer photos than were counted."""
    if not counts.rows == fitted == projected:
        raise JobError(
            f"{counts.rows:,} photos have features, the moments are of {fitted:,} and the matrix of "
            f"{projected:,}: something else has changed this output; run it again"
        )


def check_rejected(counts: run_record.Counts, max_rejected: float, output: str) -> None:
    """Raise DataError if too many of the photos listed were rejected, by this run or by earlier ones."""
    bad = counts.rejected + counts.rejected_before
    if bad > max_rejected * counts.listed:
        reasons = run_record.reasons(counts.reasons, counts.rejected_before)
        raise DataError(
            f"{bad:,} of {counts.listed:,} photos were rejected ({reasons}), more than "
            f"--max-rejected {max_rejected:g} allows: see the rows of table "
            f"{store.join(output, layout.PHOTOS)} with outcome {layout.REJECTED}"
        )
