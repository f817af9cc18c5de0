"""The conditions on a run's counts; a run that breaks one ends with one sentence."""

from job.errors import DataError, JobError, UsageError
from job.inventory.comparison import Comparison
from job.network.backbone import FEATURES
from job.run import run_record
from job.storage import store
from job.table import layout


def check_components(components: int | None, photos: int) -> None:
    """Raise UsageError if `components` exceeds the rank of the features of `photos` photos."""
    most = min(FEATURES, photos - 1)
    if components is not None and components > most:
        raise UsageError(
            f"--components {components} is more than the rank of the features, "
            f"which is at most {most} for {photos:,} photos"
        )


def check_missing(comparison: Comparison, prune: bool, max_pruned: float) -> None:
    """Raise DataError if missing photos can be neither removed nor kept.

    Too many may be missing for `prune`, as when an input is unreachable. Without it, rows of another network
    must not stay, because one PCA cannot fit the features of two networks.
    """
    if prune and comparison.missing > max_pruned * comparison.known:
        raise DataError(
            f"{comparison.missing:,} of {comparison.known:,} known photos are not listed any more, and "
            f"--max-pruned {max_pruned:g} lets --prune take out fewer: check that all of the input can be "
            "seen, or raise it"
        )
    if comparison.missing_outdated and not prune:
        raise DataError(
            f"{comparison.missing_outdated:,} photos are not listed any more, and their features are of "
            "another network: take them out with --prune, or bring the photos back (--all-files, if they are "
            "skipped by name)"
        )


def check_coverage(counts: run_record.Counts, fitted: int, projected: int) -> None:
    """Raise JobError if the moments or the matrix do not cover exactly the featurized photos."""
    if not counts.rows == fitted == projected:
        raise JobError(
            f"{counts.rows:,} photos have features, the moments are of {fitted:,} and the matrix of "
            f"{projected:,}: something else has changed this output; run it again"
        )


def check_rejected(counts: run_record.Counts, max_rejected: float, output: str) -> None:
    """Raise DataError if too many of the photos listed were rejected, by this run or by earlier ones."""
    rejected = counts.rejected + counts.rejected_before
    if rejected > max_rejected * counts.listed:
        reasons = run_record.reasons_text(counts.reasons, counts.rejected_before)
        raise DataError(
            f"{rejected:,} of {counts.listed:,} photos were rejected ({reasons}), more than "
            f"--max-rejected {max_rejected:g} allows: see the rows of table "
            f"{store.join(output, layout.PHOTOS)} with outcome {layout.REJECTED}"
        )
