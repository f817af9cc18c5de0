"""Pictures of photos: each in its place, within the bytes that are allowed, and none of a changed photo."""

import base64
import hashlib
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from job.photos.decode import Limits
from job.report import thumbnails
from job.report.photos import Photos
from job.report.thumbnails import Sheets
from job.storage import store
from tests.job.report.test_photos import invented
from tests.support import reports

ENOUGH = 10_000_000


@pytest.fixture
def pictured(tmp_path: Path) -> Photos:
    """Return forty photos of one colour each."""
    shown = invented(["Apple"] * 40, ["Training"] * 40)
    paths = [str(tmp_path / f"{number}.jpg") for number in range(40)]
    for path in paths:
        Path(path).write_bytes(reports.jpeg_of(path))
    digests = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths]
    return replace(shown, paths=paths, sha256=digests, bytes=[Path(path).stat().st_size for path in paths])


def tile(sheets: Sheets, number: int) -> NDArray[np.uint8]:
    """Return the pixels of a photo's picture."""
    place = int(sheets.places[number])
    sheet, on_sheet = divmod(place, thumbnails.PER_SHEET)
    data = base64.b64decode(sheets.uris[sheet].partition(",")[2])
    row, column = divmod(on_sheet, thumbnails.COLUMNS)
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    side = sheets.side
    return pixels[row * side : (row + 1) * side, column * side : (column + 1) * side]


@pytest.mark.parametrize("per_sheet", [32, 1_024])
def test_each_photo_has_its_own_picture(
    per_sheet: int, pictured: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thumbnails, "PER_SHEET", per_sheet)
    sheets = thumbnails.draw(pictured, range(40), Limits(), ENOUGH)
    assert len(sheets.uris) == -(-40 // per_sheet)
    for number, path in enumerate(pictured.paths):
        centre = tile(sheets, number)[20:-20, 20:-20].mean(axis=(0, 1))
        np.testing.assert_allclose(centre, reports.colour_of(path), atol=6)


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.unlink(),
        lambda file: file.write_bytes(reports.jpeg_of("another")),
        lambda file: file.write_bytes(b""),
        lambda file: (file.unlink(), file.mkdir()),
    ],
    ids=["missing", "changed", "empty", "a folder"],
)
def test_a_photo_that_is_not_there_as_it_was_has_no_picture(
    damage: Callable[[Path], object], pictured: Photos
) -> None:
    damage(Path(pictured.paths[3]))
    sheets = thumbnails.draw(pictured, range(40), Limits(), ENOUGH)
    assert sheets.places[3] == -1
    assert sorted(sheets.places)[1:] == list(range(39))
    np.testing.assert_allclose(
        tile(sheets, 4).mean(axis=(0, 1)), reports.colour_of(pictured.paths[4]), atol=6
    )


def test_once_s3_fails_the_pictures_so_far_are_all(pictured: Photos, monkeypatch: pytest.MonkeyPatch) -> None:
    local = {f"s3://photos{path}": path for path in pictured.paths}
    fails = list(local)[30]

    def read(location: str) -> bytes:
        if location == fails:
            raise OSError("503 for a minute")
        return Path(local[location]).read_bytes()

    monkeypatch.setattr(store, "read_bytes", read)
    sheets = thumbnails.draw(replace(pictured, paths=list(local)), range(40), Limits(), ENOUGH)
    assert sheets.places.tolist() == [*range(30), *[-1] * 10]


def test_a_photo_that_was_rejected_for_its_size_is_not_decoded(pictured: Photos) -> None:
    assert (thumbnails.draw(pictured, range(40), Limits(max_pixels=10), ENOUGH).places == -1).all()


def test_pictures_shrink_until_they_fit_and_are_left_out_if_none_do(pictured: Photos) -> None:
    whole = thumbnails.draw(pictured, range(40), Limits(), ENOUGH)
    size = sum(map(len, whole.uris))
    small = thumbnails.draw(pictured, range(40), Limits(), size - 1)
    assert sum(map(len, small.uris)) < size
    assert (small.places == whole.places).all()
    none = thumbnails.draw(pictured, range(40), Limits(), 10)
    assert none.uris == []
    assert (none.places == -1).all()


def test_large_photos_get_fewer_pictures_so_that_little_is_read() -> None:
    assert thumbnails.most_pictures([5_000] * 30_000) == 20_000
    assert thumbnails.most_pictures([4_000_000] * 30_000) == 500
    assert thumbnails.most_pictures([]) == 0
