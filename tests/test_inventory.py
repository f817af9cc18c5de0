"""The inventory: every photo once, in order, labelled, in tasks of even size, and nothing lost in silence."""

import io
import itertools
import os
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq
import pytest

from job import inventory, s3, store
from job.errors import DataError, JobError, UsageError
from tests.s3_servers import Answer, Moto, ScriptedS3, error_body, listing_body

NOON: Final = datetime(2026, 11, 21, 12, tzinfo=UTC)
# Names that some layer between a folder and a table could take for something else.
NAMES: Final = (
    "two words",
    "é",
    "e\u0301",
    "it's",
    'say "x"',
    "100%",
    "%20",
    "a%2Fb",
    "#1",
    "a=b&c+d",
    "what?",
    "[x]{y}",
    "*",
    "back\\slash",
    "\\udcff",
    "line\nbreak",
    "tab\t",
    "~",
    "🍎",
    " lead and trail ",
    "-rf",
    "file:",
    "s3:",
)


def make(folder: Path, *files: str) -> None:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(file.encode())


def put(bucket: str, *keys: str) -> None:
    for key in keys:
        s3.client(bucket).put_object(Bucket=bucket, Key=key, Body=key.encode())


def take(
    *inputs: object, to: Path | str, cores: int = 2, limit: int | None = None, without: object = "/nowhere"
) -> tuple[inventory.Inventory, list[dict[str, Any]]]:
    """Take an inventory, and read all of its rows back."""
    taken = inventory.take([str(one) for one in inputs], f"{to}/inventory", cores, limit, str(without))
    rows = [
        row for task in range(taken.tasks) for row in inventory.read_task(taken.location, task).to_pylist()
    ]
    return taken, rows


def sizes(taken: inventory.Inventory) -> list[int]:
    """Return how many photos each task has."""
    return [inventory.read_task(taken.location, task).num_rows for task in range(taken.tasks)]


def made_up(monkeypatch: pytest.MonkeyPatch, count: int, size: int = 5_000) -> None:
    """Let ``s3://made-up`` hold so many photos."""
    photos = (
        (f"s3://made-up/Training/apple/{number:09}.jpg", size, f"{number:032x}", NOON)
        for number in range(count)
    )
    monkeypatch.setattr(s3, "list_objects", lambda _: photos)


# ---- what is a photo, and what its row says


def test_a_photo_is_what_is_called_one_in_any_case_and_the_rest_is_counted(tmp_path: Path) -> None:
    photos = ["a.JPG", "b.jpeg", "c.Png", "d.webp", "e.tar.jpg", ".jpg"]
    others = ["f.gif", "g.jpg.txt", "h.jpgx", "jpg", "i.jp", "j.xjpg", "k", ".DS_Store"]
    make(tmp_path / "in", *photos, *others)
    taken, rows = take(tmp_path / "in", to=tmp_path)
    assert [Path(row["path"]).name for row in rows] == sorted(photos)
    assert (taken.photos, taken.skipped) == (len(photos), len(others))
    assert taken.bytes == sum(map(len, photos))


def test_a_row_has_the_columns_of_the_schema(tmp_path: Path) -> None:
    make(tmp_path / "in", "Training/apple/1.jpg")
    os.utime(tmp_path / "in/Training/apple/1.jpg", (0, NOON.timestamp()))
    taken, [row] = take(tmp_path / "in", to=tmp_path)
    assert row == {
        "path": str(tmp_path / "in/Training/apple/1.jpg"),
        "label": "apple",
        "split": "Training",
        "etag": row["etag"],
        "bytes": 20,
        "modified": NOON,
    }
    assert row["etag"]
    assert inventory.read_task(taken.location, 0).schema.equals(store.INVENTORY_SCHEMA)


