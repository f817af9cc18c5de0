"""Decoding: for an ordinary photo the pixels a notebook would get, for an odd one those that were drawn."""

import pickle
import re
import subprocess
import sys
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, ImageOps

from job.photos.decode import MAX_SIDE, SIDE, Limits, Rejected, decode
from tests.support.bad_photos import (
    FRUIT,
    bad_photos,
    chunk,
    drawn,
    encoded,
    exif,
    good_oddities,
    opened,
    png,
    progressive_bomb,
    rejection,
    resized,
    riff,
    segment,
)
from tests.support.colour_profiles import DISPLAY_P3, SRGB, profile
from tests.support.keras_network import some
from tests.support.spark_session import ROOT

BAD: Final = bad_photos()
GOOD: Final = good_oddities()
# Where Pillow's default does something else: transparency, 16 bits, turns, drafts, text, colours.
UNLIKE_PILLOW: Final = re.compile("rgb|la[.]|palette_|grey_t|two|sixteen|trans|rot|large|text|bad|wide|prof")


def fault_files(pattern: str) -> list[Path]:
    """Find photos among those that lie beside the repository; ``bad_photos`` draws the like of each."""
    folder = ROOT.parent / "shared/faults"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    files = sorted(folder.glob(pattern))
    print(f"photos: {', '.join(file.name for file in files)}")
    assert files
    return files


def on_white(colour: NDArray[Any], alpha: NDArray[Any]) -> Image.Image:
    """Composite by the formula, in floating point, independently of Pillow."""
    share = alpha[..., None] / 255
    return Image.fromarray(np.rint(colour * share + 255 * (1 - share)).astype(np.uint8))


@pytest.mark.parametrize("whole", ["whole", "progressive-whole", "garbage-after-", "11-", "ff00-"])
def test_damage_outside_the_scans_changes_no_pixel(whole: str) -> None:
    (file,) = fault_files(f"damaged-jpeg/{whole}*")
    assert np.array_equal(decode(file.read_bytes()).pixels, resized(Image.open(file)))


@pytest.mark.parametrize("damaged", ["half-", "crlf-", "hole-", "progressive-first-scan-"])
def test_damage_inside_the_scans_is_refused(damaged: str) -> None:
    for file in fault_files(f"damaged-jpeg/{damaged}*"):
        assert rejection(file.read_bytes()).reason in ("truncated", "unreadable")


def test_a_wrong_checksum_of_a_comment_changes_no_pixel() -> None:
    bad, reference = (file.read_bytes() for file in fault_files("png-checksums/*.png"))
    assert np.array_equal(decode(bad).pixels, decode(reference).pixels)


def test_real_photos_equal_pillows_default(sample: Path) -> None:
    for file in some(sample, 100):
        photo, picture = decode(file.read_bytes()), Image.open(file)
        assert np.array_equal(photo.pixels, resized(picture))
        assert (photo.width, photo.height) == picture.size


def test_pixels_are_a_contiguous_square_of_bytes() -> None:
    for data in GOOD.values():
        pixels = decode(data).pixels
        assert pixels.shape == (SIDE, SIDE, 3)
        assert pixels.dtype == np.uint8
        assert pixels.flags.c_contiguous


def test_limits_are_inclusive_and_refuse_with_the_numbers() -> None:
    data = encoded(drawn(60, 48), "JPEG")
    decode(data, Limits(max_bytes=len(data), max_pixels=60 * 48))
    assert rejection(data, Limits(max_pixels=60 * 48 - 1)).reason == "too_large"
    too_long = rejection(data, Limits(max_bytes=len(data) - 1))
    assert (too_long.reason, str(len(data)) in too_long.detail) == ("too_large", True)


def test_the_size_is_told_from_every_kind_of_header() -> None:
    oddities = [GOOD[name] for name in ("rgba.png", "greyscale.jpg", "webp_named.jpg", "animated.webp")]
    photos = [*oddities, encoded(drawn(), "WEBP")]
    assert {data[12:16] for data in photos} >= {b"IHDR", b"VP8 ", b"VP8L", b"VP8X"}
    for data in photos:
        assert rejection(data, Limits(max_pixels=1)).detail.startswith("60 x 48 pixels")


def test_a_webp_over_pillows_own_limit_is_refused_as_too_large() -> None:
    data, _ = BAD["bomb.webp"]
    refused = rejection(
        data[:24] + (20_000 - 1).to_bytes(3, "little") * 2 + data[30:], Limits(max_pixels=10**9)
    )
    assert str(refused) == "too_large: over the 178956970 pixels that Pillow decodes of a WebP"


def test_a_bomb_is_refused_before_pixels_are_decoded_or_memory_is_taken() -> None:
    bombs = [data for data, reason in BAD.values() if reason == "too_large"]
    script = (
        "import pickle, resource, sys\nimport simplejpeg\nfrom PIL import ImageFile\n"
        "from job.photos.decode import Rejected, decode\n"
        "def load(*_, **__): raise AssertionError('pixels were decoded')\n"
        "ImageFile.ImageFile.load = simplejpeg.decode_jpeg = load\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**25,) * 2)\n"
        "for bomb in pickle.load(sys.stdin.buffer):\n"
        "    try: decode(bomb)\n"
        "    except Rejected as rejected: print(rejected)\n"
    )
    command = [sys.executable, "-c", script]
    run = subprocess.run(command, input=pickle.dumps(bombs), capture_output=True, cwd=ROOT, check=True)
    assert run.stdout.decode().splitlines() == [str(rejection(bomb)) for bomb in bombs]
    assert all("pixels" in str(rejection(bomb)) for bomb in bombs)


