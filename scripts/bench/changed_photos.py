"""Photos that a classifier of fruit on white was not fitted on: changed ones of known fruit, and of no fruit.

The functions are pure, on pixels ``(height, width, 3)`` uint8. Chance comes from the generator that they are
given, so that a photo's number determines its change.
"""

from collections.abc import Callable
from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]

WHITE: Final = 235  # the least of red, green and blue in a background of Fruits-360, which JPEG has changed
GREY: Final = 128
CLUTTER_SHAPES: Final = 60
NOISE: Final = 8.0  # standard deviation, of 255


def fruit_mask(photo: Pixels) -> Mask:
    """Return where the fruit is ``(height, width)``: where no nearly white way leads to from the border."""
    is_white = photo.min(axis=2) >= WHITE
    background = np.zeros_like(is_white)
    for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        background[edge] = is_white[edge]
    while ((grown := _grown(background) & is_white) != background).any():
        background = grown
    mask: Mask = ~background
    return mask


def on_background(photo: Pixels, background: Pixels) -> Pixels:
    """Return a photo with another background; the fruit loses its outermost pixel, which is partly white."""
    inside = ~_grown(~fruit_mask(photo))
    return np.where(inside[:, :, np.newaxis], photo, background)


def grey_background(photo: Pixels, rng: np.random.Generator) -> Pixels:
    """Return a photo on grey."""
    del rng
    return on_background(photo, np.full_like(photo, GREY))


def cluttered_background(photo: Pixels, rng: np.random.Generator) -> Pixels:
    """Return a photo on overlapping shapes of all colours."""
    return on_background(photo, shapes(photo.shape[0], rng))


def half_brightness(photo: Pixels, rng: np.random.Generator) -> Pixels:
    """Return a photo with half of its light; its background is grey then."""
    del rng
    return photo // 2


def centre_crop(photo: Pixels, rng: np.random.Generator) -> Pixels:
    """Return the middle of a photo, of half its width and height: mostly skin of the fruit."""
    del rng
    height, width = photo.shape[:2]
    return photo[height // 4 : height - height // 4, width // 4 : width - width // 4]


def noise(side: int, rng: np.random.Generator) -> Pixels:
    """Return a square of which every pixel has a colour of its own."""
    return rng.integers(0, 256, (side, side, 3), dtype=np.uint8)


def gradient(side: int, rng: np.random.Generator) -> Pixels:
    """Return a square whose colour changes evenly from one corner to the opposite one."""
    first, last = rng.integers(0, 256, (2, 3))
    steps = np.linspace(0, 1, side)
    share = (steps[:, np.newaxis] + steps)[:, :, np.newaxis] / 2
    pixels: Pixels = (first + share * (last - first)).astype(np.uint8)
    return pixels


def shapes(side: int, rng: np.random.Generator) -> Pixels:
    """Return a square of rectangles and ellipses of random colours, smaller ones above, with some noise."""
    canvas = np.broadcast_to(rng.uniform(0, 255, 3), (side, side, 3)).copy()
    rows, columns = np.mgrid[:side, :side]
    for number in range(CLUTTER_SHAPES):
        row, column = rng.uniform(0, side, 2)
        half_height, half_width = rng.uniform(0.05, 0.3, 2) * side / (1 + number / 20)
        across, down = np.abs(columns - column) / half_width, np.abs(rows - row) / half_height
        is_inside = across**2 + down**2 < 1 if rng.random() < 0.5 else np.maximum(across, down) < 1
        canvas[is_inside] = rng.uniform(0, 255, 3)
    canvas += rng.normal(0, NOISE, canvas.shape)
    return canvas.clip(0, 255).astype(np.uint8)


CHANGES: Final[dict[str, Callable[[Pixels, np.random.Generator], Pixels]]] = {
    "grey background": grey_background,
    "cluttered background": cluttered_background,
    "half brightness": half_brightness,
    "centre crop": centre_crop,
}
NO_FRUIT: Final = (noise, gradient, shapes)


def png(pixels: Pixels) -> bytes:
    """Return pixels as a file that loses nothing."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _grown(area: Mask) -> Mask:
    """Return an area and the pixels that touch one of its sides."""
    grown = area.copy()
    grown[1:] |= area[:-1]
    grown[:-1] |= area[1:]
    grown[:, 1:] |= area[:, :-1]
    grown[:, :-1] |= area[:, 1:]
    return grown
