"""What the bytes say: every reason to refuse them, cuts at every length, EXIF, and bytes that nobody drew."""

import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import TiffImagePlugin

from job.photos import formats
from job.photos.decode import SIDE, Photo, Reason, Rejected, decode
from tests.support.bad_photos import (
    GPS,
    SECRET,
    bad_photos,
    drawn,
    encoded,
    exif,
    good_oddities,
    opened,
    rejection,
    resized,
)

BAD: Final = bad_photos()
GOOD: Final = good_oddities()
ROOT: Final = Path(__file__).parents[3]
NAMES: Final = {"icns": "icon", "jpeg2000": "JPEG 2000", "j2k": "JPEG 2000", "jxl": "JPEG XL", "ppm": "PNM"}
SMALL: Final = [encoded(drawn(24, 18), kind) for kind in ("JPEG", "PNG", "WEBP")] + [GOOD["phone_pair.jpg"]]
MARKS: Final = [b"", *(data[:16] for data, _ in BAD.values())]
ENTRY: Final = b"II*\0\x08\0\0\0\1\0\x12\1"  # EXIF with one entry, the orientation, to be continued


def turn_in(block: bytes) -> int:
    return formats.orientation(formats.Metadata([block]))


@pytest.mark.parametrize("name", BAD)
def test_a_bad_photo_is_rejected_with_its_reason(name: str) -> None:
    data, reason = BAD[name]
    first, second = rejection(data), rejection(data)
    assert first.reason == reason
    assert 0 < len(first.detail) <= 200
    assert first.detail == second.detail
    assert "0x" not in first.detail
    assert "/" not in first.detail


def test_every_reason_that_decode_can_give_is_covered() -> None:
    assert {reason for _, reason in BAD.values()} == set(get_args(Reason)) - {"gone"}


@pytest.mark.parametrize("name", [name for name in BAD if BAD[name][1] == "format_not_allowed"])
def test_a_format_that_is_not_read_is_named(name: str) -> None:
    stem = re.split(r"[_.]", name, maxsplit=1)[0]
    assert NAMES.get(stem, stem).lower() in rejection(BAD[name][0]).detail.lower()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {"comment": b"\xff\xd9" * 9}),
        ("JPEG", {"quality": 100, "progressive": True}),
        ("JPEG", {"quality": 100, "restart_marker_rows": 1}),
        ("PNG", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_a_photo_cut_anywhere_is_rejected_as_truncated(kind: str, options: dict[str, Any]) -> None:
    data = encoded(drawn(24, 18), kind, **options)
    decode(data)
    assert b"\xff\0" in data or "quality" not in options, "what could be taken for a marker"
    known = {"JPEG": 3, "PNG": 8, "WEBP": 12}[kind]  # bytes until the format can be told
    for length in range(1, len(data)):
        expected = "truncated" if length >= known else "not_an_image"
        assert rejection(data[:length]).reason == expected, length


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_a_jpeg_cut_anywhere_is_rejected_though_an_end_marker_follows(options: dict[str, Any]) -> None:
    data = encoded(drawn(24, 18), "JPEG", quality=100, **options)
    for length in range(3, len(data) - 2):
        assert rejection(data[:length] + data[-2:]).reason in ("truncated", "unreadable"), length


def test_a_phones_pair_needs_its_first_picture_only() -> None:
    pair = GOOD["phone_pair.jpg"]
    second = pair.index(b"\xff\xd8\xff", 3)
    assert np.array_equal(decode(pair[:second]).pixels, decode(pair).pixels)
    assert rejection(pair[: second - 2]).reason == "truncated"


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])  # a WebP has nothing that would tell
def test_a_photo_whose_tail_is_zeros_is_rejected(kind: str) -> None:
    data = encoded(drawn(), kind)
    for length in range(30, len(data), 50):
        assert rejection(data[:length].ljust(len(data), b"\0")).reason in ("truncated", "unreadable")


def test_what_follows_the_end_of_a_photo_does_not_matter() -> None:
    for kind in ("JPEG", "PNG", "WEBP"):
        data = encoded(drawn(), kind)
        assert np.array_equal(decode(data + b"\xff\xd8\xff" + bytes(99)).pixels, decode(data).pixels)


