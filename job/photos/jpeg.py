"""Reads a JPEG's segments, and its pixels with libjpeg-turbo, whose warnings count.

``decode`` calls it. Pillow decodes with the same library but hides its warnings: it would accept a photo that
was cut in half and given an end marker, with its lower half grey. ``read`` decompresses nothing, so that
``decode`` can check sizes before pixels.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import simplejpeg
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from job.photos.formats import Metadata

MAX_SCANS: Final = 500  # as many as libjpeg-turbo reads when it is fuzzed
_MAX_SEGMENTS: Final = 10_000  # 64 MB of metadata are 1,000 segments

# A marker that is not a stuffed or fill byte, TEM, RSTn or SOI (ITU-T T.81, table B.1).
_MARKER: Final = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")
_SCAN_END: Final = re.compile(rb"\xff([^\x00\xff])")
_LOOKAHEAD: Final = 8  # bytes that libjpeg reads beyond the last pixel
_END: Final = 0xD9
_SCAN: Final = 0xDA
# Frames of Huffman codes: baseline, extended, progressive, lossless. Arithmetic codes never run out, so that
# nothing tells whether they are whole; browsers do not read them either.
_FRAMES: Final = {0xC0, 0xC1, 0xC2, 0xC3}
_SEQUENTIAL: Final = {0xC0, 0xC1}
_PROGRESSIVE: Final = 0xC2
_METADATA: Final = {*range(0xE0, 0xF0), 0xFE}
_MAX_BLOCKS: Final = 8  # of EXIF, each of which may have 5,000 tags
_EXIF: Final = b"Exif\0\0"
_XMP: Final = b"http://ns.adobe.com/xap/1.0/\0"
_PROFILE: Final = b"ICC_PROFILE\0"
# Before the colours: 0 is RGB or CMYK, 1 YCbCr, 2 YCCK. libjpeg warns of other values, and assumes 1 or 2.
_ADOBE: Final = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0"
_JFIF: Final = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"  # libjpeg warns of other versions than 1

# By the number of channels: the name in simplejpeg, and Pillow's mode and raw mode. Inks are stored inverted.
_COLOURS: Final = {1: ("GRAY", "L", "L"), 3: ("RGB", "RGB", "RGB"), 4: ("CMYK", "CMYK", "CMYK;I")}
# Some programs write zeros before the end marker. libjpeg reports only its first warning, and this one comes
# after the last pixel. If it is reported, the scans gave no warning.
_PADDING: Final = re.compile(r"\b(\d+) extraneous bytes before marker 0xd9")


@dataclass(frozen=True, slots=True)
class Jpeg:
    """What a JPEG's segments say: size in pixels, channels, scans and metadata.

    ``data`` is the JPEG without other metadata and without bytes between the segments of its header. Header
    values that libjpeg warns of and ignores are replaced in it by those that it assumes.
    ``is_complete`` tells whether its scans hold every bit of every coefficient of each channel.
    """

    data: bytes
    width: int
    height: int
    channels: int
    scans: int
    is_complete: bool
    metadata: Metadata


def read(data: bytes) -> Jpeg:
    """Read a JPEG's segments up to the scan that completes the pixels; of a progressive JPEG, all segments.

    Raises
    ------
    EOFError
        If the bytes end before the first scan begins.
    ValueError
        If a segment is malformed, or there are more than a photo can need.
    """
    view = memoryview(data)
    kept: list[memoryview] = []
    metadata: list[tuple[int, bytes]] = []
    frame, code = b"", 0
    for marker, start, body in _segments(data, 2):
        if marker == _SCAN:
            break
        if marker in _FRAMES and not frame:
            code, frame = marker, body
        if marker in _METADATA:
            metadata.append((marker, body))
        else:
            kept.append(view[start : start + 4 + len(body)])
    if len(frame) < 6 or len(frame) != 6 + 3 * frame[5]:
        raise ValueError("the JPEG has no frame header that is read before its first scan")
    channels = frame[5]
    bands, is_complete = _scans(data, start, code, frame[6::3])
    scans = _with_whole_bands(view, start, bands if code in _SEQUENTIAL else [])
    return Jpeg(
        b"".join([view[:2], *_colour_segments(metadata, channels), *kept, *scans]),
        int.from_bytes(frame[3:5]),
        int.from_bytes(frame[1:3]),
        channels,
        len(bands),
        is_complete,
        _metadata(metadata, channels),
    )


def _colour_segments(segments: list[tuple[int, bytes]], channels: int) -> Iterator[bytes]:
    """Yield the segments that tell the colours, with values that libjpeg knows."""
    for marker, body in segments:
        if marker == 0xE0 and body.startswith(b"JFIF\0"):
            yield _JFIF
        elif marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
            yield _ADOBE + (b"\0" if body[11] == 0 else b"\2" if channels == 4 else b"\1")


def _metadata(segments: list[tuple[int, bytes]], channels: int) -> Metadata:
    exif: list[bytes] = []
    profile: dict[int, bytes] = {}
    xmp = b""
    for marker, body in segments:
        if marker == 0xE1 and body.startswith(_EXIF) and len(exif) < _MAX_BLOCKS:
            exif.append(body)
        elif marker == 0xE1 and body.startswith(_XMP):
            xmp = xmp or body
        elif marker == 0xE2 and body.startswith(_PROFILE) and len(body) > 14 and channels != 4:
            profile[body[12]] = body[14:]
    return Metadata(exif, xmp, b"".join(profile[number] for number in sorted(profile)))


def _with_whole_bands(data: memoryview, start: int, bands: list[int]) -> Iterator[bytes | memoryview]:
    """Yield the bytes of the scans, with headers that claim all coefficients where a band is written."""
    for band in bands:
        yield data[start:band]
        yield b"\0\x3f\0"
        start = band + 3
    yield data[start:]


def _segments(data: bytes, position: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield each segment's marker, start and body up to the end marker, skipping what lies between."""
    for _ in range(_MAX_SEGMENTS):
        found = _MARKER.search(data, position)
        if found is None:
            raise EOFError
        marker, start = found[1][0], found.start()
        if marker == _END:
            return
        position = start + 2 + int.from_bytes(data[start + 2 : start + 4])
        if len(data) < max(position, start + 4):
            raise EOFError
        if position < start + 4:
            raise ValueError("a segment of the JPEG is shorter than its own length")
        yield marker, start, data[start + 4 : position]
    raise ValueError(f"the JPEG has more than {_MAX_SEGMENTS} segments")


