"""The inventory's tasks: even, in whole rounds over the cores, and cut from a stream."""

import io
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq
import pytest

from job.inventory import tasks
from job.inventory.tasks import BYTES_PER_PHOTO, Photo
from job.storage import s3, store
from job.table.layout import DataFile
from tests.support.listings import BAD, NOON, ONE, TWO, listed, made_up, sizes, take
from tests.support.s3_servers import Moto

PHOTOS_PER_TASK: Final = 256


@pytest.mark.parametrize(
    ("photos", "cores", "expected_tasks"),
    [
        (1, 2, 1),
        (3, 16, 3),
        (17, 2, 2),
        (100, 2, 6),
        (100, 16, 16),
        (1_560, 2, 16),  # eight rounds: the sample
        (11_908, 2, 48),  # 24 rounds of at most 256
        (22_688, 7, 91),
    ],
)
def test_a_small_input_is_cut_into_even_tasks_in_whole_rounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photos: int, cores: int, expected_tasks: int
) -> None:
    made_up(monkeypatch, photos)
    inventory, rows = take("s3://made-up", to=tmp_path, cores=cores)
    assert inventory.tasks.tasks == expected_tasks
    assert (inventory.photos, inventory.todo, inventory.bytes) == (photos, photos, 5_000 * photos)
    assert [int(row["path"][-13:-4]) for row in rows] == list(range(photos))
    assert max(sizes(inventory)) - min(sizes(inventory)) <= 1
    assert max(sizes(inventory)) <= PHOTOS_PER_TASK


@pytest.mark.parametrize("photos", [1_000, 1_001, 1_256, 3_333])
def test_a_stream_longer_than_the_buffer_is_cut_into_full_tasks_and_an_even_last_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photos: int
) -> None:
    monkeypatch.setattr(tasks, "BUFFER", 1_000)
    monkeypatch.setattr(tasks, "TASKS_PER_FILE", 3)
    made_up(monkeypatch, photos, size=0)
    inventory, rows = take("s3://made-up", to=tmp_path, cores=4)
    assert [int(row["path"][-13:-4]) for row in rows] == list(range(photos))
    assert inventory.photos == photos
    assert inventory.tasks.tasks % 4 == 0
    assert max(sizes(inventory)) <= PHOTOS_PER_TASK
    assert max(sizes(inventory)[-4:]) - min(sizes(inventory)[-4:]) <= 1
    files = [name for name, _ in store.list_files(inventory.tasks.location)]
    assert len(files) == -(-inventory.tasks.tasks // 3)


def test_a_long_stream_is_held_only_up_to_the_buffer_and_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "BUFFER", 1_000)
    monkeypatch.setattr(tasks, "TASKS_PER_FILE", 2)
    listed_photos, written_photos, most_held = 0, 0, 0

    def photos() -> Iterator[tuple[str, int, str, datetime]]:
        nonlocal listed_photos, most_held
        for number in range(10_000):
            listed_photos += 1
            most_held = max(most_held, listed_photos - written_photos)
            yield f"s3://made-up/{number:09}.jpg", 0, "", NOON

    def write(location: str, data: bytes) -> bool:
        nonlocal written_photos
        written_photos += pq.ParquetFile(io.BytesIO(data)).metadata.num_rows
        return write_bytes(location, data)

    write_bytes = store.write_bytes
    monkeypatch.setattr(s3, "list_objects", lambda _: photos())
    monkeypatch.setattr(store, "write_bytes", write)
    take("s3://made-up", to=tmp_path, cores=4)
    assert written_photos == 10_000
    assert most_held <= 1_000 + 3 * PHOTOS_PER_TASK


def list_photos_of_sizes(monkeypatch: pytest.MonkeyPatch, sizes: list[int]) -> None:
    """Let listings of S3 return photos of the given sizes."""
    photos = [(f"s3://made-up/{number:09}.jpg", size, "", NOON) for number, size in enumerate(sizes)]
    monkeypatch.setattr(s3, "list_objects", lambda _: iter(photos))


