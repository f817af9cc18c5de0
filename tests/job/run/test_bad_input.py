"""Bad photos, odd names and wrong arguments: every photo is accounted for, and errors are one sentence."""

import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from job.errors import DataError, JobError, UsageError
from job.inventory.tasks import Tasks
from job.model import spark_passes
from job.run import featurize
from job.table import files, layout
from job.table.layout import FEATURIZED, REJECTED, Report
from tests.support import outputs
from tests.support.bad_photos import bad_photos, good_oddities
from tests.support.spark_session import Run
from tests.support.tables import assert_whole, counts, snapshot, table

ODD_NAMES = ("a b.jpg", "é.JPG", "it's.jpeg", 'say "hi".jpg', "100%.jpg", "50%20.jpg", "#1.jpg", "a=b,c.jpg")


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def test_every_kind_of_bad_photo_is_rejected_with_its_reason(run: Run, tmp_path: Path) -> None:
    bad, good = bad_photos(), good_oddities()
    folder = write(
        tmp_path / "in" / "Training" / "Odd Fruit", good | {name: data for name, (data, _) in bad.items()}
    )
    (folder / "gone.jpg").symlink_to(folder / "was-never-there")
    unread_reasons = {"gone.jpg": "gone", "listed as large.jpg": "too_large"}
    write(folder, {"listed as large.jpg": b"x" * 2**20})
    write(tmp_path / "in", {"notes.txt": b"not a photo by name"})
    options = ["--max-rejected", 0.95, "--max-photo-bytes", 2**20 - 1]
    record = run("--input", tmp_path / "in", "--output", tmp_path / "out", *options)
    assert_whole(tmp_path / "out")
    features, rejected = table(tmp_path / "out", FEATURIZED), table(tmp_path / "out", REJECTED)
    reasons = {Path(path).name: reason for path, reason in rejected["reason"].items()}
    assert reasons == {name: reason for name, (_, reason) in bad.items()} | unread_reasons
    assert {Path(path).name for path in features.index} == set(good)
    assert record["counts"]["skipped"] == 1
    assert sum(record["counts"]["reasons"].values()) == len(rejected)
    assert set(rejected["label"]) == {"Odd Fruit"}
    assert all(len(detail) > 3 for detail in rejected["detail"])
    assert set(rejected["backbone"]) == {record["backbone"]}
    assert rejected[["features", "width", "height"]].isna().all(axis=None)
    hashes = {Path(path).name: sha256 or None for path, sha256 in rejected["sha256"].fillna("").items()}
    expected_hashes = {name: hashlib.sha256(data).hexdigest() for name, (data, _) in bad.items()}
    assert hashes == expected_hashes | dict.fromkeys(unread_reasons)


def test_odd_names_are_unchanged_in_every_table(run: Run, sample: Path, tmp_path: Path) -> None:
    photos = sorted(sample.rglob("*.jpg"))[: len(ODD_NAMES) * 40 : 40]
    folder = write(
        tmp_path / "in % #" / 'Fruit "é" = 1',
        {name: photo.read_bytes() for name, photo in zip(ODD_NAMES, photos, strict=True)},
    )
    output = tmp_path / "out [1] *"
    record = run("--input", tmp_path / "in % #", "--output", output, "--components", 2)
    paths = sorted(str(folder / name) for name in ODD_NAMES)
    features = table(output, FEATURIZED)
    assert features.index.tolist() == paths
    assert table(output, REJECTED).empty
    assert set(features["label"]) == {'Fruit "é" = 1'}
    assert_whole(output)
    csv = pd.concat([pd.read_csv(file) for file in (output / "pca_csv").glob("*/*.csv")])
    assert sorted(csv["path"]) == paths
    assert csv["split"].isna().all()
    assert record["counts"]["listed"] == len(ODD_NAMES)