def _scans(data: bytes, start: int, code: int, components: bytes) -> tuple[list[int], bool]:
    """Find where each scan's band is written, and tell whether the scans leave no coefficient out.

    It stops after ``MAX_SCANS`` + 1 scans.
    """
    missing = {component: [True] * 64 for component in components}
    bands: list[int] = []
    try:
        for marker, position, body in _segments(data, start):
            if marker != _SCAN:
                continue
            if len(body) < 6:
                raise ValueError("a scan header of the JPEG is malformed")
            bands.append(position + 1 + len(body))
            ids = body[1:-3:2]
            if code == _PROGRESSIVE:
                first, last, low = body[-3], min(body[-2], 63), body[-1] & 15  # (T.81, B.2.3)
            else:
                first, last, low = 0, 63, 0
            for component in ids:
                if component in missing:
                    missing[component][first : last + 1] = [low > 0] * (last + 1 - first)
            if len(bands) > MAX_SCANS or (len(ids) == len(components) and code != _PROGRESSIVE):
                break
    except EOFError:
        return bands, False
    return bands, not any(any(coefficients) for coefficients in missing.values())


def decode(jpeg: Jpeg, scale: int) -> Image.Image:
    """Decode the pixels, at 1 / `scale` of the size: RGB, L, or CMYK as Pillow has it (255 is full ink).

    Any warning of libjpeg is an error, but for zeros before the end marker. Sampling factors that TurboJPEG
    has no name for (4:1:0, or CMYK with fewer pixels of some inks) are left to Pillow.

    Raises
    ------
    Exception
        If the JPEG is damaged or of a kind that is not read, simplejpeg's or Pillow's.
    """
    colours, mode, raw_mode = _COLOURS[jpeg.channels]
    size = (-(-jpeg.width // scale), -(-jpeg.height // scale))
    wanted = {"colorspace": colours, "min_width": size[0], "min_height": size[1]}
    try:
        pixels = simplejpeg.decode_jpeg(jpeg.data, **wanted)
    except ValueError as fault:
        if "subsampling" in str(fault):
            return _decode_with_pillow(jpeg, scale)
        padding = _PADDING.search(str(fault))
        if padding is None or not 0 <= _zeros_before_end(jpeg) - int(padding[1]) <= _LOOKAHEAD:
            raise  # more zeros than libjpeg skipped: they replace pixels
        pixels = simplejpeg.decode_jpeg(jpeg.data, **wanted, strict=False)
    if pixels.shape[1::-1] != size:
        raise ValueError("two sizes in one JPEG")
    return Image.frombuffer(mode, size, pixels, "raw", raw_mode, 0, 1)


def _decode_with_pillow(jpeg: Jpeg, scale: int) -> Image.Image:
    """Decode a single scan without restarts; refuse one that needs some 16 bytes more or fewer than it has.

    Pillow's decoder hides warnings, but where neither bytes nor a marker follow it asks for more.
    """
    end = _scan_end(jpeg)
    if end[1][0] != _END:
        raise ValueError("several scans or restarts, which cannot be checked")
    with suppress(OSError):
        _load(jpeg.data[: end.start() - _LOOKAHEAD], jpeg, scale)
        raise ValueError("a scan with more bytes than pixels")
    return _load(jpeg.data[: end.start()] + b"\xff\0" * _LOOKAHEAD, jpeg, scale)


def _zeros_before_end(jpeg: Jpeg) -> int:
    """Count the zeros between the last scan, or the last segment after it, and the end marker."""
    *_, (_, start, body) = _segments(jpeg.data, 2)
    rest = jpeg.data[start + 4 + len(body) :]
    end = _MARKER.search(rest)
    if end is None:
        raise EOFError
    return end.start() - len(rest[: end.start()].rstrip(b"\0"))


def _scan_end(jpeg: Jpeg) -> re.Match[bytes]:
    """Find the marker that ends the first scan or its first interval between restarts."""
    scan = next(start for marker, start, _ in _segments(jpeg.data, 2) if marker == _SCAN)
    end = _SCAN_END.search(jpeg.data, scan + 2)
    if end is None:
        raise EOFError
    return end


def _load(data: bytes, jpeg: Jpeg, scale: int) -> Image.Image:
    image = JpegImageFile(BytesIO(data))
    image.draft(None, (jpeg.width // scale, jpeg.height // scale))
    image.load()
    return image
