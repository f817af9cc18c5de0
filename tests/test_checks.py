"""What ends a run because its figures cannot be right, or because it would do more than is plausible."""

import re
from pathlib import Path

import pytest

from job import checks, inventory
from job.compare import Comparison
from job.errors import DataError, JobError, UsageError
from job.inventory import Inventory, Source
from job.known import Known
from job.report import Counts
from job.settings import parse
from tests.known_rows import NETWORK, Row, write
from tests.listings import make

FILE = "features/part-000000-a.parquet"


def taken(tmp_path: Path, listed: int, known: int, *, backbone: str = NETWORK) -> Inventory:
    """Compare a folder of so many photos with an output that knows as many and some more."""
    folder = tmp_path / "in"
    make(folder, *(f"{number:03}.jpg" for number in range(listed)))
    write(
        str(tmp_path / "out"),
        FILE,
        [Row(f"{folder}/{number:03}.jpg", "another", backbone=backbone) for number in range(known)],
    )
    comparison = Comparison(Known(str(tmp_path / "out"), NETWORK))
    source = Source((str(folder),), str(tmp_path / "out"))
    return inventory.take(source, str(tmp_path / "tasks"), 2, 10, comparison)


def test_no_more_rows_are_dropped_than_is_plausible(tmp_path: Path) -> None:
    found = taken(tmp_path, 8, 10)
    assert found.removed == 2
    checks.check_removed(found, prune=False, max_pruned=0.1)
    checks.check_removed(found, prune=True, max_pruned=0.2)
    sentence = "2 of 10 known photos are not listed any more, and --max-pruned 0.1"
    with pytest.raises(DataError, match=re.escape(sentence)):
        checks.check_removed(found, prune=True, max_pruned=0.1)


def test_rows_of_another_network_are_not_kept_beside_new_ones(tmp_path: Path) -> None:
    found = taken(tmp_path, 8, 10, backbone="an older network")
    with pytest.raises(DataError, match=r"2 photos are not listed any more.* of another network: drop them"):
        checks.check_removed(found, prune=False, max_pruned=1)
    checks.check_removed(found, prune=True, max_pruned=1)


def test_more_components_than_photos_can_have_are_refused(tmp_path: Path) -> None:
    found = taken(tmp_path, 8, 10)
    checks.check_components(9, found)
    checks.check_components(None, found)
    with pytest.raises(UsageError, match="at most 9 for 8 photos"):
        checks.check_components(10, found)


def test_moments_and_matrix_must_be_of_as_many_photos_as_there_are_rows() -> None:
    counts = Counts(10, 0, 4, 1, 5, 1, {"empty": 1}, 0, 0, 8)
    checks.check_same(counts, 8, 8)
    for fitted, projected in ((7, 8), (8, 7)):
        with pytest.raises(JobError, match="something else has changed this output"):
            checks.check_same(counts, fitted, projected)


def test_a_limit_is_no_reason_to_drop_what_lies_beyond_it() -> None:
    with pytest.raises(UsageError, match="--prune and --limit exclude each other"):
        parse(["--input", "/in", "--output", "/out", "--prune", "--limit", "5"], {})
