"""What must hold of a run's figures: each is a sentence that ends the run if it does not."""

from job import report, store
from job.backbone import FEATURES
from job.compare import Comparison
from job.errors import DataError, JobError, UsageError
from job.table import layout


def check_components(components: int | None, photos: int) -> None:
    """Refuse more components than the features of so few photos can have.

    Raises
    ------
    UsageError
        That names the largest rank there can be.
    """
    most = min(FEATURES, photos - 1)
    if components is not None and components > most:
        raise UsageError(
            f"--components {components} is more than the rank of the features, "
            f"which is at most {most} for {photos:,} photos"
        )


def check_missing(comparison: Comparison, prune: bool, max_pruned: float) -> None:
    """Refuse to take out more than is plausible, and to keep rows that no longer fit to the others.

    Raises
    ------
    DataError
        If so many photos are not listed any more that an input may be out of reach; or if rows of such photos
        are of another network, which a model must not be fitted with.
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


def check_same(counts: report.Counts, fitted: int, projected: int) -> None:
    """Make sure that the moments and the matrix are of the photos that were counted.

    Raises
    ------
    JobError
        If they are of more or fewer, as when something else has changed the tables meanwhile.
    """
    if not counts.rows == fitted == projected:
        raise JobError(
            f"{counts.rows:,} photos have features, the moments are of {fitted:,} and the matrix of "
            f"{projected:,}: something else has changed this output; run it again"
        )


def check_rejected(counts: report.Counts, max_rejected: float, output: str) -> None:
    """Refuse an output with too many bad photos among those listed, of this run and of earlier ones.

    Raises
    ------
    DataError
        With the reasons, and where the list is.
    """
    bad = counts.rejected + counts.rejected_before
    if bad > max_rejected * counts.listed:
        reasons = report.reasons(counts.reasons, counts.rejected_before)
        raise DataError(
            f"{bad:,} of {counts.listed:,} photos were rejected ({reasons}), more than "
            f"--max-rejected {max_rejected:g} allows: see the rows of table "
            f"{store.join(output, layout.PHOTOS)} with outcome {layout.REJECTED}"
        )
