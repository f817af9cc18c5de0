"""What ends a run because its figures cannot be right, or because it would do more than is plausible."""

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


def compared(output: Output, backbone: str = NETWORK) -> Comparison:
    """Compare photos with an output that knows as many and one more."""
    listed = sorted(folder_files(output.source, output.location, set()))
    assert len(listed) == 63
    with Comparison(listed, output.location, tables.snapshot(output.location), backbone) as found:
        return found


def test_no_more_photos_are_taken_out_than_is_plausible(output: Output) -> None:
    found = compared(output)
    checks.check_missing(found, prune=False, max_pruned=0)
    checks.check_missing(found, prune=True, max_pruned=1 / 64)
    sentence = "1 of 64 known photos are not listed any more, and --max-pruned 0.015"
    with pytest.raises(DataError, match=re.escape(sentence)):
        checks.check_missing(found, prune=True, max_pruned=0.015)


def test_rows_of_another_network_are_not_kept_beside_new_ones(output: Output) -> None:
    found = compared(output, "a newer network")
    sentence = "1 photos are not listed any more, and their features are of another network: take them out"
    with pytest.raises(DataError, match=sentence):
        checks.check_missing(found, prune=False, max_pruned=1)
    checks.check_missing(found, prune=True, max_pruned=1)


def test_more_components_than_photos_can_have_are_refused() -> None:
    checks.check_components(7, 8)
    checks.check_components(None, 8)
    checks.check_components(1280, 10**6)
    for components, photos in ((8, 8), (1281, 10**6)):
        with pytest.raises(UsageError, match=f"at most {components - 1} for {photos:,} photos"):
            checks.check_components(components, photos)


def test_too_many_bad_photos_of_this_run_and_of_earlier_ones_are_refused() -> None:
    checks.check_rejected(COUNTS, 0.2, "/out")
    sentence = (
        "2 of 10 photos were rejected (1 empty, 1 by earlier runs), more than --max-rejected 0.19 allows: "
        "see the rows of table /out/photos with outcome rejected"
    )
    with pytest.raises(DataError, match=re.escape(sentence)):
        checks.check_rejected(COUNTS, 0.19, "/out")


def test_moments_and_matrix_must_be_of_as_many_photos_as_there_are_rows() -> None:
    checks.check_coverage(COUNTS, 8, 8)
    for fitted, projected in ((7, 8), (8, 7)):
        with pytest.raises(JobError, match="something else has changed this output"):
            checks.check_coverage(COUNTS, fitted, projected)


def test_a_package_that_is_not_installed_has_no_version_and_ends_no_run() -> None:
    assert run_record._version("no-such-package") is None
    assert run_record._version("numpy")
