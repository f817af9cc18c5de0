"""What must hold of a run's figures: each is a sentence that ends the run if it does not."""

from job import report, store
from job.backbone import FEATURES
from job.errors import DataError, JobError, UsageError
from job.inventory import Inventory


def check_components(components: int | None, taken: Inventory) -> None:
    """Refuse more components than the features of so few photos can have.

    Raises
    ------
    UsageError
        That names the largest rank there can be.
    """
    most = min(FEATURES, taken.photos + taken.removed - 1)
    if components is not None and components > most:
        raise UsageError(
            f"--components {components} is more than the rank of the features, "
            f"which is at most {most} for {taken.photos:,} photos"
        )


def check_removed(taken: Inventory, prune: bool, max_pruned: float) -> None:
    """Refuse to drop more than is plausible, and to keep rows that no longer fit to the others.

    Raises
    ------
    DataError
        If so many photos are not listed any more that an input may be out of reach; or if rows of such photos
        are of another network, which a model must not be fitted with.
    """
    known = taken.unchanged + taken.removed + taken.comparison.changed().num_rows
    if prune and taken.removed > max_pruned * known:
        raise DataError(
            f"{taken.removed:,} of {known:,} known photos are not listed any more, and --max-pruned "
            f"{max_pruned:g} lets --prune drop fewer: check that all of the input can be seen, or raise it"
        )
    if taken.comparison.outdated and not prune:
        raise DataError(
            f"{taken.comparison.outdated:,} photos are not listed any more, and their features are of "
            "another network: drop them with --prune, or bring the photos back"
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
            f"--max-rejected {max_rejected:g} allows: see {store.join(output, store.REJECTED_TABLE)}"
        )