@pytest.mark.parametrize("level", range(10))
def test_a_complete_png_is_read_whatever_its_rows_and_its_compression(level: int) -> None:
    for size in ((1, 1), (5, 22), (9, 8), (9, 11), (40, 3), (300, 300)):
        flat = drawn(*size).resize((1, 1)).resize(size)
        assert np.array_equal(decode(encoded(flat, "PNG", compress_level=level)).pixels, resized(flat))


def test_only_the_readers_of_three_formats_are_ever_loaded() -> None:
    script = (
        "import pickle, sys\nfrom job.photos.decode import Rejected, decode\n"
        "for data in pickle.load(sys.stdin.buffer):\n"
        "    try: decode(data)\n"
        "    except Rejected: pass\n"
        "print(*sorted(name for name in sys.modules if name.endswith('ImagePlugin')))\n"
    )
    photos = pickle.dumps([*GOOD.values(), *(data for data, _ in BAD.values())])
    command = [sys.executable, "-c", script]
    run = subprocess.run(command, input=photos, capture_output=True, cwd=ROOT, check=True)
    assert run.stdout.decode().split() == [f"PIL.{kind}ImagePlugin" for kind in ("Jpeg", "Png", "WebP")]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_found_among_other_tags_in_both_byte_orders(order: str, orientation: int) -> None:
    tags = exif(orientation)
    tags.endian = order
    block = tags.tobytes()
    assert turn_in(block) == orientation
    assert turn_in(b"Exif\0\0" + block) == orientation
    assert turn_in(block.removeprefix(b"Exif\0\0")) == orientation


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's, when it writes
@pytest.mark.parametrize(
    "block", [b"", b"Exif\0\0", b"text", b"II*\0", b"II*\0\xff\xff\xff\xff", b"II+\0" + ENTRY[4:]]
)
@pytest.mark.parametrize(
    "rest", [b"", b"\3\0\1\0\0\0\x09\0\0\0", b"\2\0\1\0\0\0\6\0\0\0", b"\3\0\2\0\0\0\6\0\6\0"]
)
def test_malformed_exif_means_upright(block: bytes, rest: bytes) -> None:
    for malformed in (block, ENTRY + rest):
        assert turn_in(malformed) == 1
        for kind, prefix in (("JPEG", b"Exif\0\0"), ("WEBP", b"")):
            data = encoded(drawn(), kind, exif=prefix + malformed)
            assert np.array_equal(decode(data).pixels, resized(opened(data)))


def test_the_orientation_is_all_that_is_read_of_exif(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(drawn(), "JPEG", exif=exif(6))
    assert SECRET.encode() in data
    assert GPS in opened(data).getexif()
    monkeypatch.delattr(TiffImagePlugin, "ImageFileDirectory_v2")  # what Pillow reads EXIF with
    photo = decode(data)
    assert (photo.width, photo.height) == (48, 60)
    assert set(Photo.__slots__) == {"pixels", "width", "height"}


def test_nothing_of_exif_is_in_a_rejection() -> None:
    data = encoded(drawn(), "JPEG", exif=exif(6))
    for broken in (data[:-40], data[:200], data.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c")):
        said = repr(rejection(broken))
        assert not any(word in said for word in (SECRET, "phone", "2026", "48", "51"))


@settings(derandomize=True, max_examples=400, deadline=None)
@given(st.sampled_from(SMALL), st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=6))
def test_overwritten_bytes_decode_or_are_rejected(data: bytes, strokes: list[tuple[int, int]]) -> None:
    damaged = bytearray(data)
    for at, value in strokes:
        damaged[at % len(data)] = value
    try:
        assert decode(bytes(damaged)).pixels.shape == (SIDE, SIDE, 3)
    except Rejected as rejected:
        assert rejected.reason in get_args(Reason)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.sampled_from(MARKS), st.binary())
def test_any_bytes_are_rejected(mark: bytes, rest: bytes) -> None:
    assert rejection(mark + rest).reason in get_args(Reason)