def test_too_many_rejected_photos_end_the_run_and_their_rows_are_kept(
    run: Run, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = {
        f"{number}.jpg": photo.read_bytes() for number, photo in enumerate(sorted(sample.rglob("*.jpg"))[:9])
    }
    write(tmp_path / "in", good | {"cut.jpg": b"", "text.png": b"hello"})
    with pytest.raises(
        DataError, match=r"2 of 11 photos were rejected \(1 empty, 1 not_an_image\).*--max-rejected 0.05"
    ):
        run("--input", tmp_path / "in", "--output", tmp_path / "out")
    assert not (tmp_path / "out" / "runs").exists()
    assert set(table(tmp_path / "out", REJECTED)["reason"]) == {"empty", "not_an_image"}
    monkeypatch.setattr(featurize, "run_task", None)  # no photo is read again
    record = run("--input", tmp_path / "in", "--output", tmp_path / "out", "--max-rejected", 0.2)
    assert counts(record) == (11, 11, 0, 0, 0)
    assert_whole(tmp_path / "out")


def test_another_input_is_refused_or_overwrites_the_output(run: Run, sample: Path, tmp_path: Path) -> None:
    classes = sorted((sample / "Training").iterdir())
    options = ["--output", tmp_path / "out", "--components", 3]
    run("--input", classes[0], *options, "--limit", 20)
    with pytest.raises(UsageError, match="--overwrite"):
        run("--input", classes[1], *options, "--limit", 20)
    with pytest.raises(UsageError, match=r"limit was 20, now not set.*--overwrite"):
        run("--input", classes[0], *options)
    assert len(table(tmp_path / "out", FEATURIZED)) == 20
    run("--input", classes[0], *options, "--limit", 20)  # the same input is accepted
    assert len(table(tmp_path / "out", FEATURIZED)) == 20
    records = [json.loads(file.read_text()) for file in sorted((tmp_path / "out" / "runs").iterdir())]
    assert [record["status"] for record in records] == ["completed"] * 2
    assert [record["counts"]["unchanged"] for record in records] == [0, 20]
    for wrong_input in (tmp_path / "mistyped", tmp_path):  # the second holds only the output
        with pytest.raises(JobError):
            run("--input", wrong_input, *options, "--overwrite")
    assert len(table(tmp_path / "out", FEATURIZED)) == 20
    run("--input", classes[1], *options, "--limit", 15, "--overwrite")
    features = table(tmp_path / "out", FEATURIZED)
    assert len(features) == 15
    assert set(features["label"]) == {classes[1].name}
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 1
    assert len(list((tmp_path / "out" / "models").glob("pca-*"))) == 1
    assert_whole(tmp_path / "out")


def test_more_components_than_the_rank_are_refused_and_the_rank_is_named(
    run: Run, sample: Path, tmp_path: Path
) -> None:
    photos = [photo.read_bytes() for photo in sorted(sample.rglob("*.jpg"))[:5]]
    write(tmp_path / "in", {f"{number}.jpg": photos[number % 5] for number in range(20)})
    with pytest.raises(
        UsageError, match=r"--components 6 is more than the rank of the features, which is 4$"
    ):
        run("--input", tmp_path / "in", "--output", tmp_path / "out", "--components", 6)
    assert not (tmp_path / "out" / "runs").exists()


def corrupt(output: str, reports: list[Report], damage: str) -> None:
    """Corrupt the tasks' files or reports."""
    new, replacing = (
        next(report for report in reports if bool(report.replaced) is changed) for changed in (False, True)
    )
    location = files.location(output, (replacing if "stay" in damage else new).written[0].path)
    rows = files.read(location)
    rest, last = rows.slice(0, len(rows) - 1), rows.slice(len(rows) - 1)
    if damage == "in both outcomes":
        path = layout.data_path(REJECTED, 2, new.task, 1)
        bad = last.set_column(last.schema.get_field_index("reason"), "reason", pa.array(["empty"]))
        new.written.append(files.write(output, path, bad))
    elif damage == "a task not reported":
        reports.remove(new)
    elif damage == "another photo of that path":
        etags = pa.array(["another"] * len(rows))
        pq.write_table(rows.set_column(rows.schema.get_field_index("etag"), "etag", etags), location)
    elif damage.endswith("lost"):
        pq.write_table(rest, location)
    elif damage.endswith("twice"):
        pq.write_table(pa.concat_tables([rows, last]), location)
    else:
        pq.write_table(pa.concat_tables([rest.slice(1), last, last]), location)


@pytest.mark.parametrize(
    "damage",
    [
        "a task not reported",
        "a row lost",
        "a row twice",
        "a row in the place of another",
        "in both outcomes",
        "another photo of that path",
        "a row that should stay is lost",
        "a row that should stay is there twice",
    ],
)
def test_a_run_that_loses_or_doubles_a_photo_is_not_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    outputs.quick(monkeypatch)
    outcome_counts = spark_passes.outcome_counts

    def corrupt_and_count(
        spark: SparkSession, output: str, todo: Tasks, reports: list[Report], rows: dict[str, int]
    ) -> Counter[str]:
        if rows:  # the second run replaces files
            corrupt(output, reports, damage)
        return outcome_counts(spark, output, todo, reports, rows)

    monkeypatch.setattr(spark_passes, "outcome_counts", corrupt_and_count)
    with pytest.raises(JobError, match="not exactly once in the table photos: the run is not committed"):
        outputs.make(str(tmp_path / "out"), outputs.photos(tmp_path / "photos", 48), cores=2)
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 1


def test_foreign_files_that_appear_during_a_run_are_deleted(
    run: Run, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome_counts = spark_passes.outcome_counts

    def copy_and_count(*arguments: Any) -> Counter[str]:
        file = next((tmp_path / "photos" / "outcome=featurized").iterdir())
        shutil.copy(file, file.with_name("another.parquet"))
        return outcome_counts(*arguments)

    monkeypatch.setattr(spark_passes, "outcome_counts", copy_and_count)
    run("--input", sample, "--output", tmp_path, "--limit", 40, "--components", 3)
    assert len(table(tmp_path, FEATURIZED)) == 40
    assert_whole(tmp_path)


def test_a_mistyped_input_does_not_block_the_right_one(run: Run, sample: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for wrong, error in ((tmp_path / "nowhere", UsageError), (tmp_path / "empty", DataError)):
        with pytest.raises(error):
            run("--input", wrong, "--output", tmp_path / "out")
    with pytest.raises(UsageError, match=r"--components 20 .* rank .* at most 8 for 9 photos"):
        run("--input", sample, "--output", tmp_path / "out", "--limit", 9, "--components", 20)
    assert snapshot(tmp_path / "out").files == {}, "refused before any work"
    assert not (tmp_path / "out" / "runs").exists()
    assert run("--input", sample, "--output", tmp_path / "out", "--limit", 9, "--components", 2)["status"]
