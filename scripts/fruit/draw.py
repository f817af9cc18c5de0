"""Draw a small set of fruit photos, for anyone who wants to try the job and has no data.

The set looks like Fruits-360: `Training|Test/<Kind>/<number>_100.jpg`, 100x100 JPEG, one fruit on white.
`shapes` says what each kind looks like; here its layers are turned, lit, tinted, fitted to the frame
and saved. The same seed gives the same bytes, photo by photo, whatever else is drawn and in whatever order
(with the same NumPy, Pillow and processor family). A set gets its name when its last photo is in it: a run
that is killed leaves at most a hidden sibling that ends in `.partial`.

Run it: `python -m scripts.fruit.draw build/photos --photos 30 --seed 0`.
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
DRAWING = 1  # raise it when photos change, so that an older set is not taken for a new one

_AXIS = np.linspace(-MARGIN, MARGIN, DRAWN, dtype=np.float32)
_PIXEL = 2 * MARGIN / (DRAWN - 1)


def photo_seed(seed: int, kind: str, index: int) -> int:
    """Return the seed of one photo of a set: a hash, so that no photo depends on another."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{kind}/{index}".encode(), digest_size=8).digest(), "big")


def _lit(layer: shapes.Layer, here: tuple[slice, slice], light: shapes.Plane) -> shapes.Plane:
    """Return a layer's colours here, under the light: Lambert's cosine, and Blinn and Phong's highlight."""
    down, right = np.gradient(layer.height[here], _PIXEL)
    facing = 1 / np.sqrt(right**2 + down**2 + 1)
    half_way = light + np.array([0, 0, 1], np.float32)
    half_way = half_way / np.sqrt(half_way @ half_way)
    diffuse = np.clip((light[2] - right * light[0] - down * light[1]) * facing, 0, 1)
    shine = np.clip((half_way[2] - right * half_way[0] - down * half_way[1]) * facing, 0, 1)
    for _ in range(5):  # to the 32nd power
        shine = shine * shine
    colour = np.broadcast_to(layer.colour, (3, DRAWN, DRAWN))[:, *here]
    return np.asarray(colour * (0.36 + 0.7 * diffuse) * (0.8 + 0.2 * facing) + layer.gloss * shine)


def draw_photo(kind: str, seed: int) -> Image.Image:
    """Draw one photo.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    seed : int
        0 or more. It decides turn, light, tint, size and every detail of the fruit.

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
        here = _extent(layer.inside > 0)  # light only the part of the square that the layer takes
        lit = _lit(layer, here, light) * tint * grain[here]
        canvas[:, *here] += np.clip(layer.inside[here] / _PIXEL, 0, 1) * (
            np.clip(lit, 0, 1) - canvas[:, *here]
        )
    return _framed(canvas, _extent(covered), rng.uniform(0.88, 0.98))


def _extent(covered: shapes.Plane) -> tuple[slice, slice]:
    """Return the rows and the columns that hold anything, and two more on every side."""
    rows, columns = (np.flatnonzero(covered.any(axis=axis)) for axis in (1, 0))
    return slice(max(rows[0] - 2, 0), rows[-1] + 3), slice(max(columns[0] - 2, 0), columns[-1] + 3)


def _framed(canvas: shapes.Plane, fruit: tuple[slice, slice], share: float) -> Image.Image:
    """Set the fruit in the middle of a white photo, its longer side `share` of the frame."""
    drawn = Image.fromarray((canvas[:, *fruit].transpose(1, 2, 0) * 255 + 0.5).astype(np.uint8))
    scale = SIDE * share / max(drawn.size)
    size = (round(drawn.width * scale), round(drawn.height * scale))
    cut = drawn.resize(size, Image.Resampling.LANCZOS)
    photo = Image.new("RGB", (SIDE, SIDE), "white")
    photo.paste(cut, ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
    return photo


def _is_whole(folder: Path, recipe: dict[str, Any]) -> bool:
    """Say whether the folder holds exactly the set of this recipe: its marker, and as many photos."""
    try:
        marked = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(marked == recipe) and sum(1 for _ in folder.glob("*/*/*.jpg")) == recipe["drawn"]


def _draw_into(folder: Path, photos: int, seed: int, kinds: Sequence[str]) -> None:
    """Draw every photo of a set, a third of each kind (at least one of two) as Test."""
    tests = max(photos // 3, min(1, photos - 1))
    for kind in kinds:
        for index in range(photos):
            home = folder / ("Training" if index < photos - tests else "Test") / kind
            home.mkdir(parents=True, exist_ok=True)
            picture = draw_photo(kind, photo_seed(seed, kind, index))
            picture.save(home / f"{index}_{SIDE}.jpg", "JPEG", quality=90)


def draw_set(output: Path, photos: int = 30, seed: int = 0, kinds: int | None = None) -> int:
    """Draw a set of photos into a folder; a set that is already there, whole, is left alone.

    Parameters
    ----------
    output : Path
        The folder to make. It may exist if it is empty or holds this very set.
    photos : int
        Photos of each kind; a third of them go to Test.
    seed : int
        Another seed, other photos.
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
    chosen, output = KINDS[:kinds], output.resolve()
    recipe = {
        "drawing": DRAWING,
        "photos": photos,
        "seed": seed,
        "kinds": list(chosen),
        "drawn": photos * len(chosen),
    }
    if _is_whole(output, recipe):
        return photos * len(chosen)
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise FileExistsError(
            f"{output} exists and is not this set of photos; name another folder or remove it"
        )
    partial_set = output.parent / f".{output.name}.{uuid.uuid4().hex[:8]}.partial"
    try:
        partial_set.mkdir(parents=True)
        _draw_into(partial_set, photos, seed, chosen)
        (partial_set / MARKER).write_text(json.dumps(recipe, indent=1) + "\n", encoding="utf-8")
        partial_set.rename(output)
    except OSError:
        if not _is_whole(output, recipe):  # unless another run has just drawn the same set
            raise
    finally:
        shutil.rmtree(partial_set, ignore_errors=True)
    return photos * len(chosen)


class _OneSentence(argparse.ArgumentParser):
    """A parser that answers a wrong flag with one sentence and no usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"draw_fruit: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the flags, draw the set and return 0; a mistake leaves with code 2 and one sentence on stderr."""
    parser = _OneSentence(prog="draw_fruit", description="Draw a small Fruits-360-like set of photos.")
    parser.add_argument("output", type=Path, help="the folder to make")
    parser.add_argument("--photos", type=int, default=30, help="photos of each kind (default 30)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other photos (default 0)")
    parser.add_argument("--kinds", type=int, help=f"how many kinds of fruit (default {len(KINDS)}, all)")
    flags = parser.parse_args(arguments)
    try:
        drawn = draw_set(flags.output, flags.photos, flags.seed, flags.kinds)
    except (ValueError, FileExistsError) as error:
        parser.error(str(error))
    except OSError as error:
        parser.exit(1, f"draw_fruit: the set could not be written: {error}\n")
    print(f"{flags.output} holds {drawn} photos of {flags.kinds or len(KINDS)} kinds of fruit")
    return 0


if __name__ == "__main__":
    sys.exit(main())
