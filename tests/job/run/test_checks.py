"""Checks that end a run: impossible figures, and limits that it would exceed."""

import re

import pytest

from job.errors import DataError, JobError, UsageError
from job.inventory.comparison import Comparison
from job.inventory.folder_listing import folder_files
from job.run import checks, run_record
from job.run.run_record import Counts
from tests.support import tables
from tests.support.outputs import NETWORK, Output

COUNTS = Counts(10, 0, {}, 4, 1, 5, 1, {"empty": 1}, 0, 0, 8)


def compare(output: Output, backbone: str = NETWORK) -> Comparison:
    """Compare an output with its photos, one of which is missing."""
    listed = sorted(folder_files(output.source, output.location, set()))
    assert len(listed) == 63
    with Comparison(listed, output.location, tables.snapshot(output.location), backbone) as comparison:
        return comparison


def test_pruning_more_photos_than_the_limit_is_refused(output: Output) -> None:
    comparison = compare(output)
    checks.check_missing(comparison, prune=False, max_pruned=0)
    checks.check_missing(comparison, prune=True, max_pruned=1 / 64)
    sentence = "1 of 64 known photos are not listed any more, and --max-pruned 0.015"
    with pytest.raises(DataError, match=re.escape(sentence)):
        checks.check_missing(comparison, prune=True, max_pruned=0.015)


def test_missing_photos_of_another_network_must_be_pruned(output: Output) -> None:
    comparison = compare(output, "a newer network")
    sentence = "1 photos are not listed any more, and their features are of another network: take them out"
    with pytest.raises(DataError, match=sentence):
        checks.check_missing(comparison, prune=False, max_pruned=1)
    checks.check_missing(comparison, prune=True, max_pruned=1)


def test_more_components_than_photos_can_have_are_refused() -> None:
    checks.check_components(7, 8)
    checks.check_components(None, 8)
    checks.check_components(1280, 10**6)
    for components, photos in ((8, 8), (1281, 10**6)):
        with pytest.raises(UsageError, match=f"at most {components - 1} for {photos:,} photos"):
            checks.check_components(components, photos)


def test_too_many_rejected_photos_of_this_and_earlier_runs_are_refused() -> None:
    checks.check_rejected(COUNTS, 0.2, "/out")
    sentence = (
        "2 of 10 photos were rejected (1 empty, 1 by earlier runs), more than --max-rejected 0.19 allows: "
        "see the rows of table /out/photos with outcome rejected"
    )
    with pytest.raises(DataError, match=re.escape(sentence)):
        checks.check_rejected(COUNTS, 0.19, "/out")


def test_moments_and_matrix_must_cover_all_rows() -> None:
    checks.check_coverage(COUNTS, 8, 8)
    for fitted, projected in ((7, 8), (8, 7)):
        with pytest.raises(JobError, match="something else has changed this output"):
            checks.check_coverage(COUNTS, fitted, projected)


def test_a_package_that_is_not_installed_has_no_version() -> None:
    assert run_record._version("no-such-package") is None
    assert run_record._version("numpy")
