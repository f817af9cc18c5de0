"""Drawn sets of photos: their photos, their repeatability, interruptions and wrong flags."""

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

from scripts.fruit import draw
from scripts.fruit.draw import KINDS, MARKER, draw_photo, draw_set, main

ROOT = Path(draw.__file__).parents[2]
PHOTOS = 6  # of each kind in the shared set: 4 for Training, 2 for Test


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("drawn") / "set"
    assert draw_set(output, PHOTOS) == PHOTOS * len(KINDS)
    return output


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def small(path: Path) -> npt.NDArray[np.float64]:
    return np.asarray(Image.open(path).resize((8, 8), Image.Resampling.BOX), np.float64).ravel()


def acting_before(photo: int, act: Callable[[], Any]) -> Callable[[str, int], Image.Image]:
    """Return a `draw_photo` that calls `act` just before one of the photos."""
    count = itertools.count()
    return lambda kind, seed: (act() if next(count) == photo else None, draw_photo(kind, seed))[1]


def test_two_photos_are_enough_for_both_splits_and_no_photo_is_in_both(drawn: Path, tmp_path: Path) -> None:
    for split, expected in (("Training", 4), ("Test", 2)):
        counts = {kind.name: len(list(kind.glob("*.jpg"))) for kind in (drawn / split).iterdir()}
        assert counts == dict.fromkeys(KINDS, expected) and len(counts) == 16
    training, test = contents(drawn / "Training"), contents(drawn / "Test")
    assert not training.keys() & test.keys() and not {*training.values()} & {*test.values()}
    (tmp_path / "set").mkdir()  # an empty folder is filled
    draw_set(tmp_path / "set", 2, kinds=1)
    small_training = contents(tmp_path / "set" / "Training")
    assert len(small_training) == len(contents(tmp_path / "set" / "Test")) == 1, "two photos, one in each"
    assert small_training.items() <= training.items(), "a photo does not depend on how many are drawn"


def test_every_photo_is_an_rgb_jpeg_of_one_whole_fruit_in_the_middle_of_white(drawn: Path) -> None:
    for path in drawn.rglob("*.jpg"):
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (100, 100)), path
            photo = np.asarray(image).astype(np.int64)
        border = np.concatenate([photo[0], photo[-1], photo[:, 0], photo[:, -1]])
        assert border.min() > 215, path  # white, give or take what JPEG adds beside an edge
        fruit = photo.min(axis=2) < 200
        extents = [np.flatnonzero(fruit.any(axis=axis)) for axis in (0, 1)]
        assert all(abs(extent[0] + extent[-1] - 99) <= 8 for extent in extents), path
        assert 80 <= max(extent[-1] - extent[0] for extent in extents) <= 99, path


def test_photos_of_a_kind_differ_in_more_than_noise_and_kinds_are_told_apart(drawn: Path) -> None:
    for kind in KINDS:
        photos = [small(path) for path in drawn.glob(f"*/{kind}/*.jpg")]
        assert min(np.abs(a - b).mean() for a, b in itertools.combinations(photos, 2)) > 1.5, kind
    means = np.stack([np.mean([small(p) for p in (drawn / "Training" / k).iterdir()], axis=0) for k in KINDS])
    hits = [
        KINDS[int(np.square(means - small(path)).sum(axis=1).argmin())] == path.parent.name
        for path in (drawn / "Test").rglob("*.jpg")
    ]
    assert np.mean(hits) >= 0.9, "by the nearest mean of 8 by 8 pixels"


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(drawn: Path, tmp_path: Path) -> None:
    draw_set(tmp_path / "parents" / "here", 2, seed=7, kinds=2)
    flags = ["--photos", "2", "--seed", "7", "--kinds", "2"]
    command = [sys.executable, "-m", "scripts.fruit.draw", str(tmp_path / "there"), *flags]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == (f"{tmp_path / 'there'} holds 4 photos of 2 kinds of fruit\n", "")
    assert contents(tmp_path / "there") == (here := contents(tmp_path / "parents" / "here"))
    assert not {*here.values()} & {*contents(drawn).values()}


def test_a_whole_set_of_the_same_parameters_is_left_alone(
    drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draw, "draw_photo", acting_before(0, lambda: pytest.fail("drawn again")))
    assert draw_set(drawn, PHOTOS) == PHOTOS * len(KINDS)


@pytest.mark.parametrize("other", [{"photos": 3}, {"seed": 1}, {"kinds": 2}, None, "not JSON", "{}"])
def test_a_folder_of_anything_else_is_refused_and_kept(tmp_path: Path, other: Any) -> None:
    draw_set(tmp_path / "set", photos=2, kinds=1)
    if isinstance(other, str):
        (tmp_path / "set" / MARKER).write_text(other)
    elif not other:
        next(tmp_path.glob("set/Test/*/*.jpg")).unlink()
    before = contents(tmp_path / "set")
    with pytest.raises(FileExistsError, match="is not this set"):
        draw_set(tmp_path / "set", **{"photos": 2, "kinds": 1, **(other if isinstance(other, dict) else {})})
    assert contents(tmp_path / "set") == before


def test_an_interrupted_run_leaves_nothing_and_can_be_repeated_beside_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> None:
        assert not (tmp_path / "set").exists(), "a set has no name before its last photo"
        raise KeyboardInterrupt

    monkeypatch.setattr(draw, "draw_photo", acting_before(3, interrupt))
    with pytest.raises(KeyboardInterrupt):
        draw_set(tmp_path / "set", 2, kinds=2)
    assert list(tmp_path.iterdir()) == []
    drawing_the_same = acting_before(1, lambda: draw_set(tmp_path / "set", 2, kinds=2))
    monkeypatch.setattr(draw, "draw_photo", drawing_the_same)
    assert draw_set(tmp_path / "set", 2, kinds=2) == 4
    assert [entry.name for entry in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["set", "--photos", "0"], 2, "photos must be 1 or more, not 0"),
        (["set", "--kinds", "99"], 2, "kinds must be from 1 to 16, not 99"),
        (["set", "--colour", "red"], 2, "unrecognized arguments"),
        ([""], 2, "is not this set"),
        (["file"], 2, "file exists and is not this set"),
        (["file/set"], 1, "could not be written"),
    ],
)
def test_a_wrong_flag_or_place_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as exit_info:
        main([str(tmp_path / arguments[0]), *arguments[1:]])
    errors = capsys.readouterr().err
    assert (exit_info.value.code, errors.count("\n")) == (code, 1) and words in errors
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
