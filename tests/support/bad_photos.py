"""Photos, drawn in memory, that test a decoder: bad ones to reject, and odd ones to accept.

``bad_photos`` returns each with its expected reason, ``good_oddities`` those that must decode. The names are
file names, some with a wrong ending, as a person might give them.
"""

import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from job.photos.decode import DEFAULT_LIMITS, Limits, Rejected, decode

PNG_MARK: Final = b"\x89PNG\r\n\x1a\n"
ORIENTATION: Final = 0x0112
GPS: Final = 0x8825
SECRET: Final = "Ada's phone"
FRUIT: Final = (30, 20)  # row and column of a pixel in the middle of the drawn fruit


def drawn(width: int = 60, height: int = 48, mode: str = "RGB") -> Image.Image:
    """Draw a fruit that no turn or flip maps onto itself, on a background that fades between the corners."""
    background = np.full((height, width, 3), 90, np.uint8)
    background[..., 0] = np.linspace(200, 140, height)[:, None]
    background[..., 1] = np.linspace(150, 230, width)
    picture = Image.fromarray(background)
    brush = ImageDraw.Draw(picture)
    brush.ellipse((width * 0.2, height * 0.3, width * 0.7, height * 0.9), fill=(200, 40, 30))
    brush.rectangle((width * 0.45, height * 0.05, width * 0.5, height * 0.35), fill=(70, 50, 20))
    return picture.convert(mode)


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """Return a picture as the bytes of a file."""
    sink = io.BytesIO()
    picture.save(sink, kind, **options)
    return sink.getvalue()


def opened(data: bytes) -> Image.Image:
    """Return the picture in a file's bytes, as a notebook opens it."""
    return Image.open(io.BytesIO(data))


def resized(picture: Image.Image) -> NDArray[np.uint8]:
    """Return the pixels of the published notebooks: Pillow's default resize of the RGB picture."""
    return np.asarray(picture.convert("RGB").resize((224, 224)))


def rejection(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Rejected:
    """Decode a bad photo, and return its rejection."""
    with pytest.raises(Rejected) as caught:
        decode(data, limits)
    return caught.value


def chunk(name: bytes, body: bytes = b"") -> bytes:
    """Return a PNG chunk with its checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_header(width: int, height: int, depth: int, colour: int, interlaced: int = 0) -> bytes:
    """Return a PNG's mark and header; ``colour`` is 0 grey, 2 RGB, 3 palette, 4 grey + alpha, 6 RGBA."""
    return PNG_MARK + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))


def png(rows: NDArray[Any], colour: int, *before: bytes, stream: bytes | None = None) -> bytes:
    """Return a PNG of a kind that Pillow cannot write; ``stream`` replaces the compressed rows."""
    samples = rows.astype(rows.dtype.newbyteorder(">"))
    if stream is None:
        stream = zlib.compress(b"".join(b"\0" + row.tobytes() for row in samples))
    head = png_header(rows.shape[1], rows.shape[0], 8 * rows.dtype.itemsize, colour)
    return head + b"".join(before) + chunk(b"IDAT", stream) + chunk(b"IEND")


