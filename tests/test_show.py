"""What ``show`` tells of one photo, from every table, and that it changes nothing."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from job import show
from job.errors import DataError, UsageError
from job.show import Question
from job.traces import Selection
from tests import outputs
from tests.outputs import Made, make, photos
from tests.test_erase import snapshot


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("show")
    return make(str(folder / "out"), photos(folder / "photos", 48), files=2)


def asked(made: Made, path: str) -> Question:
    return Question(made.location, Selection(frozenset([path])))


def test_all_that_is_known_of_a_photo_is_told_and_nothing_is_changed(made: Made) -> None:
    before, path = snapshot(made.location), made.changed[0]
    known = show.run(asked(made, path))
    assert snapshot(made.location) == before
    (photo,) = known["photos"]
    assert photo["path"] == path
    (row,) = photo["features"]
    numbers = outputs.features_of(path).astype(float)
    assert row["sha256"] == made.sha256[path]
    assert row["run_id"] == made.runs[1], "the run that has made the row that is there now"
    assert (row["features"]["count"], row["features"]["max"]) == (1280, pytest.approx(numbers.max(), 1e-5))
    assert row["features"]["norm"] == pytest.approx(float(np.linalg.norm(numbers)), 1e-5)
    assert [(one["model_id"], one["components"]) for one in photo["pca"]] == [(made.model_id, 3)]
    assert len(photo["pca_csv"]) == 1
    assert [one["run_id"] for one in photo["listed"]] == made.runs
    assert photo["rejected"] == photo["removed"] == []
    text = show.summary(known)
    assert made.sha256[path] in text
    assert "count 1280" in text
    assert f"listed by run {made.runs[1]}" in text


def test_a_rejected_photo_is_shown_with_its_reason(made: Made) -> None:
    (photo,) = show.run(asked(made, made.bad[0]))["photos"]
    assert [row["reason"] for row in photo["rejected"]] == ["truncated"]
    assert photo["features"] == photo["pca"] == photo["pca_csv"] == []


def test_a_photo_that_is_not_listed_any_more_is_shown_with_the_run_that_missed_it(made: Made) -> None:
    (photo,) = show.run(asked(made, made.removed[0]))["photos"]
    assert [one["run_id"] for one in photo["removed"]] == [made.runs[1]]
    assert [one["run_id"] for one in photo["listed"]] == [made.runs[0]]


def test_a_hash_leads_to_its_photo(made: Made) -> None:
    path = made.good[5]
    known = show.run(Question(made.location, Selection(sha256=frozenset([made.sha256[path]]))))
    assert [photo["path"] for photo in known["photos"]] == [path]
    assert len(known["photos"][0]["listed"]) == 1


@pytest.mark.parametrize(
    ("first", "last", "may_be"),
    [("/a", "/l", False), ("/a", "/m", True), ("/m", "/z", True), ("/n", "/z", False)],
)
def test_only_files_whose_statistics_leave_room_for_a_photo_are_read(
    first: str, last: str, may_be: bool
) -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"path": [first, last]}), sink)
    group = pq.ParquetFile(sink).metadata.row_group(0)
    assert Selection(frozenset(["/m"])).may_be_in(group) == may_be
    assert Selection(frozenset(["/m"]), prefixes=("/",)).may_be_in(group)


def test_what_is_not_known_is_said_in_one_sentence(made: Made) -> None:
    with pytest.raises(DataError, match=r"^nothing is known of /nowhere.jpg in output .*: check"):
        show.run(asked(made, "/nowhere.jpg"))


def test_what_is_no_output_of_ours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no output of this job"):
        show.run(Question(str(tmp_path), Selection(frozenset(["/a.jpg"]))))
