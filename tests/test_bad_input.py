"""Bad photos, odd names and wrong requests: nothing lost, nothing made up, one sentence each."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from job import report, store
from job.errors import DataError, JobError, UsageError
from job.tasks import Tasks
from tests.bad_photos import bad_photos, good_oddities
from tests.spark_session import Run

ODD_NAMES = (
    "a b.jpg",
    "é.JPG",
    "it's.jpeg",
    'say "hi".jpg',
    "100%.jpg",
    "50%20.jpg",
    "#1.jpg",
    "a=b.jpg",
    "x,y.jpg",
)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def tables(output: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    return tuple(pd.read_parquet(output / name) for name in ("features", "rejected"))


def test_every_kind_of_bad_photo_is_rejected_with_its_reason_among_good_ones(
    run: Run, tmp_path: Path
) -> None:
    bad, good = bad_photos(), good_oddities()
    folder = write(
        tmp_path / "in" / "Training" / "Odd Fruit", good | {name: data for name, (data, _) in bad.items()}
    )
    (folder / "gone.jpg").symlink_to(folder / "was-never-there")
    write(tmp_path / "in", {"notes.txt": b"not a photo by name"})
    record = run("--input", tmp_path / "in", "--output", tmp_path / "out", "--max-rejected", 0.95)
    features, rejected = tables(tmp_path / "out")
    found = {Path(row.path).name: row.reason for row in rejected.itertuples()}
    assert found == {name: reason for name, (_, reason) in bad.items()} | {"gone.jpg": "gone"}
    assert {Path(path).name for path in features["path"]} == set(good)
    assert record["counts"]["skipped"] == 1
    assert sum(record["counts"]["reasons"].values()) == len(rejected)
    assert set(rejected["label"]) == {"Odd Fruit"}
    assert all(len(detail) > 3 for detail in rejected["detail"])


def test_odd_names_keep_their_letters_through_every_table(run: Run, sample: Path, tmp_path: Path) -> None:
    photos = sorted(sample.rglob("*.jpg"))[: len(ODD_NAMES) * 40 : 40]
    folder = write(
        tmp_path / "in % #" / 'Fruit "é" = 1',
        {name: photo.read_bytes() for name, photo in zip(ODD_NAMES, photos, strict=True)},
    )
    output = tmp_path / "out [1] *"
    record = run("--input", tmp_path / "in % #", "--output", output, "--components", 2)
    wanted = sorted(str(folder / name) for name in ODD_NAMES)
    features, rejected = tables(output)
    assert sorted(features["path"]) == wanted
    assert rejected.empty
    assert set(features["label"]) == {'Fruit "é" = 1'}
    assert sorted(pd.read_parquet(output / "pca")["path"]) == wanted
    csv = pd.concat([pd.read_csv(file) for file in (output / "pca_csv").glob("*.csv")])
    assert sorted(csv["path"]) == wanted
    assert csv["split"].isna().all()
    assert record["counts"]["listed"] == len(ODD_NAMES)


def test_too_many_rejected_is_refused_and_not_committed(run: Run, sample: Path, tmp_path: Path) -> None:
    good = {
        f"{number}.jpg": photo.read_bytes() for number, photo in enumerate(sorted(sample.rglob("*.jpg"))[:9])
    }
    write(tmp_path / "in", good | {"cut.jpg": b"", "text.png": b"hello"})
    with pytest.raises(
        DataError, match=r"2 of 11 photos were rejected \(1 empty, 1 not_an_image\).*--max-rejected 0.05"
    ):
        run("--input", tmp_path / "in", "--output", tmp_path / "out")
    assert not (tmp_path / "out" / "runs").exists()
    assert len(pd.read_parquet(tmp_path / "out" / "rejected")) == 2


def test_an_output_is_not_mixed_with_another_inputs_but_can_be_made_anew(
    run: Run, sample: Path, tmp_path: Path
) -> None:
    classes = sorted((sample / "Training").iterdir())
    here = ["--output", tmp_path / "out", "--components", 3]
    run("--input", classes[0], *here, "--limit", 20)
    with pytest.raises(UsageError, match="--overwrite"):
        run("--input", classes[1], *here, "--limit", 20)
    with pytest.raises(UsageError, match=r"limit was 20, now not set.*--overwrite"):
        run("--input", classes[0], *here)
    assert len(tables(tmp_path / "out")[0]) == 20
    run("--input", classes[0], *here, "--limit", 20)  # the same again is no accident
    assert len(tables(tmp_path / "out")[0]) == 20
    records = [json.loads(file.read_text()) for file in sorted((tmp_path / "out" / "runs").iterdir())]
    assert [record["status"] for record in records] == ["completed"] * 2
    assert [record["counts"]["unchanged"] for record in records] == [0, 20]
    for wrong in (tmp_path / "mistyped", tmp_path):  # the second holds the output, and no photo beside it
        with pytest.raises(JobError):
            run("--input", wrong, *here, "--overwrite")
    assert len(tables(tmp_path / "out")[0]) == 20
    run("--input", classes[1], *here, "--limit", 15, "--overwrite")
    features, _ = tables(tmp_path / "out")
    assert len(features) == 15
    assert set(features["label"]) == {classes[1].name}
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 1


def test_more_components_than_photos_allow_is_refused_before_any_work(
    run: Run, sample: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"--components 8 .* rank .* at most 7 for 8 photos"):
        run("--input", sample, "--output", tmp_path, "--limit", 8, "--components", 8)
    assert not (tmp_path / "features").exists()


def test_more_components_than_the_rank_names_the_rank(run: Run, sample: Path, tmp_path: Path) -> None:
    photos = [photo.read_bytes() for photo in sorted(sample.rglob("*.jpg"))[:5]]
    write(tmp_path / "in", {f"{number}.jpg": photos[number % 5] for number in range(20)})
    with pytest.raises(
        UsageError, match=r"--components 6 is more than the rank of the features, which is 4$"
    ):
        run("--input", tmp_path / "in", "--output", tmp_path / "out", "--components", 6)
    assert not (tmp_path / "out" / "runs").exists()


def spoil(output: Path, how: str) -> None:
    file = next((output / "features").glob("*.parquet"))
    table = pq.read_table(file)
    if how == "a file lost":
        file.unlink()
    elif how == "a row lost":
        pq.write_table(table.slice(1), file)
    elif how == "a row twice":
        pq.write_table(pa.concat_tables([table, table.slice(0, 1)]), file)
    elif how == "a row in the place of another":
        pq.write_table(pa.concat_tables([table.slice(0, 1), table.slice(0, 1), table.slice(2)]), file)
    elif how == "in both tables":
        rejected = table.select(["path", "etag"]).slice(0, 1).append_column("reason", pa.array(["empty"]))
        pq.write_table(rejected, output / "rejected" / file.name)
    else:
        table = table.set_column(3, "etag", pa.array(["another"] * len(table)))
        pq.write_table(table, file)


@pytest.mark.parametrize(
    "how",
    [
        "a file lost",
        "a row lost",
        "a row twice",
        "a row in the place of another",
        "in both tables",
        "another photo of that path",
    ],
)
def test_a_photo_lost_or_doubled_keeps_the_run_from_being_committed(
    run: Run, spark: SparkSession, sample: Path, tmp_path: Path, how: str
) -> None:
    record: dict[str, Any] = run("--input", sample, "--output", tmp_path, "--limit", 40, "--components", 3)
    place = tmp_path / store.INVENTORY / record["run_id"]
    count = sum(pq.ParquetFile(file).num_row_groups for file in place.iterdir())
    todo = Tasks(str(place), 40, 0, count, count)
    assert report.outcomes(spark, str(tmp_path), todo, record["run_id"]) == {"": 40}
    spoil(tmp_path, how)
    with pytest.raises(JobError, match="not exactly once in features or rejected"):
        report.outcomes(spark, str(tmp_path), todo, record["run_id"])


def test_a_file_that_appears_meanwhile_keeps_the_run_from_being_committed_and_the_next_mends_it(
    run: Run, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = ["--input", sample, "--output", tmp_path, "--limit", 40, "--components", 3]

    def disturbed(*arguments: Any) -> Counter[str]:
        file = next((tmp_path / "features").glob("*.parquet"))
        (file.parent / "another.parquet").write_bytes(file.read_bytes())
        return counted(*arguments)

    counted = report.outcomes
    monkeypatch.setattr(report, "outcomes", disturbed)
    with pytest.raises(JobError, match="something else has changed this output; run it again"):
        run(*here)
    assert not (tmp_path / "runs").exists()
    monkeypatch.undo()
    record = run(*here)
    assert (record["counts"]["featurized"], record["counts"]["rows"]) == (0, 40)
    paths = tables(tmp_path)[0]["path"]
    assert len(paths) == paths.nunique() == 40


def test_a_mistyped_input_does_not_keep_the_right_one_out(run: Run, sample: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for wrong, error in ((tmp_path / "nowhere", UsageError), (tmp_path / "empty", DataError)):
        with pytest.raises(error):
            run("--input", wrong, "--output", tmp_path / "out")
    with pytest.raises(UsageError, match="rank"):
        run("--input", sample, "--output", tmp_path / "out", "--limit", 9, "--components", 20)
    assert not [file for file in (tmp_path / "out").rglob("*") if file.is_file()]
    assert run("--input", sample, "--output", tmp_path / "out", "--limit", 9, "--components", 2)["status"]


def test_the_run_record_holds_no_secret(
    run: Run, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-to-be-seen")
    record = run("--input", sample, "--output", tmp_path, "--limit", 12, "--components", 2)
    assert "not-to-be-seen" not in json.dumps(record)
    for file in tmp_path.rglob("*.json"):
        assert "not-to-be-seen" not in file.read_text()