def test_a_photos_time_has_a_bound_whatever_its_bytes_are() -> None:
    jpeg, png_file, webp = (encoded(drawn(), kind) for kind in ("JPEG", "PNG", "WEBP"))
    many = 2**23
    bombs = [
        progressive_bomb(7000, 7000, 4000),
        jpeg[:2] + b"\xff\xe0\0\2" * many + jpeg[2:],
        jpeg[:2] + b"\xff\0" * many + jpeg[2:],
        jpeg[:-2] + b"\xff\xe0\0\2" * many + jpeg[-2:],
        *(png_file[:33] + chunk(name) * (many // 2) + png_file[33:] for name in (b"teXt", b"eXIf", b"IDAT")),
        png_file[:33] + chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(2**22))) * 2**13 + png_file[33:],
        jpeg[:2] + segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(65_000)) * 990 + jpeg[2:],
        riff(
            (b"VP8X", bytes(4) + b"\x3b\0\0\x2f\0\0"), (b"VP8 ", webp[20:]), *[(b"oddX", b"")] * (many // 2)
        ),
    ]
    for bomb in bombs:
        begun = time.thread_time()
        with suppress(Rejected):
            decode(bomb)
        assert time.thread_time() - begun < 2, bomb[:60]


def test_running_out_of_memory_is_a_rejection(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", no_memory)
    monkeypatch.setattr(simplejpeg, "decode_jpeg", no_memory)
    for name in ("greyscale.jpg", "palette.png", "transparent.webp"):
        assert rejection(GOOD[name]).reason == "too_large"


def test_a_side_longer_than_any_jpegs_is_refused_though_its_pixels_are_few() -> None:
    assert decode(encoded(Image.new("L", (MAX_SIDE, 2)), "PNG")).width == MAX_SIDE
    assert rejection(encoded(Image.new("L", (1, MAX_SIDE + 1)), "PNG")).reason == "too_large"


def test_no_warning_is_given_and_nothing_of_pillow_is_changed() -> None:
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    twice = png(np.asarray(drawn()), 2, chunk(b"acTL", bytes(8)), chunk(b"acTL", bytes(8)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for data in (*GOOD.values(), twice):
            decode(data)
    after = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    assert after == before


def test_our_limit_decides_and_not_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decode(GOOD["greyscale.jpg"])
        decode(GOOD["rgba.png"])


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's, in what is compared with
@pytest.mark.parametrize("name", [name for name in GOOD if not UNLIKE_PILLOW.match(name)])
def test_an_opaque_oddity_equals_pillows_default_for_its_first_picture(name: str) -> None:
    assert np.array_equal(decode(GOOD[name]).pixels, resized(opened(GOOD[name])))


@pytest.mark.parametrize(
    "name",
    [
        "interlaced.png",
        "text_bomb.png",
        "bad_checksum_of_a_comment.png",
        "animated.png",
        "animated.webp",
        "sixteen_bit_rgb.png",
    ],
)
def test_a_lossless_oddity_gives_the_drawn_pixels(name: str) -> None:
    assert np.array_equal(decode(GOOD[name]).pixels, resized(drawn()))


@pytest.mark.parametrize("name", ["cmyk.jpg", "cmyk_plain.jpg", "ycck.jpg"])
def test_inks_become_the_drawn_colours(name: str) -> None:
    difference = decode(GOOD[name]).pixels.astype(int) - resized(drawn())
    assert np.abs(difference).mean() < 3


def expected_on_white() -> dict[str, Image.Image]:
    rgb, grey = np.asarray(drawn()), np.asarray(drawn(mode="L"))
    palette, index = np.asarray(drawn().quantize(16).convert("RGB")), np.asarray(drawn().quantize(16))
    fruit, even = (rgb == rgb[FRUIT]).all(axis=-1), np.arange(60) % 2 == 0
    threes = np.dstack([grey] * 3)
    return {
        "rgba.png": on_white(rgb, grey),
        "transparent.webp": on_white(rgb, grey),
        "sixteen_bit_rgba.png": on_white(rgb, grey),
        "sixteen_bit_rgb_transparent.png": on_white(rgb, 255 * ~fruit),
        "la.png": on_white(threes, grey),
        "palette_transparent.png": on_white(palette, index * 16),
        "palette_one_transparent.png": on_white(palette, 255 * (index != 0)),
        "rgb_transparent.png": on_white(rgb, 255 * ~fruit),
        "grey_transparent.png": on_white(threes, 255 * (grey != grey[FRUIT])),
        "two_bits_transparent.png": Image.fromarray(np.tile(np.array([0, 85, 255, 255], np.uint8), (8, 2))),
        "sixteen_bit.png": drawn(mode="L"),
        "sixteen_bit_transparent.png": on_white(threes, 255 * ~((grey == grey[FRUIT]) & even)),
    }


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
@pytest.mark.parametrize(("name", "expected"), expected_on_white().items())
def test_white_is_behind_a_photo_and_sixteen_bits_give_the_high_byte(
    name: str, expected: Image.Image
) -> None:
    assert np.abs(decode(GOOD[name]).pixels.astype(int) - resized(expected)).max() <= 1
    assert not np.array_equal(resized(expected), resized(opened(GOOD[name])))  # Pillow alone does not


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_upright(kind: str, orientation: int) -> None:
    data = encoded(drawn(), kind, exif=exif(orientation))
    upright = ImageOps.exif_transpose(opened(data))
    photo = decode(data)
    assert np.array_equal(photo.pixels, resized(upright))
    assert (photo.width, photo.height) == upright.size


@pytest.mark.parametrize(
    ("mode", "orientation"), [*(("RGB", turn) for turn in range(1, 9)), ("L", 6), ("CMYK", 6)]
)
def test_a_large_jpeg_is_drafted_and_stays_close(
    mode: str, orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encoded(drawn(2003, 1501, mode), "JPEG", exif=exif(orientation), quality=90)
    upright = ImageOps.exif_transpose(opened(data))
    shapes, decode_jpeg = [], simplejpeg.decode_jpeg

    def noted(*arguments: Any, **options: Any) -> Any:
        pixels = decode_jpeg(*arguments, **options)
        shapes.append(pixels.shape)
        return pixels

    monkeypatch.setattr(simplejpeg, "decode_jpeg", noted)
    photo = decode(data)
    assert [shape[:2] for shape in shapes] == [(751, 1002)]
    assert (photo.width, photo.height) == upright.size
    difference = np.abs(photo.pixels.astype(int) - resized(upright))
    assert difference.mean() < 0.3
    assert difference.max() <= 12


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (7, 7), (1343, 1343), (4000, 1300), (700, 3000)])
def test_a_photo_too_small_to_draft_equals_pillows_default(size: tuple[int, int]) -> None:
    data = encoded(drawn(*size), "JPEG")
    assert np.array_equal(decode(data).pixels, resized(opened(data)))


@pytest.mark.parametrize("name", [name for name in GOOD if name.startswith("wide_colours")])
def test_the_colours_of_a_profile_become_those_of_srgb(name: str) -> None:
    difference = np.abs(decode(GOOD[name]).pixels.astype(int) - resized(drawn()))
    assert difference.mean() < (3 if name.endswith("jpg") else 1)
    assert np.abs(resized(opened(GOOD[name])).astype(int) - resized(drawn())).mean() > 4  # Pillow's default


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_profile_of_srgb_changes_no_pixel(kind: str) -> None:
    tagged = encoded(drawn(), kind, icc_profile=profile("sRGB IEC61966-2.1", SRGB))
    assert np.array_equal(decode(tagged).pixels, decode(encoded(drawn(), kind)).pixels)


@pytest.mark.parametrize("name", [name for name in GOOD if name.startswith(("damaged_p", "profile_bomb"))])
def test_a_damaged_profile_is_ignored(name: str) -> None:
    plain = encoded(drawn(), "JPEG") if name.endswith("jpg") else encoded(drawn(), "PNG")
    assert np.array_equal(decode(GOOD[name]).pixels, decode(plain).pixels)


def test_a_profile_that_cannot_be_applied_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError

    monkeypatch.setattr(ImageCms.ImageCmsTransform, "apply", fail)
    data = GOOD["wide_colours.jpg"]
    assert np.array_equal(decode(data).pixels, resized(opened(data)))


def test_a_profile_larger_than_any_screens_is_ignored() -> None:
    p3 = profile("Display P3", DISPLAY_P3)
    tagged = [encoded(drawn(), "JPEG", icc_profile=p3 + bytes(size)) for size in (0, 2**22)]
    is_plain = [np.array_equal(decode(data).pixels, resized(opened(data))) for data in tagged]
    assert is_plain == [False, True]


@pytest.mark.parametrize("name", [name for name in GOOD if name.startswith("rotated_")])
def test_an_orientation_is_found_wherever_it_is_written(name: str) -> None:
    turn = {"rotated_exif.png": 90, "rotated_exif.webp": 180}.get(name, 270)
    upright = opened(GOOD[name]).convert("RGB").rotate(turn, expand=True)
    assert np.array_equal(decode(GOOD[name]).pixels, resized(upright))


def test_threads_give_the_same_pixels() -> None:
    photos = [*GOOD.values()] * 2
    with ThreadPoolExecutor(4) as pool:
        for one, other in zip(pool.map(decode, photos), map(decode, photos), strict=True):
            assert np.array_equal(one.pixels, other.pixels)


def test_a_rejection_survives_pickling() -> None:
    copy = pickle.loads(pickle.dumps(Rejected("empty", "nothing")))
    assert (copy.reason, copy.detail, str(copy)) == ("empty", "nothing", "empty: nothing")
