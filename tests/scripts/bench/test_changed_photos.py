"""Changes of photos: what happens to the fruit, what to its background, and that chance is a number's own."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from job.photos.decode import SIDE, decode
from scripts.bench import changed_photos as changes
from scripts.bench.changed_photos import CHANGES, NO_FRUIT, Mask, Pixels

RED = (180, 20, 30)


def disc(side: int, radius: float) -> Mask:
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    return np.asarray(rows**2 + columns**2 < radius**2)


@pytest.fixture
def fruit() -> Pixels:
    """Return a red disc with a white highlight, on a white that is not quite even."""
    photo = np.full((60, 60, 3), 255, np.uint8)
    photo[::2] = 240
    photo[disc(60, 20)] = RED
    photo[disc(60, 4)] = 255
    return photo


def generator() -> np.random.Generator:
    return np.random.default_rng(7)


def test_a_fruit_is_what_the_border_has_no_white_way_to(fruit: Pixels) -> None:
    assert (changes.fruit_mask(fruit) == disc(60, 20)).all()
    assert not changes.fruit_mask(np.full((9, 9, 3), 255, np.uint8)).any()
    assert changes.fruit_mask(fruit[20:40, 20:40]).all(), "a fruit may fill the photo"


def test_the_fruit_of_a_real_photo_is_found(sample: Path) -> None:
    photos = sorted(sample.rglob("*.jpg"))[::100]
    assert len(photos) > 10
    for photo in photos:
        mask = changes.fruit_mask(np.asarray(Image.open(photo).convert("RGB")))
        corners = mask[[0, 0, -1, -1], [0, -1, 0, -1]]
        assert 0.2 < mask.mean() < 0.95 and mask[50, 50] and corners.sum() <= 1, photo


@pytest.mark.parametrize("name", ["grey background", "cluttered background"])
def test_another_background_leaves_the_fruit_but_its_edge(fruit: Pixels, name: str) -> None:
    changed = CHANGES[name](fruit, generator())
    assert (changed[disc(60, 18)] == fruit[disc(60, 18)]).all()
    background = changed[~disc(60, 20)]
    assert np.abs(background.astype(int) - fruit[~disc(60, 20)]).max(axis=1).mean() > 50
    assert len(np.unique(background, axis=0)) == 1 if name == "grey background" else background.std() > 40


def test_half_brightness_and_the_middle(fruit: Pixels) -> None:
    assert (CHANGES["half brightness"](fruit, generator()) == fruit // 2).all()
    crop = CHANGES["centre crop"](fruit, generator())
    assert crop.shape == (30, 30, 3) and (crop == fruit[15:45, 15:45]).all()
    assert CHANGES["centre crop"](fruit[:33, :59], generator()).shape == (17, 31, 3)


def test_pictures_of_no_fruit_differ_and_the_same_chance_gives_the_same_one() -> None:
    pictures = [draw(50, generator()) for draw in NO_FRUIT]
    for draw, picture in zip(NO_FRUIT, pictures, strict=True):
        assert picture.shape == (50, 50, 3) and picture.dtype == np.uint8 and picture.std() > 5
        assert (draw(50, generator()) == picture).all()
        assert (draw(50, np.random.default_rng(8)) != picture).any()
    steps = [np.abs(np.diff(picture.astype(int), axis=0)).mean() for picture in pictures]
    assert steps[0] > steps[2] > steps[1], "noise, shapes, a gradient"


def test_the_job_decodes_exactly_the_pixels_of_a_changed_photo() -> None:
    pixels = changes.noise(SIDE, generator())
    assert (decode(changes.png(pixels)).pixels == pixels).all()
