"""The photos of a benchmark: the same evenly spaced subset of a folder every time.

Every measure gets a folder of copies, so that both sides of it read the same files from the page cache.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from job.errors import UsageError
from job.inventory.skipped_files import PHOTO_ENDINGS
from scripts.fruit.draw import draw_set


def photos_in(folder: Path) -> list[Path]:
    """Return a folder's photos, sorted by path.

    Raises
    ------
    UsageError
        If it holds no photo.
    """
    photos = sorted(file for file in folder.rglob("*") if file.suffix.lower() in PHOTO_ENDINGS)
    if not photos:
        endings = ", ".join(PHOTO_ENDINGS)
        raise UsageError(f"no photos in {folder}: check --photos, and that the files end in {endings}")
    return photos


def draw(folder: Path, each: int) -> list[Path]:
    """Draw `each` photos of every kind into a folder, unless it holds them already, and return them.

    Raises
    ------
    UsageError
        If the folder holds anything else, or cannot be written.
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
        number = copies[photo] = copies.get(photo, 0) + 1
        copy = target / photo.relative_to(root)
        if number > 1:
            copy = copy.with_name(f"{copy.stem}-copy{number}{copy.suffix}")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(photo, copy)