@pytest.mark.parametrize(
    ("path", "label", "split"),
    [
        ("/data/Training/apple/1.jpg", "apple", "Training"),
        ("/data/Test/apple/1.jpg", "apple", "Test"),
        ("/data/training/apple/1.jpg", "apple", None),
        ("/data/Training/more/apple/1.jpg", "apple", None),
        ("/data/Training/1.jpg", "Training", None),
        ("/Training/apple/1.jpg", "apple", "Training"),
        ("/apple/1.jpg", "apple", None),
        ("/1.jpg", None, None),
        ("s3://bucket/1.jpg", None, None),
        ("s3://bucket/apple/1.jpg", "apple", None),
        ("s3://Training/apple/1.jpg", "apple", None),  # a bucket is no folder
        ("s3://bucket/Test/apple/1.jpg", "apple", "Test"),
        ("s3://bucket/Test//1.jpg", None, "Test"),
        ("/data/\udcff/1.jpg", "\\udcff", None),
    ],
)
def test_label_and_split_are_the_folders_above(path: str, label: str | None, split: str | None) -> None:
    assert inventory.label_and_split(path) == (label, split)


def test_the_sample_is_listed_with_its_labels(sample: Path, tmp_path: Path) -> None:
    taken, rows = take(sample, to=tmp_path)
    found = Counter((path.parent.parent.name, path.parent.name) for path in sample.rglob("*.jpg"))
    assert Counter((row["split"], row["label"]) for row in rows) == found
    assert taken.photos == found.total()
    assert taken.bytes == sum(path.stat().st_size for path in sample.rglob("*.jpg"))


# ---- names


def test_odd_names_in_folders_come_back_as_they_are(tmp_path: Path) -> None:
    files = [f"{name}/{name}.jpg" for name in NAMES]
    make(tmp_path / "in", *files)
    _, rows = take(tmp_path / "in", to=tmp_path)
    assert [row["path"] for row in rows] == sorted(f"{tmp_path}/in/{file}" for file in files)
    for row in rows:
        name = row["path"].removeprefix(f"{tmp_path}/in/")
        assert store.read_bytes(row["path"]) == name.encode()
        assert row["label"] == name.split("/")[0]


def test_odd_keys_in_s3_come_back_as_they_are(bucket: str) -> None:
    keys = [f"in/{name}/{name}.jpg" for name in NAMES if "\n" not in name]  # moto takes no line break
    keys += ["in//empty.jpg", "in/./dot.jpg", "in/a/../up.jpg", "in/a//b.jpg"]
    put(bucket, *keys, "in2/other.jpg", "in/folder.jpg/", "in/not.txt")
    s3.client(bucket).put_object(Bucket=bucket, Key="in/marker.jpg/")
    taken, rows = take(f"s3://{bucket}/in", to=f"s3://{bucket}/_out")
    assert [row["path"] for row in rows] == sorted(f"s3://{bucket}/{key}" for key in keys)
    assert taken.skipped == 2  # the text, and the object called like a folder that is not empty
    for row in rows:
        assert store.read_bytes(row["path"]) == s3.split(row["path"])[1].encode()


def test_names_that_are_not_utf_8_are_listed_apart_from_those_that_look_like_them(tmp_path: Path) -> None:
    names = [b"\xff.jpg", b"\xfe.jpg", b"\\udcff.jpg", b"%FF.jpg", b"\xc3\xa9.jpg"]
    for folder in (b"in", b"in/caf\xe9"):
        (tmp_path / os.fsdecode(folder)).mkdir()
        for name in names:
            (tmp_path / os.fsdecode(folder + b"/" + name)).write_bytes(name)
    taken, rows = take(tmp_path / "in", to=tmp_path)
    readable = [row["path"] for row in rows if not store.was_unprintable(row["path"])]
    assert taken.photos == len({row["path"] for row in rows}) == 10
    assert [os.fsencode(Path(path).name) for path in readable] == sorted(names[2:])
    for path in readable:
        assert store.read_bytes(path) == os.fsencode(Path(path).name)
    assert {row["label"] for row in rows} == {"in", "caf\\udce9"}


# ---- order, overlaps, limit, what is left out


def test_photos_are_in_order_of_their_paths_whatever_the_order_of_the_inputs(tmp_path: Path) -> None:
    files = ["b/x.jpg", "b.jpg", "b-1/x.jpg", "a/z/x.jpg", "a/b.jpg", "é/1.jpg", "Z/1.jpg", "🍎/1.jpg"]
    make(tmp_path / "in", *files)
    one = take(tmp_path / "in", to=tmp_path)[1]
    assert [row["path"] for row in one] == sorted(f"{tmp_path}/in/{file}" for file in files)
    parts = [tmp_path / "in/b", tmp_path / "in/é", tmp_path / "in/a", tmp_path / "in"]
    for inputs in (parts, parts[::-1], [tmp_path / "in", tmp_path / "in"]):
        assert take(*inputs, to=tmp_path)[1] == one


