"""Small pictures of photos, on sheets of many, small enough for one page.

The photos are read again where the run found them, and decoded as for the network: upright, and without any
metadata. A photo that is missing, changed or unreadable now has no picture.
"""

import base64
import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from job.photos import fetch
from job.photos.decode import Limits, Rejected, decode
from job.report.photos import Photos
from job.storage import store

MOST_PICTURES: Final = 20_000
MOST_BYTES_READ: Final = 2 * 10**9  # of the photos: some 700 of a phone
COLUMNS: Final = 32
PER_SHEET: Final = 1_024
# Largest number of pictures, and the side of each in pixels: 70 to 140 MB before they are compressed.
SIDES: Final = ((2_500, 96), (8_000, 64), (MOST_PICTURES, 48))
# The side relative to the first one, and WebP's quality, until all sheets fit.
ATTEMPTS: Final = ((1.0, 75), (1.0, 50), (0.75, 50), (0.5, 40), (0.5, 10), (0.25, 10))


@dataclass(frozen=True, slots=True)
class Sheets:
    """Pictures on sheets of `COLUMNS` columns and `PER_SHEET` places, row by row, each a ``data:`` URI.

    `places` ``(n,)`` has the place of each photo's picture, counted over all sheets, or -1.
    """

    side: int
    uris: list[str]
    places: NDArray[np.int32]


def most_pictures(sizes: Sequence[int]) -> int:
    """Return how many of photos of these sizes in bytes get a picture: 20,000, or as many as have 2 GB."""
    return min(MOST_PICTURES, MOST_BYTES_READ * len(sizes) // max(sum(sizes), 1))


def draw(photos: Photos, numbers: Sequence[int], limits: Limits, most_bytes: int) -> Sheets:
    """Return sheets with the pictures of some photos, in at most so many bytes of URIs.

    `numbers` are the positions of the photos that are to have a picture.
    """
    side = next(side for most, side in SIDES if len(numbers) <= most)
    tiles = np.zeros((len(numbers), side, side, 3), np.uint8)
    places = np.full(len(photos), -1, np.int32)
    found = 0
    for number, pixels in zip(numbers, _pictures(photos, numbers, side, limits), strict=False):
        if pixels:
            tiles[found] = np.frombuffer(pixels, np.uint8).reshape(side, side, 3)
            places[number] = found
            found += 1
    parts = [tiles[start : min(start + PER_SHEET, found)] for start in range(0, found, PER_SHEET)]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for scale, quality in ATTEMPTS:
            sheet = partial(_sheet, side=int(side * scale), quality=quality)
            uris = list(pool.map(sheet, parts))
            if sum(map(len, uris)) <= most_bytes:
                return Sheets(int(side * scale), uris, places)
    return no_pictures(len(photos))


def no_pictures(count: int) -> Sheets:
    """Return no sheet, for a number of photos."""
    return Sheets(1, [], np.full(count, -1, np.int32))


def _pictures(photos: Photos, numbers: Sequence[int], side: int, limits: Limits) -> Iterator[bytes]:
    """Yield the pixels ``(side, side, 3)`` of each photo as bytes, none for a photo without a picture.

    If S3 fails, the rest of the photos have no picture either.
    """
    digests = {photos.paths[number]: photos.sha256[number] for number in numbers}
    rows: list[fetch.Row] = [
        {"path": photos.paths[number], "bytes": photos.bytes[number]} for number in numbers
    ]

    def picture(path: str) -> bytes:
        try:
            data = store.read_bytes(path)
        except OSError:
            if store.is_s3(path):
                raise  # it has been tried for a minute; `fetch` takes a missing photo as such
            return b""
        if hashlib.sha256(data).hexdigest() != digests[path]:
            return b""
        try:
            return decode(data, limits, side).pixels.tobytes()
        except Rejected:
            return b""

    in_s3 = any(store.is_s3(path) for path in digests)
    requests = fetch.REQUESTS_S3 if in_s3 else max(os.cpu_count() or 1, fetch.REQUESTS_FOLDER)
    with ThreadPoolExecutor(requests) as pool, suppress(OSError):
        for _, pixels in fetch.fetch(rows, pool, requests, limits.max_bytes, read=picture):
            yield b"" if isinstance(pixels, Rejected) else pixels


def _sheet(tiles: NDArray[np.uint8], side: int, quality: int) -> str:
    """Return a sheet of tiles ``(m, s, s, 3)``, each scaled to `side`, as the ``data:`` URI of a WebP."""
    rows = -(-len(tiles) // COLUMNS)
    sheet = Image.new("RGB", (min(COLUMNS, len(tiles)) * side, rows * side))
    for place, tile in enumerate(tiles):
        row, column = divmod(place, COLUMNS)
        picture = Image.fromarray(tile)
        if len(tile) != side:
            picture = picture.resize((side, side), Image.Resampling.BOX)
        sheet.paste(picture, (column * side, row * side))
    sink = BytesIO()
    sheet.save(sink, "WEBP", quality=quality, method=2)
    return f"data:image/webp;base64,{base64.b64encode(sink.getvalue()).decode()}"
