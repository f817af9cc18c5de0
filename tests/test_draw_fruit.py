"""The set of photos that the project draws itself: what is in it, that it repeats, and how it refuses."""

import io
import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from scripts import draw_fruit
from scripts.draw_fruit import KINDS, MARKER, draw_photo, draw_set, main, photo_seed

SCRIPT = Path(draw_fruit.__file__)
PHOTOS = 6  # of each kind in the shared set: 4 for Training, 2 for Test


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("drawn") / "set"
    assert draw_set(output, PHOTOS) == PHOTOS * len(KINDS)
    return output


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def pixels(path: Path) -> npt.NDArray[np.int64]:
    return np.asarray(Image.open(path)).astype(np.int64)


def small(path: Path) -> npt.NDArray[np.float64]:
    return np.asarray(Image.open(path).resize((8, 8), Image.Resampling.BOX), np.float64).ravel()


def stopped_at(photo: int, act: Callable[[], Any]) -> Callable[[str, int], Image.Image]:
    """Draw photos as usual and do `act` just before one of them."""
    count = itertools.count()

    def draw(kind: str, seed: int) -> Image.Image:
        if next(count) == photo:
            act()
        return draw_photo(kind, seed)

    return draw


def interrupt() -> None:
    raise KeyboardInterrupt


def test_sixteen_kinds_have_a_third_of_their_photos_in_test(drawn: Path) -> None:
    assert len(set(KINDS)) == 16
    for split, expected in (("Training", 4), ("Test", 2)):
        counts = {home.name: len(list(home.glob("*.jpg"))) for home in (drawn / split).iterdir()}
        assert counts == dict.fromkeys(KINDS, expected)


@pytest.mark.parametrize(("photos", "training", "test"), [(1, 1, 0), (2, 1, 1), (3, 2, 1), (7, 5, 2)])
def test_two_photos_are_enough_for_both_splits(tmp_path: Path, photos: int, training: int, test: int) -> None:
    assert draw_set(tmp_path / "set", photos, kinds=1) == photos
    assert len(list(tmp_path.glob(f"set/Training/{KINDS[0]}/*.jpg"))) == training
    assert len(list(tmp_path.glob(f"set/Test/{KINDS[0]}/*.jpg"))) == test


def test_no_photo_of_test_has_the_name_or_the_bytes_of_one_of_training(drawn: Path) -> None:
    training, test = contents(drawn / "Training"), contents(drawn / "Test")
    assert not training.keys() & test.keys()
    assert not set(training.values()) & set(test.values())


def test_every_photo_is_an_rgb_jpeg_of_100_by_100_pixels(drawn: Path) -> None:
    for path in drawn.rglob("*.jpg"):
        with Image.open(path) as photo:
            assert (photo.format, photo.mode, photo.size) == ("JPEG", "RGB", (100, 100)), path


def test_one_whole_fruit_stands_in_the_middle_of_white(drawn: Path) -> None:
    for path in drawn.rglob("*.jpg"):
        photo = pixels(path)
        border = np.concatenate([photo[0], photo[-1], photo[:, 0], photo[:, -1]])
        assert border.min() > 215, path  # white, give or take what JPEG adds beside an edge
        assert min(photo[y, x].min() for y in (0, 1, -2, -1) for x in (0, 1, -2, -1)) > 235, path
        fruit = photo.min(axis=2) < 200
        extents = [np.flatnonzero(fruit.any(axis=axis)) for axis in (0, 1)]
        assert all(abs(extent[0] + extent[-1] - 99) <= 8 for extent in extents), path
        assert 80 <= max(extent[-1] - extent[0] for extent in extents) <= 99, path


def test_the_same_seed_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    draw_set(tmp_path / "here", 2, seed=7)
    command = [sys.executable, str(SCRIPT), str(tmp_path / "there"), "--photos", "2", "--seed", "7"]
    subprocess.run(command, check=True, capture_output=True)
    assert contents(tmp_path / "there") == contents(tmp_path / "here")


def test_a_photo_does_not_depend_on_what_is_drawn_before_it(drawn: Path) -> None:
    written = contents(drawn)
    for index, kind in itertools.product((3, 1), reversed(KINDS)):
        alone = io.BytesIO()
        draw_photo(kind, photo_seed(0, kind, index)).save(alone, "JPEG", quality=90)
        assert alone.getvalue() == written[f"Training/{kind}/{index}_100.jpg"]


def test_another_seed_draws_no_photo_twice(drawn: Path, tmp_path: Path) -> None:
    draw_set(tmp_path / "other", 3, seed=1, kinds=4)
    assert not set(contents(tmp_path / "other").values()) & set(contents(drawn).values())


def test_photos_of_a_kind_differ_in_more_than_noise(drawn: Path) -> None:
    for kind in KINDS:
        photos = [small(path) for path in drawn.glob(f"*/{kind}/*.jpg")]
        assert min(np.abs(a - b).mean() for a, b in itertools.combinations(photos, 2)) > 1.5, kind