def test_overlapping_inputs_list_a_photo_once(tmp_path: Path) -> None:
    make(tmp_path / "in", "a/1.jpg", "a/2.jpg", "b/3.jpg", "b/no.txt")
    (tmp_path / "alias").symlink_to(tmp_path / "in/b")
    taken, rows = take(tmp_path / "in", tmp_path / "in/a", tmp_path / "alias", to=tmp_path)
    assert sorted(Path(row["path"]).name for row in rows) == ["1.jpg", "2.jpg", "3.jpg"]
    assert (taken.photos, taken.skipped) == (3, 1)


def test_overlapping_prefixes_list_a_photo_once(bucket: str, tmp_path: Path) -> None:
    put(bucket, "in/a/1.jpg", "in/a/2.jpg", "in/b/3.jpg", "in/a/no.txt")
    taken, rows = take(f"s3://{bucket}/in/a", f"s3://{bucket}", f"s3://{bucket}/in", to=tmp_path)
    assert [row["path"][-5:] for row in rows] == ["1.jpg", "2.jpg", "3.jpg"]
    assert (taken.photos, taken.skipped) == (3, 1)


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
        taken, rows = take(tmp_path / "in", to=tmp_path, limit=limit)
        assert [Path(row["path"]).name for row in rows] == [f"{number}.jpg" for number in range(9)][:limit]
        assert taken.photos == len(rows)
    assert take(tmp_path / "in", to=tmp_path, limit=1)[0].skipped == 1


def test_the_output_within_an_input_is_neither_listed_nor_counted(tmp_path: Path) -> None:
    make(tmp_path / "in", "1.jpg", "out/features/2.jpg", "out/x.txt", "out2/3.jpg", "out.jpg")
    (tmp_path / "in/link").symlink_to(tmp_path / "in/out")
    taken, rows = take(tmp_path / "in", to=tmp_path / "in/out", without=tmp_path / "in/out")
    assert [row["path"].removeprefix(f"{tmp_path}/in/") for row in rows] == ["1.jpg", "out.jpg", "out2/3.jpg"]
    assert taken.skipped == 0


def test_the_output_within_a_prefix_is_neither_listed_nor_counted(bucket: str) -> None:
    put(bucket, "in/1.jpg", "in/out/features/2.jpg", "in/out/x.txt", "in/out2/3.jpg", "in/out.jpg", "in/out")
    out = f"s3://{bucket}/in/out"
    taken, rows = take(f"s3://{bucket}/in", to=out, without=out)
    assert [s3.split(row["path"])[1] for row in rows] == ["in/1.jpg", "in/out.jpg", "in/out2/3.jpg"]
    assert taken.skipped == 1  # the object that is called like the output, which is none of ours


def test_an_earlier_inventory_of_that_name_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up(monkeypatch, 20_000)
    take("s3://made-up", to=tmp_path)
    make(tmp_path / "in", "1.jpg")
    take(tmp_path / "in", to=tmp_path)
    assert [name for name, _ in store.list_files(f"{tmp_path}/inventory")] == [
        f"{tmp_path}/inventory/part-00000.parquet"
    ]


# ---- links and odd files


def test_an_empty_file_a_dangling_link_and_a_link_to_a_photo_are_photos_and_a_pipe_is_not(
    tmp_path: Path,
) -> None:
    make(tmp_path, "real.jpg")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/empty.jpg").touch()
    (tmp_path / "in/dangling.jpg").symlink_to(tmp_path / "none")
    (tmp_path / "in/link.jpg").symlink_to(tmp_path / "real.jpg")
    os.mkfifo(tmp_path / "in/pipe.jpg")
    taken, rows = take(tmp_path / "in", to=tmp_path)
    assert [Path(row["path"]).name for row in rows] == ["dangling.jpg", "empty.jpg", "link.jpg"]
    assert [row["bytes"] for row in rows[1:]] == [0, 8]
    assert taken.skipped == 1


