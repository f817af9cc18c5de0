"""Several inputs make one list: in order, each photo once, without the output; wrong inputs are refused."""

from pathlib import Path

import pytest

from job.errors import DataError, JobError, UsageError
from job.storage import s3
from tests.support.listings import made_up, make, put, take
from tests.support.s3_servers import Answer, ScriptedS3, listing_body


def test_photos_are_in_order_of_their_paths_for_any_order_of_inputs(tmp_path: Path) -> None:
    files = ["b/x.jpg", "b.jpg", "b-1/x.jpg", "a/z/x.jpg", "a/b.jpg", "é/1.jpg", "Z/1.jpg", "🍎/1.jpg"]
    files += ["b0.jpg", "b /x.jpg"]
    make(tmp_path / "in", *files)
    rows = take(tmp_path / "in", to=tmp_path)[1]
    assert [row["path"] for row in rows] == sorted(f"{tmp_path}/in/{file}" for file in files)
    overlapping = [tmp_path / "in/b", tmp_path / "in/é", tmp_path / "in/a", tmp_path / "in"]
    for inputs in (overlapping, overlapping[::-1], [tmp_path / "in", tmp_path / "in"]):
        assert take(*inputs, to=tmp_path)[1] == rows


def test_overlapping_inputs_list_a_photo_once(tmp_path: Path) -> None:
    make(tmp_path / "in", "a/1.jpg", "a/2.jpg", "b/3.jpg", "b/no.txt")
    (tmp_path / "alias").symlink_to(tmp_path / "in/b")
    inventory, rows = take(tmp_path / "in", tmp_path / "in/a", tmp_path / "alias", to=tmp_path)
    assert sorted(Path(row["path"]).name for row in rows) == ["1.jpg", "2.jpg", "3.jpg"]
    assert (inventory.photos, inventory.skipped) == (3, 1)
    assert take(tmp_path / "in/b", tmp_path / "alias", to=tmp_path)[0].photos == 1


def test_overlapping_prefixes_list_a_photo_once(bucket: str, tmp_path: Path) -> None:
    put(bucket, "in/a/1.jpg", "in/a/2.jpg", "in/b/3.jpg", "in/a/no.txt")
    inventory, rows = take(f"s3://{bucket}/in/a", f"s3://{bucket}", f"s3://{bucket}/in", to=tmp_path)
    assert [row["path"][-5:] for row in rows] == ["1.jpg", "2.jpg", "3.jpg"]
    assert (inventory.photos, inventory.skipped) == (3, 1)


def test_a_folder_and_a_bucket_make_one_inventory(bucket: str, tmp_path: Path) -> None:
    put(bucket, "1.jpg")
    make(tmp_path / "in", "2.jpg")
    assert [row["path"] for row in take(f"s3://{bucket}", tmp_path / "in", to=tmp_path)[1]] == [
        f"{tmp_path}/in/2.jpg",
        f"s3://{bucket}/1.jpg",
    ]


def test_a_limit_takes_the_first_photos_by_path(tmp_path: Path) -> None:
    make(tmp_path / "in", *(f"{number}.jpg" for number in range(9)), "-.txt", "9.txt")
    for limit in (1, 5, 9, 100):
        inventory, rows = take(tmp_path / "in", to=tmp_path, limit=limit)
        assert [Path(row["path"]).name for row in rows] == [f"{number}.jpg" for number in range(9)][:limit]
        assert inventory.photos == len(rows)
    assert take(tmp_path / "in", to=tmp_path, limit=1)[0].skipped == 1


def test_the_output_within_an_input_is_neither_listed_nor_counted(tmp_path: Path) -> None:
    make(tmp_path / "in", "1.jpg", "out/photos/2.jpg", "out/x.txt", "out2/3.jpg", "out.jpg")
    (tmp_path / "in/link").symlink_to(tmp_path / "in/out")
    inventory, rows = take(tmp_path / "in", to=tmp_path / "in/out", without=tmp_path / "in/out")
    assert [row["path"].removeprefix(f"{tmp_path}/in/") for row in rows] == ["1.jpg", "out.jpg", "out2/3.jpg"]
    assert inventory.skipped == 0


def test_the_output_within_a_prefix_is_neither_listed_nor_counted(bucket: str) -> None:
    put(bucket, "in/1.jpg", "in/out/photos/2.jpg", "in/out/x.txt", "in/out2/3.jpg", "in/out.jpg", "in/out")
    out = f"s3://{bucket}/in/out"
    inventory, rows = take(f"s3://{bucket}/in", to=out, without=out)
    assert [s3.split(row["path"])[1] for row in rows] == ["in/1.jpg", "in/out.jpg", "in/out2/3.jpg"]
    assert inventory.skipped == 1  # the object with the output's name is no file of the output


def test_earlier_tasks_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_up(monkeypatch, 20_000)
    take("s3://made-up", to=tmp_path)
    make(tmp_path / "in", "1.jpg")
    take(tmp_path / "in", to=tmp_path)
    assert [file.name for file in tmp_path.glob("_tasks/*/*")] == ["part-00000.parquet"]


def test_an_input_without_photos_is_a_data_error(tmp_path: Path, bucket: str) -> None:
    make(tmp_path / "in", "a.txt", "b.gif")
    put(bucket, "notes/a.txt")
    for source in (tmp_path / "in", f"s3://{bucket}/notes"):
        with pytest.raises(
            DataError, match=r"no photos in .*: all files are skipped by name \(1 .txt"
        ) as caught:
            take(source, to=tmp_path)
        assert caught.value.exit_code == 3
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no photos in .*: there is no file"):
        take(tmp_path / "empty", to=tmp_path)


def test_an_empty_prefix_is_a_data_error_even_beside_another(bucket: str, tmp_path: Path) -> None:
    put(bucket, "photos/1.jpg")
    for inputs in ([f"s3://{bucket}/phtos"], [f"s3://{bucket}/photos", f"s3://{bucket}/phtos"]):
        with pytest.raises(DataError, match=r"nothing in .*/phtos: check the bucket and the prefix"):
            take(*inputs, to=tmp_path)


def test_a_missing_input_is_a_usage_error_even_beside_another(tmp_path: Path) -> None:
    make(tmp_path / "in", "1.jpg")
    for inputs in ([tmp_path / "none"], [tmp_path / "in", tmp_path / "none"], [tmp_path / "in/1.jpg"]):
        with pytest.raises(UsageError) as caught:
            take(*inputs, to=tmp_path)
        assert caught.value.exit_code == 2
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("source", ["s3://photos", "s3://photos/out/in"])
def test_an_input_in_the_output_is_a_usage_error(source: str, tmp_path: Path) -> None:
    without = source.removesuffix("/in")
    with pytest.raises(UsageError, match="is in the output"):
        take(source, to=tmp_path, without=without)


def test_an_unordered_listing_is_refused(scripted_s3: ScriptedS3, tmp_path: Path) -> None:
    body = listing_body({"b.jpg": 1, "a.jpg": 1})
    scripted_s3.rules.append(lambda _, target: Answer(200, body) if "list-type" in target else None)
    with pytest.raises(JobError, match="out of order"):
        take("s3://photos", to=tmp_path)
