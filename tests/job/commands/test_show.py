"""What ``show`` prints about a photo: it changes nothing and does not wait for writers."""

import io
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from job.commands import compact, selection, show
from job.commands.selection import Selection
from job.storage import store
from job.table import layout, path_lists, schema, sweep, writer
from tests.job.commands.test_erase import LOG
from tests.support import outputs, tables
from tests.support.outputs import COMPONENTS, FEW, NETWORK, RUN_IDS, Output, rows_of
from tests.support.tables import tree

MOVED = ("file", "pca", "pca_csv", "table_version")  # fields that a compaction changes


def show_photos(output: Output, **selected: Any) -> list[dict[str, Any]]:
    fields: Any = {name: frozenset(values) for name, values in selected.items()}
    photos: list[dict[str, Any]] = show.run(output.location, Selection(**fields), LOG)["photos"]
    return photos


def test_a_photos_fields_are_shown_and_nothing_is_changed(output: Output) -> None:
    before, path = tree(output.location), output.changed[0]
    (photo,) = show_photos(output, paths=[path])
    assert tree(output.location) == before
    (row,) = (row for row in rows_of(output.location, layout.FEATURIZED) if row["path"] == path)
    for name in row.keys() - {"path", "features", "reason", "detail"}:
        assert photo.pop(name) == row[name]
    assert (row["sha256"], row["backbone"]) == (output.sha256[path], NETWORK)
    assert row["run_id"] == RUN_IDS[1], "the run that wrote the current row"
    file, matrix, csv = (Path(photo.pop(name)) for name in ("file", "pca", "pca_csv"))
    assert Path(output.location, file).exists()
    assert file.stem == matrix.stem == csv.stem
    projected = {row["path"]: row["pca"] for row in outputs.matrix_of(output.location)[0]}
    features = outputs.features_of(path).astype(float)
    figures = {"min": features.min(), "max": features.max(), "norm": np.linalg.norm(features)}
    assert photo.pop("features") == pytest.approx({"count": FEW, **figures}, 1e-5)
    assert photo == {
        "path": path,
        "outcome": "featurized",
        "table_version": tables.snapshot(output.location).version,
        "model_id": sweep.current_model_id(output.location),
        "components": COMPONENTS,
        "first_components": projected[path],
        "may_be_shown_in": "report.html",
        "is_missing": False,
    }


def test_without_a_report_no_report_may_show_a_photo(output: Output) -> None:
    (Path(output.location) / layout.REPORT).unlink()
    for photo in show_photos(output, paths=[output.changed[0], output.bad[0]]):
        assert "may_be_shown_in" not in photo


def test_a_rejected_photo_is_shown_with_its_reason_and_without_features(output: Output) -> None:
    (photo,) = show_photos(output, paths=output.bad[:1])
    assert (photo["outcome"], photo["reason"]) == ("rejected", "truncated")
    assert photo["sha256"] == output.sha256[output.bad[0]]
    assert not {"features", "width", "model_id", "first_components", "pca"} & photo.keys()


def test_a_photo_that_the_last_run_did_not_list_is_shown_as_missing(output: Output) -> None:
    (photo,) = show_photos(output, paths=output.missing)
    assert photo["is_missing"]
    assert photo["outcome"] == "featurized", "its row stays"
    with writer.exclusive_writer(output.location, "killed", "run", first_actions=lambda _: []) as killed:
        listed = pa.Table.from_pylist(
            [{"path": "/pruned.jpg", "outcome": "featurized"}], schema.LISTS[layout.MISSING]
        )
        path_lists.write(killed, layout.MISSING, listed.to_batches())
    pruned = {"path": "/pruned.jpg", "is_missing": True}
    assert show_photos(output, paths=["/pruned.jpg"]) == [pruned]
    (first, last) = show_photos(output, paths=["/pruned.jpg", output.good[0]])
    assert (first["path"], last) == (output.good[0], pruned), "each selected photo is shown"


def test_photos_are_selected_by_hash_and_by_path(output: Output) -> None:
    good, bad = output.good[5], output.bad[1]
    photos = show_photos(output, paths=[bad], sha256=[output.sha256[good]])
    assert sorted(photo["path"] for photo in photos) == sorted([good, bad])


def test_the_summary_has_one_line_for_each_field(output: Output) -> None:
    path = output.missing[0]
    shown = show.run(output.location, Selection(frozenset([path])), LOG)
    lines = show.summary(shown).splitlines()
    assert f"{'path':<20} {path}" in lines
    assert f"{'sha256':<20} {output.sha256[path]}" in lines
    assert f"{'is_missing':<20} yes" in lines
    assert any(line.startswith(f"{'features':<20} count {FEW}, min ") for line in lines)


@pytest.mark.parametrize("nth_read", range(0, 12, 2))
def test_a_photo_is_shown_whole_if_its_file_is_merged_during_the_search(
    output: Output, monkeypatch: pytest.MonkeyPatch, nth_read: int
) -> None:
    (before,) = show_photos(output, paths=output.changed)
    reads, open_input = count(), store.open_input

    def open_after_compaction(location: str) -> Any:
        if next(reads) == nth_read:
            compact.run(output.location, LOG)
        return open_input(location)

    monkeypatch.setattr(selection, "FILES_AT_ONCE", 1)
    monkeypatch.setattr(store, "open_input", open_after_compaction)
    (photo,) = show_photos(output, paths=output.changed)
    assert photo == {**before, **{name: photo.get(name) for name in MOVED}}
    assert all(photo[name] != before[name] for name in MOVED)


@pytest.mark.parametrize(
    ("first", "last", "may_match"),
    [("/a", "/l", False), ("/a", "/m", True), ("/m", "/z", True), ("/n", "/z", False)],
)
def test_only_files_whose_statistics_may_match_a_photo_are_read(
    first: str, last: str, may_match: bool
) -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"path": [first, last]}), sink)
    group = pq.ParquetFile(sink).metadata.row_group(0)
    assert Selection(frozenset(["/m"])).may_match(group) == may_match
    assert Selection(frozenset(["/m"]), prefixes=("/",)).may_match(group)
    assert Selection(frozenset(["/m"]), sha256=frozenset(["0"])).may_match(group)