# ---- refusals


def test_an_input_without_photos_is_a_data_error(tmp_path: Path, bucket: str) -> None:
    make(tmp_path / "in", "a.txt", "b.gif")
    put(bucket, "notes/a.txt")
    for source in (tmp_path / "in", f"s3://{bucket}/notes"):
        with pytest.raises(DataError, match=r"no photos in .*: none of \d files ends in .jpg") as caught:
            take(source, to=tmp_path)
        assert caught.value.exit_code == 3
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no photos"):
        take(tmp_path / "empty", to=tmp_path)


def test_a_prefix_with_nothing_in_it_is_a_data_error_even_beside_another(bucket: str, tmp_path: Path) -> None:
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


def test_a_missing_bucket_is_a_usage_error(s3_server: str, tmp_path: Path) -> None:
    assert s3_server
    with pytest.raises(UsageError, match="there is no bucket"):
        take("s3://no-such-bucket/photos", to=tmp_path)


def test_a_bucket_that_may_not_be_listed_is_a_usage_error(scripted_s3: ScriptedS3, tmp_path: Path) -> None:
    scripted_s3.rules.append(
        lambda method, _: Answer(403, error_body("AccessDenied")) if method == "GET" else None
    )
    with pytest.raises(UsageError, match=r"s3://photos/2026 may not be listed: .* lack s3:ListBucket"):
        take("s3://photos/2026", to=tmp_path)


@pytest.mark.parametrize("source", ["s3://photos", "s3://photos/out/in"])
def test_an_input_in_the_output_is_a_usage_error(source: str, tmp_path: Path) -> None:
    without = source.removesuffix("/in")
    with pytest.raises(UsageError, match="is in the output"):
        take(source, to=tmp_path, without=without)


def test_a_listing_without_order_is_refused(scripted_s3: ScriptedS3, tmp_path: Path) -> None:
    body = listing_body({"b.jpg": 1, "a.jpg": 1})
    scripted_s3.rules.append(lambda _, target: Answer(200, body) if "list-type" in target else None)
    with pytest.raises(JobError, match="out of order"):
        take("s3://photos", to=tmp_path)


# ---- tasks


@pytest.mark.parametrize(
    ("photos", "cores", "tasks"),
    [
        (1, 2, 1),
        (2, 2, 2),
        (3, 16, 3),
        (17, 2, 2),
        (100, 2, 6),
        (100, 16, 16),
        (1_560, 2, 16),  # eight rounds: the sample
        (2_000, 64, 128),
        (11_908, 2, 48),  # 24 rounds of at most 256
        (22_688, 8, 96),
        (22_688, 7, 91),
    ],
)
def test_a_small_input_is_cut_into_even_tasks_in_whole_rounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photos: int, cores: int, tasks: int
) -> None:
    made_up(monkeypatch, photos)
    taken, rows = take("s3://made-up", to=tmp_path, cores=cores)
    assert (taken.tasks, taken.photos, taken.bytes) == (tasks, photos, 5_000 * photos)
    assert [int(row["path"][-13:-4]) for row in rows] == list(range(photos))
    assert max(sizes(taken)) - min(sizes(taken)) <= 1
    assert max(sizes(taken)) <= inventory.PHOTOS_PER_TASK