def test_tasks_are_balanced_by_bytes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    megabyte = 2**20
    list_photos_of_sizes(
        monkeypatch, [20 * megabyte if number % 100 < 10 else 5_000 for number in range(2_000)]
    )
    inventory, _ = take("s3://made-up", to=tmp_path, cores=4)
    costs = []
    for task in range(inventory.tasks.tasks):
        column = tasks.read(inventory.tasks.location, task).column("bytes").to_pylist()
        costs.append(sum(column) + megabyte * len(column))
    assert inventory.tasks.tasks % 4 == 0
    assert max(costs) <= PHOTOS_PER_TASK * BYTES_PER_PHOTO + 21 * megabyte
    assert max(costs) <= min(costs) + 2 * 21 * megabyte


@pytest.mark.parametrize("buffer", [10, 51_200])
def test_photos_larger_than_a_task_are_listed_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, buffer: int
) -> None:
    monkeypatch.setattr(tasks, "BUFFER", buffer)
    giant = 2 * PHOTOS_PER_TASK * BYTES_PER_PHOTO
    photo_sizes = [giant if number in (0, 7, 30) else 1 for number in range(40)]
    list_photos_of_sizes(monkeypatch, photo_sizes)
    _, rows = take("s3://made-up", to=tmp_path, cores=2)
    assert [row["bytes"] for row in rows] == photo_sizes


def replacements(file: str, *numbers: int, size: int = 0) -> list[Photo]:
    """Return empty photos that replace rows of a file."""
    return [Photo(listed(f"/in/{number:03}.jpg", size=0), DataFile(file, size, 9)) for number in numbers]


@pytest.mark.parametrize("most_photos", [1, 3, 4, 100])
def test_changed_photos_follow_the_new_ones_and_those_of_one_file_share_a_task(
    tmp_path: Path, most_photos: int
) -> None:
    new = [listed(f"/in/{number:03}.jpg", size=0) for number in range(5)]
    changed = [*replacements(ONE, *range(10, 16)), *replacements(TWO, 20), *replacements(BAD, 30, 31)]
    todo = tasks.write(iter(new), iter(changed), f"{tmp_path}/t", 1, most_photos)
    rows = [tasks.read(todo.location, task).to_pylist() for task in range(todo.tasks)]
    assert [(row["path"], row["replaces"]) for task in rows for row in task] == [
        *((photo.path, None) for photo in new),
        *((photo.listed.path, photo.replaces and photo.replaces.path) for photo in changed),
    ]
    task_sizes = {1: [6, 1, 2], 3: [6, 3], 4: [6, 3], 100: [9]}  # without new photos
    last_sizes = task_sizes[most_photos]
    assert [len(task) for task in rows][-len(last_sizes) :] == last_sizes
    assert (todo.photos, todo.tasks) == (14, len(rows))


def test_rows_that_a_task_copies_count_towards_its_size(tmp_path: Path) -> None:
    large = [*replacements(ONE, 1, size=2 * BYTES_PER_PHOTO), *replacements(TWO, 2, size=2 * BYTES_PER_PHOTO)]
    for most_photos, number in ((9, 2), (10, 1)):
        assert tasks.write([], large, f"{tmp_path}/t", 1, most_photos).tasks == number


def test_without_new_photos_there_are_no_tasks_for_them(tmp_path: Path) -> None:
    changed = tasks.write([], replacements(ONE, 1, 2), f"{tmp_path}/t", 2, 9)
    assert (changed.photos, changed.tasks) == (2, 1)
    nothing = tasks.write([], [], f"{tmp_path}/t", 2, 9)
    assert (nothing.photos, nothing.tasks) == (0, 0)
    assert list(store.list_files(f"{tmp_path}/t")) == [], "the earlier tasks are gone"


def test_a_task_is_read_from_s3_with_one_request(
    moto: Moto, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up(monkeypatch, 2_000)
    inventory, _ = take("s3://made-up", to=f"s3://{bucket}/out")
    before = len(moto.requests())
    assert tasks.read(inventory.tasks.location, inventory.tasks.tasks - 1).num_rows == 125
    assert [request.split()[0] for request in moto.requests()[before:]] == ["GET"]
