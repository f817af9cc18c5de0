"""The photos of a benchmark: the same evenly spaced subset of a folder every time.

Every measure gets a folder of copies, so that all sides read the same files from the page cache.
"""

import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from job.errors import UsageError
from job.inventory.skipped_files import PHOTO_ENDINGS
from scripts.fruit.draw import draw_set


def photos_in(folder: Path) -> list[Path]:
    """Return a folder's photos, sorted by path.

    Raises
    ------
    UsageError
        If there is no such folder, it cannot be read, or it holds no photo.
    """

    def refuse(error: OSError) -> NoReturn:
        reason = (error.strerror or "unknown reason").lower()
        raise UsageError(
            f"photos folder {error.filename} cannot be read ({reason}): check --photos"
        ) from None

    try:
        mode = folder.stat().st_mode
    except FileNotFoundError:
        raise UsageError(f"photos folder {folder} does not exist: check --photos") from None
    except OSError as error:
        refuse(error)
    if not stat.S_ISDIR(mode):
        raise UsageError(f"{folder} is a file: name the folder of the photos with --photos")
    walk = os.walk(folder, onerror=refuse)
    photos = [
        Path(at) / name for at, _, names in walk for name in names if name.lower().endswith(PHOTO_ENDINGS)
    ]
    if not photos:
        raise UsageError(f"no photos in {folder}: none of its files ends in {', '.join(PHOTO_ENDINGS)}")
    return sorted(photos)


def draw(folder: Path, each: int) -> list[Path]:
    """Draw `each` photos of every kind into a folder, unless it has them, and return them.

    Raises
    ------
    UsageError
        If the folder holds something else or cannot be written.
    """
    try:
        draw_set(folder, each)
    except OSError as error:
        raise UsageError(
            f"photos could not be drawn into {folder} ({error}): name some with --photos"
        ) from None
    return photos_in(folder)


def evenly_spaced(photos: Sequence[Path], count: int) -> list[Path]:
    """Return `count` photos at even distances, so that every class gets its share.

    If there are fewer photos, they are repeated.
    """
    if count <= len(photos):
        return [photos[number * len(photos) // count] for number in range(count)]
    return [photos[number % len(photos)] for number in range(count)]


def copy_photos(photos: Sequence[Path], root: Path, target: Path) -> None:
    """Copy photos below `root` to the same places below `target`; a repeated one gets a number."""
    copies: dict[Path, int] = {}
    for photo in photos:
        times = copies[photo] = copies.get(photo, 0) + 1
        place = target / photo.relative_to(root)
        if times > 1:
            place = place.with_name(f"{place.stem}-copy{times}{place.suffix}")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(photo, place)