@pytest.mark.parametrize("photos", [999, 1_000, 1_001, 1_255, 1_256, 1_257, 3_333])
def test_a_stream_longer_than_the_buffer_is_cut_into_full_tasks_and_an_even_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photos: int
) -> None:
    monkeypatch.setattr(inventory, "BUFFER", 1_000)
    monkeypatch.setattr(inventory, "TASKS_PER_FILE", 3)
    made_up(monkeypatch, photos, size=0)
    taken, rows = take("s3://made-up", to=tmp_path, cores=4)
    assert [int(row["path"][-13:-4]) for row in rows] == list(range(photos))
    assert taken.photos == photos
    assert taken.tasks % 4 == 0
    assert max(sizes(taken)) <= inventory.PHOTOS_PER_TASK
    assert max(sizes(taken)[-4:]) - min(sizes(taken)[-4:]) <= 1
    files = [name for name, _ in store.list_files(taken.location)]
    assert len(files) == -(-taken.tasks // 3)


def test_no_more_of_a_long_stream_is_held_than_the_buffer_and_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory, "BUFFER", 1_000)
    monkeypatch.setattr(inventory, "TASKS_PER_FILE", 2)
    listed, written, most_held = 0, 0, 0

    def photos() -> Iterator[tuple[str, int, str, datetime]]:
        nonlocal listed, most_held
        for number in range(10_000):
            listed += 1
            most_held = max(most_held, listed - written)
            yield f"s3://made-up/{number:09}.jpg", 0, "", NOON

    def write(_: str, data: bytes) -> None:
        nonlocal written
        written += pq.ParquetFile(io.BytesIO(data)).metadata.num_rows

    monkeypatch.setattr(s3, "list_objects", lambda _: photos())
    monkeypatch.setattr(store, "write_bytes", write)
    inventory.take(["s3://made-up"], str(tmp_path), 4, None, "/nowhere")
    assert written == 10_000
    assert most_held <= 1_000 + 3 * inventory.PHOTOS_PER_TASK


def test_tasks_are_balanced_by_bytes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    megabyte = 2**20
    photo_sizes = [20 * megabyte if number % 100 < 10 else 5_000 for number in range(2_000)]
    photos = [(f"s3://made-up/{number:09}.jpg", size, "", NOON) for number, size in enumerate(photo_sizes)]
    monkeypatch.setattr(s3, "list_objects", lambda _: iter(photos))
    taken, _ = take("s3://made-up", to=tmp_path, cores=4)
    costs = []
    for task in range(taken.tasks):
        column = inventory.read_task(taken.location, task).column("bytes").to_pylist()
        costs.append(sum(column) + megabyte * len(column))
    assert taken.tasks % 4 == 0
    assert max(costs) <= inventory.BYTES_PER_TASK + 21 * megabyte
    assert max(costs) <= min(costs) + 2 * 21 * megabyte


@pytest.mark.parametrize("buffer", [10, 51_200])
def test_a_photo_larger_than_a_task_is_a_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, buffer: int
) -> None:
    monkeypatch.setattr(inventory, "BUFFER", buffer)
    giant = 2 * inventory.BYTES_PER_TASK
    photo_sizes = [giant if number in (0, 7, 30) else 1 for number in range(40)]
    photos = [(f"s3://made-up/{number:09}.jpg", size, "", NOON) for number, size in enumerate(photo_sizes)]
    monkeypatch.setattr(s3, "list_objects", lambda _: iter(photos))
    _, rows = take("s3://made-up", to=tmp_path, cores=2)
    assert [row["bytes"] for row in rows] == photo_sizes


def test_a_task_is_read_from_s3_with_one_request(
    moto: Moto, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up(monkeypatch, 2_000)
    monkeypatch.setattr(store, "delete_tree", lambda _: None)
    taken = inventory.take(["s3://made-up"], f"s3://{bucket}/out/inventory/1", 2, None, f"s3://{bucket}/out")
    asked = len(moto.requests())
    assert inventory.read_task(taken.location, taken.tasks - 1).num_rows == 125
    assert [request.split()[0] for request in moto.requests()[asked:]] == ["GET"]


def test_an_inventory_of_200_000_photos_is_taken_fast(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up(monkeypatch, 200_000)
    start = time.process_time()
    taken = inventory.take(["s3://made-up"], str(tmp_path / "inventory"), 8, None, "/nowhere")
    rate = taken.photos / (time.process_time() - start)
    print(f"{rate:,.0f} photos listed and written per second of CPU")
    assert taken.photos == 200_000
    files = [size for _, size in store.list_files(taken.location)]
    assert max(files) < 2**20
    start = time.process_time()
    for task in itertools.islice(range(taken.tasks), 0, 200, 10):
        inventory.read_task(taken.location, task)
    print(f"{(time.process_time() - start) / 20 * 1e3:.1f} ms of CPU to read a task")
    assert rate > 20_000  # 100,000 and more on an idle machine