def test_kinds_are_told_apart_by_the_nearest_mean_of_8_by_8_pixels(drawn: Path) -> None:
    means = np.stack([np.mean([small(p) for p in (drawn / "Training" / k).iterdir()], axis=0) for k in KINDS])
    hits = [
        KINDS[int(np.square(means - small(path)).sum(axis=1).argmin())] == path.parent.name
        for path in (drawn / "Test").rglob("*.jpg")
    ]
    assert np.mean(hits) >= 0.9


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'Durian' is not .* Apple Red"):
        draw_photo("Durian", 0)


def test_a_whole_set_of_the_same_parameters_is_left_alone(
    drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draw_fruit, "draw_photo", stopped_at(0, lambda: pytest.fail("drawn again")))
    assert draw_set(drawn, PHOTOS) == PHOTOS * len(KINDS)


@pytest.mark.parametrize("other", [{"photos": 2}, {"seed": 1}, {"kinds": 2}])
def test_a_set_of_other_parameters_is_refused_and_kept(tmp_path: Path, other: dict[str, int]) -> None:
    draw_set(tmp_path / "set", photos=1, kinds=1)
    before = contents(tmp_path / "set")
    with pytest.raises(FileExistsError, match="is not this set"):
        draw_set(tmp_path / "set", **{"photos": 1, "kinds": 1, **other})
    assert contents(tmp_path / "set") == before


def test_a_set_that_lost_a_photo_is_not_taken_for_whole(tmp_path: Path) -> None:
    draw_set(tmp_path / "set", 2, kinds=1)
    next(tmp_path.glob("set/Test/*/*.jpg")).unlink()
    with pytest.raises(FileExistsError, match="is not this set"):
        draw_set(tmp_path / "set", 2, kinds=1)


@pytest.mark.parametrize("marker", [None, "not JSON", "{}"])
def test_a_folder_of_something_else_is_refused_and_kept(tmp_path: Path, marker: str | None) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    if marker is not None:
        (tmp_path / MARKER).write_text(marker)
    before = contents(tmp_path)
    with pytest.raises(FileExistsError, match="is not this set"):
        draw_set(tmp_path, 1, kinds=1)
    assert contents(tmp_path) == before


def test_an_empty_folder_is_filled_and_missing_parents_are_made(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for output in (tmp_path / "empty", tmp_path / "a" / "b"):
        assert draw_set(output, 1, kinds=2) == 2
        assert len(list(output.rglob("*.jpg"))) == 2
        assert [entry.name for entry in output.iterdir() if entry.name.startswith(".")] == [MARKER]


def test_a_set_has_no_name_before_its_last_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    look = stopped_at(3, lambda: seen.append((tmp_path / "set").exists()))
    monkeypatch.setattr(draw_fruit, "draw_photo", look)
    draw_set(tmp_path / "set", 2, kinds=2)
    assert seen == [False]
    assert [entry.name for entry in tmp_path.iterdir()] == ["set"]


def test_an_interrupted_run_leaves_nothing_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(draw_fruit, "draw_photo", stopped_at(3, interrupt))
        draw_set(tmp_path / "set", 2, kinds=2)
    assert list(tmp_path.iterdir()) == []
    assert draw_set(tmp_path / "set", 2, kinds=2) == 4


def test_two_runs_at_once_end_with_one_whole_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = stopped_at(1, lambda: draw_set(tmp_path / "set", 2, kinds=1))
    monkeypatch.setattr(draw_fruit, "draw_photo", other)
    assert draw_set(tmp_path / "set", 2, kinds=1) == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--photos", "0"], "photos must be 1 or more, not 0"),
        (["--kinds", "99"], "kinds must be from 1 to 16, not 99"),
        (["--kinds", "0"], "kinds must be from 1 to 16, not 0"),
        (["--photos", "many"], "invalid int value: 'many'"),
        (["--colour", "red"], "unrecognized arguments"),
    ],
)
def test_a_wrong_flag_is_one_sentence_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], words: str
) -> None:
    with pytest.raises(SystemExit) as left:
        main([str(tmp_path / "set"), *flags])
    said = capsys.readouterr().err
    assert left.value.code == 2
    assert words in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("output", "code", "words"),
    [(".", 2, "is not this set"), ("file", 2, "is not this set"), ("file/set", 1, "could not be written")],
)
def test_a_place_that_cannot_take_the_set_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], output: str, code: int, words: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as left:
        main([str(tmp_path / output)])
    said = capsys.readouterr().err
    assert (left.value.code, said.count("\n")) == (code, 1)
    assert f"{tmp_path}" in said
    assert words in said


@pytest.mark.parametrize("how", [[str(SCRIPT)], ["-m", "scripts.draw_fruit"]])
def test_it_runs_as_a_file_and_as_a_module(tmp_path: Path, how: list[str]) -> None:
    where = tmp_path if how[0] != "-m" else SCRIPT.parent.parent
    command = [sys.executable, *how, str(tmp_path / "set"), "--photos", "2", "--kinds", "1"]
    run = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == f"{tmp_path / 'set'} holds 2 photos of 1 kinds of fruit\n"
    assert len(list(tmp_path.glob("set/*/*/*.jpg"))) == 2
