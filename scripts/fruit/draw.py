"""Draws a small set of fruit photos, with which anyone can try the job without data.

The set looks like Fruits-360: `Training|Test/<Kind>/<number>_100.jpg`, 100x100 JPEG, one fruit on white.
`shapes` draws each kind as layers; this module turns, lights and tints them, fits them to the frame and
saves the photos. The same seed gives the same bytes for each photo, whatever else is drawn (with the same
NumPy, Pillow and processor family). A set gets its name after its last photo: a killed run leaves at most a
hidden sibling that ends in `.partial`.

`python -m scripts.fruit.draw build/photos --photos 30 --seed 0` draws a set.
"""

import argparse
import hashlib
import json
import shutil
import sys
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from PIL import Image

from scripts.fruit import shapes

PAINTERS: dict[str, Callable[[shapes.View], list[shapes.Layer]]] = {
    "Apple Red": partial(shapes.apple, skin="e0b050", blush="a80f1c", cover=(0.7, 1.0)),
    "Banana": shapes.banana,
    "Kiwi Cut": shapes.kiwi_cut,
    "Blueberry": shapes.blueberry,
    "Orange": partial(shapes.citrus, skin=("f58a12", "d0660a"), plump=0.86, tip=0, stem=1),
    "Watermelon Slice": shapes.watermelon_slice,
    "Pineapple": shapes.pineapple,
    "Strawberry": partial(shapes.berry, skin=("b00e1c", "e0202a"), taper=0.42, pitch=0.19, drupelets=False),
    "Pear": shapes.pear,
    "Grape": shapes.grape,
    "Avocado Half": shapes.avocado_half,
    "Cherry": shapes.cherry,
    "Lemon": partial(shapes.citrus, skin=("f7d51f", "d8ae10"), plump=0.65, tip=0.36, stem=0),
    "Apple Green": partial(shapes.apple, skin="c2d262", blush="7fae2c", cover=(0.3, 0.8)),
    "Raspberry": partial(shapes.berry, skin=("7a1844", "f070a4"), taper=0.05, pitch=0.24, drupelets=True),
    "Blackberry": partial(shapes.berry, skin=("0c0812", "3a2c50"), taper=0.1, pitch=0.3, drupelets=True),
}
KINDS: tuple[str, ...] = tuple(PAINTERS)

SIDE = 100  # pixels, as in Fruits-360
DRAWN = 200  # pixels a side before reduction: edges and textures are drawn about half again as fine
MARGIN = 1.25  # half width of the drawn square, in fruit coordinates; a turned fruit stays within it
MARKER = ".drawn.json"
DRAWING = 1  # goes up when the photos of a seed change: an older set then counts as another one

_AXIS = np.linspace(-MARGIN, MARGIN, DRAWN, dtype=np.float32)
_PIXEL = 2 * MARGIN / (DRAWN - 1)