def interlaced_png(rows: NDArray[np.uint8]) -> bytes:
    """Return an RGB PNG in the seven passes of Adam7 (RFC 2083, section 2.6)."""
    passes = (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    )
    parts = (rows[y::down, x::right] for x, y, right, down in passes)
    raw = b"".join(b"\0" + row.tobytes() for part in parts for row in part)
    head = png_header(rows.shape[1], rows.shape[0], 8, 2, interlaced=1)
    return head + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND")


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """Return a WebP container of chunks, with its correct length."""
    body = b"WEBP" + b"".join(name + struct.pack("<I", len(data)) + data for name, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def without_segment(jpeg: bytes, marker: bytes) -> bytes:
    """Return a JPEG without one of its segments."""
    at = jpeg.index(marker)
    return jpeg[:at] + jpeg[at + 2 + int.from_bytes(jpeg[at + 2 : at + 4]) :]


def exif(orientation: int) -> Image.Exif:
    """Return the EXIF of a phone: an orientation, an owner, a place and a date."""
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    tags[0x010F] = SECRET
    tags[GPS] = {1: "N", 2: (48.0, 51.0, 24.0), 3: "E", 4: (2.0, 21.0, 3.0), 29: "2026:01:02"}
    return tags


def ycck(picture: Image.Image) -> bytes:
    """Return a YCCK JPEG, as Photoshop writes it: YCC through Pillow's CMYK writer, with another marker."""
    cmyk = np.asarray(picture.convert("CMYK"))
    luma = np.asarray(Image.fromarray(cmyk[..., :3]).convert("YCbCr"))
    inks = Image.frombytes("CMYK", picture.size, np.dstack([255 - luma, cmyk[..., 3]]).tobytes())
    jpeg = encoded(inks, "JPEG", quality=95, subsampling=0)
    at = jpeg.index(b"Adobe") + 11
    return jpeg[:at] + b"\x02" + jpeg[at + 1 :]


def _other_formats() -> Iterator[tuple[str, bytes]]:
    """Yield a file, or its beginning, of every known format that is not read, under a photo's name."""
    picture = drawn()
    for kind in ("TIFF", "EPS", "PDF", "GIF", "BMP", "ICO", "AVIF", "JPEG2000", "DDS", "QOI", "PPM", "ICNS"):
        yield f"{kind.lower()}.jpg", encoded(picture, kind)
    yield "bigtiff.jpg", encoded(picture, "TIFF", big_tiff=True)
    yield "eps_dos.jpg", b"\xc5\xd0\xd3\xc6" + bytes(26) + encoded(picture, "EPS")
    yield "j2k.jpg", encoded(picture, "JPEG2000", no_jp2=True)
    yield "tiff_big_endian.jpg", b"MM\0*\0\0\0\x08"
    yield "psd.jpg", b"8BPS\0\1" + bytes(20)
    yield "heic.jpg", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    yield "heif.jpg", b"\0\0\0\x14ftypmif1\0\0\0\0miaf"
    yield "jxl.jpg", b"\xff\x0a\xfa\x1f"
    yield "jxl_boxed.jpg", b"\0\0\0\x0cJXL \r\n\x87\n"
    yield "svg.png", b'<svg xmlns="http://www.w3.org/2000/svg"/>'
    yield "svg_with_prologue.png", b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- a > b -->\n<svg/>'
    yield "raw_canon.jpg", b"II*\0\x10\0\0\0CR\2\0"
    yield "raw_canon_new.jpg", b"\0\0\0\x18ftypcrx \0\0\0\1crx isom"
    yield "raw_fujifilm.jpg", b"FUJIFILMCCD-RAW 0201"


def bad_photos() -> dict[str, tuple[bytes, str]]:
    """Return the bytes and the expected reason of each bad photo, by file name."""
    picture = drawn()
    jpeg, whole_png = encoded(picture, "JPEG"), encoded(picture, "PNG")
    webp = encoded(picture, "WEBP")
    huffman = jpeg.index(b"\xff\xc4") + 5
    noise = np.random.default_rng(7).integers(0, 256, 400, np.uint8).tobytes()
    pixels = np.asarray(picture)
    few_rows = zlib.compress((b"\0" + bytes(180)) * 20)
    reasons: dict[str, Iterable[tuple[str, bytes]]] = {
        "empty": [("empty.jpg", b"")],
        "truncated": [
            ("cut.jpg", jpeg[: len(jpeg) // 2 + 200]),
            ("cut_before_end_marker.jpg", jpeg[:-2]),
            ("cut.png", whole_png[: len(whole_png) // 2]),
            ("cut.webp", webp[: len(webp) // 2]),
        ],
        "not_an_image": [
            ("text.jpg", b"BM, P1 and GIF are how some pictures begin.\n"),
            ("page.png", b"<!DOCTYPE html><html><body><svg></svg></body></html>"),
            ("zip.jpg", b"PK\3\4\x14" + bytes(40)),
            ("film.jpg", b"\0\0\0\x18ftypisom\0\0\2\0isommp42"),
            ("sound.webp", b"RIFF\x24\0\0\0WAVEfmt " + bytes(28)),
            ("noise.jpeg", noise),
            ("tga.jpg", encoded(picture, "TGA")),  # it begins like a cursor
        ],
        "format_not_allowed": _other_formats(),
        "too_large": [
            ("bomb.png", png_header(30_000, 30_000, 1, 0) + chunk(b"IDAT", zlib.compress(bytes(3751 * 300)))),
            (
                "bomb.jpg",
                jpeg.replace(b"\xff\xc0\0\x11\x08\0\x30\0\x3c", b"\xff\xc0\0\x11\x08\xff\xee\xff\xee"),
            ),
            ("bomb.webp", riff((b"VP8X", b"\2\0\0\0" + b"\xff" * 6), (b"ANIM", bytes(6)))),
            ("bomb_lossy.webp", riff((b"VP8 ", b"\x30\1\0\x9d\1\x2a" + struct.pack("<HH", 16383, 16383)))),
            ("bomb_lossless.webp", riff((b"VP8L", b"\x2f\xff\xff\xff\x0f" + bytes(9)))),
            ("ribbon.png", png_header(90_000_000, 1, 8, 0) + chunk(b"IDAT") + chunk(b"IEND")),
        ],
        "unreadable": [
            ("bad_huffman.jpg", jpeg[:huffman] + b"\xff" * 16 + jpeg[huffman + 16 :]),
            ("twelve_bits.jpg", jpeg.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c")),
            ("bad_checksum.png", whole_png[:-20] + bytes([whole_png[-20] ^ 1]) + whole_png[-19:]),
            ("bad_stream.png", png(pixels, 2, stream=noise)),
            ("rows_missing.png", png(pixels, 2, stream=few_rows)),
            ("no_palette.png", png(pixels[..., 0], 3)),
            ("no_pixels.png", png_header(9, 9, 8, 2) + chunk(b"IEND")),
            ("apple.png", PNG_MARK + chunk(b"CgBI", bytes(4)) + whole_png[8:]),
            ("apple_late.png", whole_png[:33] + chunk(b"CgBI", bytes(4)) + whole_png[33:]),
            ("two_headers.png", whole_png[:33] + png_header(9, 9, 8, 2)[8:] + whole_png[33:]),
            ("bad_frame.webp", webp[:23] + b"\0\0\0" + webp[26:]),
            ("bad_pixels.webp", riff((b"VP8L", b"\x2f" + struct.pack("<I", 59 | 47 << 14) + b"\xff" * 9))),
        ],
    }
    return {name: (data, reason) for reason, photos in reasons.items() for name, data in photos}


def good_oddities() -> dict[str, bytes]:
    """Return the bytes of each unusual photo that must decode, by file name."""
    picture = drawn()
    pixels = np.asarray(picture)
    grey = np.asarray(drawn(mode="L"))
    see_through = picture.copy()
    see_through.putalpha(drawn(mode="L"))
    palette = picture.quantize(16)
    sixteen = grey.astype(np.uint16) * 256 + np.arange(60, dtype=np.uint16) % 2 * 200
    turned = drawn(48, 60)
    cmyk = picture.convert("CMYK")
    inverted = Image.frombytes("CMYK", cmyk.size, (255 - np.asarray(cmyk)).tobytes())
    frames: dict[str, Any] = {"save_all": True, "append_images": [turned.resize((60, 48))], "duration": 40}
    bomb = PngInfo()
    bomb.add_text("Comment", "0" * 9_000_000, zip=True)
    bomb.add_text("transparency", "none")
    fruit = chunk(b"tRNS", struct.pack(">3H", *pixels[FRUIT].astype(np.uint16) * 256 + 99))
    transparent_grey = chunk(b"tRNS", b"\0\2") + chunk(b"IDAT", zlib.compress(b"\0\x1b\x1b" * 8))
    two_bits = png_header(8, 8, 2, 0) + transparent_grey + chunk(b"IEND")
    return {
        "1x1.png": encoded(drawn(1, 1), "PNG"),
        "one_row.jpg": encoded(drawn(300, 1), "JPEG"),
        "greyscale.jpg": encoded(drawn(mode="L"), "JPEG"),
        "progressive.jpg": encoded(picture, "JPEG", progressive=True),
        "cmyk.jpg": encoded(cmyk, "JPEG", quality=95),
        "cmyk_plain.jpg": without_segment(encoded(inverted, "JPEG", quality=95), b"\xff\xee"),
        "ycck.jpg": ycck(picture),
        "phone_pair.jpg": encoded(picture, "MPO", save_all=True, append_images=[turned]),
        "rotated_exif.jpg": encoded(turned, "JPEG", exif=exif(6)),
        "rotated_exif.png": encoded(turned, "PNG", exif=exif(8)),
        "rotated_exif.webp": encoded(turned, "WEBP", exif=exif(3)),
        "broken_exif.jpg": encoded(picture, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"),
        "large.jpg": encoded(drawn(3000, 2001), "JPEG"),
        "large_rotated.jpg": encoded(drawn(2001, 1501), "JPEG", exif=exif(6)),
        "one_bit.png": encoded(drawn(mode="1"), "PNG"),
        "grey_transparent.png": png(grey, 0, chunk(b"tRNS", struct.pack(">H", grey[FRUIT]))),
        "two_bits_transparent.png": two_bits,
        "palette.png": encoded(palette, "PNG"),
        "palette_transparent.png": encoded(palette, "PNG", transparency=bytes(range(0, 256, 16))),
        "palette_one_transparent.png": encoded(palette, "PNG", transparency=0),
        "la.png": encoded(see_through.convert("LA"), "PNG"),
        "rgba.png": encoded(see_through, "PNG"),
        "rgb_transparent.png": png(pixels, 2, chunk(b"tRNS", struct.pack(">3H", *pixels[FRUIT]))),
        "sixteen_bit.png": png(sixteen, 0),
        "sixteen_bit_transparent.png": png(sixteen, 0, chunk(b"tRNS", struct.pack(">H", sixteen[FRUIT]))),
        "sixteen_bit_rgb.png": png(pixels.astype(np.uint16) * 256 + 99, 2),
        "sixteen_bit_rgb_transparent.png": png(pixels.astype(np.uint16) * 256 + 99, 2, fruit),
        "sixteen_bit_rgba.png": png(np.asarray(see_through).astype(np.uint16) * 257, 6),
        "interlaced.png": interlaced_png(pixels),
        "text_bomb.png": encoded(picture, "PNG", pnginfo=bomb),
        "animated.png": encoded(picture, "PNG", **frames),
        "animated.webp": encoded(picture, "WEBP", lossless=True, **frames),
        "transparent.webp": encoded(see_through, "WEBP", lossless=True, exact=True),
        "webp_named.jpg": encoded(picture, "WEBP", lossless=True),
        "png_named.jpeg": encoded(picture, "PNG"),
    }