def photo_seed(seed: int, kind: str, index: int) -> int:
    """Return the seed of one photo of a set. It is a hash, so that no photo depends on another."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{kind}/{index}".encode(), digest_size=8).digest(), "big")


def _lit(layer: shapes.Layer, area: tuple[slice, slice], light: shapes.Plane) -> shapes.Plane:
    """Return an area of a layer under the light: Lambert's cosine, and Blinn and Phong's highlight."""
    down, right = np.gradient(layer.height[area], _PIXEL)
    facing = 1 / np.sqrt(right**2 + down**2 + 1)
    half_way = light + np.array([0, 0, 1], np.float32)
    half_way = half_way / np.sqrt(half_way @ half_way)
    diffuse = np.clip((light[2] - right * light[0] - down * light[1]) * facing, 0, 1)
    shine = np.clip((half_way[2] - right * half_way[0] - down * half_way[1]) * facing, 0, 1)
    for _ in range(5):  # to the 32nd power
        shine = shine * shine
    colour = np.broadcast_to(layer.colour, (3, DRAWN, DRAWN))[:, *area]
    return np.asarray(colour * (0.36 + 0.7 * diffuse) * (0.8 + 0.2 * facing) + layer.gloss * shine)


def draw_photo(kind: str, seed: int) -> Image.Image:
    """Draw one photo.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    seed : int
        0 or more. It determines turn, light, tint, size and every detail of the fruit.

    Returns
    -------
    PIL.Image.Image
        RGB, 100x100, one fruit in the middle of white.

    Raises
    ------
    ValueError
        If the kind is unknown or the seed is negative.
    """
    if kind not in PAINTERS:
        raise ValueError(f"{kind!r} is not a kind of fruit that can be drawn; there are {', '.join(KINDS)}")
    rng = np.random.default_rng(seed)
    turn, stretch = rng.uniform(-0.65, 0.65), rng.uniform(0.93, 1.0, 2).astype(np.float32)
    across, down = np.meshgrid(_AXIS, _AXIS)
    x = (np.float32(np.cos(turn)) * across + np.float32(np.sin(turn)) * down) / stretch[0]
    y = (np.float32(np.cos(turn)) * down - np.float32(np.sin(turn)) * across) / stretch[1]
    view = shapes.View(x, y, rng)
    bearing, tilt = rng.uniform(-2.6, -0.9), rng.uniform(0.45, 0.8)
    slope = np.sin(tilt)
    light = np.array([np.cos(bearing) * slope, np.sin(bearing) * slope, np.cos(tilt)], np.float32)
    tint = rng.normal(1, 0.035, (3, 1, 1)).astype(np.float32) * np.float32(rng.uniform(0.92, 1.1))
    grain = 1 + np.float32(0.05) * view.patches(60)

    canvas = np.ones((3, DRAWN, DRAWN), np.float32)
    covered = np.zeros((DRAWN, DRAWN), np.bool_)
    for layer in PAINTERS[kind](view):
        covered |= layer.inside > 0
        area = _extent(layer.inside > 0)  # lighting only this part of the square saves time
        lit = _lit(layer, area, light) * tint * grain[area]
        canvas[:, *area] += np.clip(layer.inside[area] / _PIXEL, 0, 1) * (
            np.clip(lit, 0, 1) - canvas[:, *area]
        )
    return _framed(canvas, _extent(covered), rng.uniform(0.88, 0.98))


def _extent(covered: shapes.Plane) -> tuple[slice, slice]:
    """Return the rows and columns of the covered pixels, and two more on every side."""
    rows, columns = (np.flatnonzero(covered.any(axis=axis)) for axis in (1, 0))
    return slice(max(rows[0] - 2, 0), rows[-1] + 3), slice(max(columns[0] - 2, 0), columns[-1] + 3)


def _framed(canvas: shapes.Plane, fruit: tuple[slice, slice], share: float) -> Image.Image:
    """Return a white photo with the fruit in its middle; its longer side is `share` of the frame."""
    drawn = Image.fromarray((canvas[:, *fruit].transpose(1, 2, 0) * 255 + 0.5).astype(np.uint8))
    scale = SIDE * share / max(drawn.size)
    size = (round(drawn.width * scale), round(drawn.height * scale))
    cut = drawn.resize(size, Image.Resampling.LANCZOS)
    photo = Image.new("RGB", (SIDE, SIDE), "white")
    photo.paste(cut, ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
    return photo


def _is_whole(folder: Path, recipe: dict[str, Any]) -> bool:
    """Return whether the folder holds exactly this set: the marker with its recipe, and all photos."""
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(marker == recipe) and sum(1 for _ in folder.glob("*/*/*.jpg")) == recipe["drawn"]


def _draw_into(folder: Path, photos: int, seed: int, kinds: Sequence[str]) -> None:
    """Draw every photo of a set; a third of each kind (one, if there are two) goes to Test."""
    tests = max(photos // 3, min(1, photos - 1))
    for kind in kinds:
        for index in range(photos):
            kind_folder = folder / ("Training" if index < photos - tests else "Test") / kind
            kind_folder.mkdir(parents=True, exist_ok=True)
            photo = draw_photo(kind, photo_seed(seed, kind, index))
            photo.save(kind_folder / f"{index}_{SIDE}.jpg", "JPEG", quality=90)


def draw_set(output: Path, photos: int = 30, seed: int = 0, kinds: int | None = None) -> int:
    """Draw a set of photos into a folder, unless the folder holds the whole set already.

    Parameters
    ----------
    output : Path
        The folder to make. It may exist if it is empty or holds this set.
    photos : int
        Photos of each kind; a third of them go to Test.
    seed : int
        Each seed gives other photos.
    kinds : int or None
        How many of `KINDS`, from the first; None for all.

    Returns
    -------
    int
        The number of photos in the set.

    Raises
    ------
    ValueError
        If `photos` or `kinds` is out of range.
    FileExistsError
        If `output` is a file, or a folder that holds anything else.
    """
    if photos < 1:
        raise ValueError(f"photos must be 1 or more, not {photos}")
    if kinds is not None and not 1 <= kinds <= len(KINDS):
        raise ValueError(f"kinds must be from 1 to {len(KINDS)}, not {kinds}")
    names, output = KINDS[:kinds], output.resolve()
    recipe = {
        "drawing": DRAWING,
        "photos": photos,
        "seed": seed,
        "kinds": list(names),
        "drawn": photos * len(names),
    }
    if _is_whole(output, recipe):
        return photos * len(names)
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise FileExistsError(
            f"{output} exists and is not this set of photos; name another folder or remove it"
        )
    partial_set = output.parent / f".{output.name}.{uuid.uuid4().hex[:8]}.partial"
    try:
        partial_set.mkdir(parents=True)
        _draw_into(partial_set, photos, seed, names)
        (partial_set / MARKER).write_text(json.dumps(recipe, indent=1) + "\n", encoding="utf-8")
        partial_set.rename(output)
    except OSError:
        if not _is_whole(output, recipe):  # another run may have drawn the same set meanwhile
            raise
    finally:
        shutil.rmtree(partial_set, ignore_errors=True)
    return photos * len(names)


class _SentenceParser(argparse.ArgumentParser):
    """A parser whose errors are one sentence, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"draw_fruit: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the set that the flags describe and return 0; exit with 2 and one sentence if a flag is wrong."""
    parser = _SentenceParser(prog="draw_fruit", description="Draw a small Fruits-360-like set of photos.")
    parser.add_argument("output", type=Path, help="the folder to make")
    parser.add_argument("--photos", type=int, default=30, help="photos of each kind (default 30)")
    parser.add_argument("--seed", type=int, default=0, help="each seed gives other photos (default 0)")
    parser.add_argument("--kinds", type=int, help=f"number of kinds of fruit (default {len(KINDS)}, all)")
    flags = parser.parse_args(arguments)
    try:
        count = draw_set(flags.output, flags.photos, flags.seed, flags.kinds)
    except (ValueError, FileExistsError) as error:
        parser.error(str(error))
    except OSError as error:
        parser.exit(1, f"draw_fruit: the set could not be written: {error}\n")
    print(f"{flags.output} holds {count} photos of {flags.kinds or len(KINDS)} kinds of fruit")
    return 0


if __name__ == "__main__":
    sys.exit(main())
