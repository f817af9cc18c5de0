"""Photos drawn in memory that a decoder meets sooner or later: those to refuse, and odd ones to accept.

``bad_photos`` gives each with the reason to expect, ``good_oddities`` those that must decode. The names are
file names, and lie about the content where a person might: all can be laid in a folder for a whole run.
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
from tests.support.colour_profiles import DISPLAY_P3, in_display_p3, profile

PNG_MARK: Final = b"\x89PNG\r\n\x1a\n"
ORIENTATION: Final = 0x0112
GPS: Final = 0x8825
SECRET: Final = "Ada's phone"
FRUIT: Final = (30, 20)  # row and column of a pixel in the middle of the drawn fruit


def drawn(width: int = 60, height: int = 48, mode: str = "RGB") -> Image.Image:
    """Draw a fruit that no turn or flip maps onto itself, on a ground that fades from corner to corner."""
    ground = np.full((height, width, 3), 90, np.uint8)
    ground[..., 0] = np.linspace(200, 140, height)[:, None]
    ground[..., 1] = np.linspace(150, 230, width)
    picture = Image.fromarray(ground)
    brush = ImageDraw.Draw(picture)
    brush.ellipse((width * 0.2, height * 0.3, width * 0.7, height * 0.9), fill=(200, 40, 30))
    brush.rectangle((width * 0.45, height * 0.05, width * 0.5, height * 0.35), fill=(70, 50, 20))
    return picture.convert(mode)


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """Save a picture to bytes."""
    sink = io.BytesIO()
    picture.save(sink, kind, **options)
    return sink.getvalue()


def opened(data: bytes) -> Image.Image:
    """Open bytes as a notebook would."""
    return Image.open(io.BytesIO(data))


def resized(picture: Image.Image) -> NDArray[np.uint8]:
    """Compute what the published notebooks compute: Pillow's default resize of the RGB picture."""
    return np.asarray(picture.convert("RGB").resize((224, 224)))


def rejection(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Rejected:
    """Decode what must be refused, and return how."""
    with pytest.raises(Rejected) as caught:
        decode(data, limits)
    return caught.value


def grained(width: int = 160, height: int = 120) -> Image.Image:
    """Draw a fruit with grain, so that its JPEG has bytes of every value."""
    grain = np.random.default_rng(5).integers(-20, 20, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(drawn(width, height)) + grain, 0, 255).astype(np.uint8))


def segment(marker: int, body: bytes) -> bytes:
    """Build one segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def flat_jpeg(width: int, height: int, samplings: bytes, frame: int, *scans: tuple[bytes, bytes]) -> bytes:
    """Build a grey JPEG whose codes are all 0, of sampling factors that Pillow cannot write."""
    parts = b"".join(bytes([number, sampling, 0]) for number, sampling in enumerate(samplings, 1))
    jpeg = b"\xff\xd8" + segment(0xDB, b"\0" + b"\1" * 64)
    jpeg += segment(frame, struct.pack(">BHHB", 8, height, width, len(samplings)) + parts)
    jpeg += b"".join(segment(0xC4, bytes([table, 1]) + bytes(16)) for table in (0x00, 0x10))
    return jpeg + b"".join(segment(0xDA, head) + codes for head, codes in scans) + b"\xff\xd9"


def progressive_bomb(width: int, height: int, scans: int) -> bytes:
    """Build a whole grey JPEG whose AC refinements of next to no bytes each visit every block."""
    blocks = -(-width // 8) * -(-height // 8)
    runs, rest = divmod(blocks, 0x4000)  # an end-of-band run of 16,384 blocks is a code bit and 14 zeros
    bits = ("0" + "0" * 14) * (runs + (rest > 0))
    bits += "1" * (-len(bits) % 8)
    band = int(bits, 2).to_bytes(len(bits) // 8).replace(b"\xff", b"\xff\0")
    jpeg = b"\xff\xd8" + segment(0xDB, b"\0" + b"\1" * 64)
    jpeg += segment(0xC2, struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0")
    jpeg += segment(0xC4, b"\0\1" + bytes(15) + b"\0") + segment(0xC4, b"\x10\1" + bytes(15) + b"\xe0")
    jpeg += segment(0xDA, b"\1\1\0\0\0\0") + bytes(-(-blocks // 8))
    jpeg += segment(0xDA, b"\1\1\0\1\x3f\1") + band
    return jpeg + (segment(0xDA, b"\1\1\0\1\x3f\x10") + band) * scans + b"\xff\xd9"


def ended_early(jpeg: bytes, kept: int | None = None) -> bytes:
    """Cut a JPEG in the middle of its scan, or after some bytes of it, and put an end marker there."""
    scan = jpeg.index(b"\xff\xda") + 14
    return jpeg[: (scan + len(jpeg)) // 2 if kept is None else scan + kept] + b"\xff\xd9"


def chunk(name: bytes, body: bytes = b"") -> bytes:
    """Build one PNG chunk with its checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def damaged(data: bytes, chunk_name: bytes) -> bytes:
    """Change a bit of the checksum of a PNG's chunk."""
    name = data.index(chunk_name)
    end = name + 8 + int.from_bytes(data[name - 4 : name])
    return data[: end - 1] + bytes([data[end - 1] ^ 1]) + data[end:]


def png_header(width: int, height: int, depth: int, colour: int, interlaced: int = 0) -> bytes:
    """Build a PNG's mark and header chunk; ``colour`` is 0 grey, 2 RGB, 3 palette, 4 grey + alpha, 6 RGBA."""
    return PNG_MARK + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))


def png(rows: NDArray[Any], colour: int, *before: bytes, stream: bytes | None = None) -> bytes:
    """Build a PNG from rows of samples, for what Pillow does not write; ``stream`` replaces the pixels."""
    samples = rows.astype(rows.dtype.newbyteorder(">"))
    if stream is None:
        stream = zlib.compress(b"".join(b"\0" + row.tobytes() for row in samples))
    head = png_header(rows.shape[1], rows.shape[0], 8 * rows.dtype.itemsize, colour)
    return head + b"".join(before) + chunk(b"IDAT", stream) + chunk(b"IEND")


def interlaced_png(rows: NDArray[np.uint8]) -> bytes:
    """Build an RGB PNG in the seven passes of Adam7 (RFC 2083, section 2.6)."""
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
    """Build a WebP container from chunks, its length right."""
    body = b"WEBP" + b"".join(name + struct.pack("<I", len(data)) + data for name, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def without_segment(jpeg: bytes, marker: bytes) -> bytes:
    """Cut one segment out of a JPEG."""
    at = jpeg.index(marker)
    return jpeg[:at] + jpeg[at + 2 + int.from_bytes(jpeg[at + 2 : at + 4]) :]


def exif(orientation: int) -> Image.Exif:
    """Build the EXIF of a phone: an orientation, an owner, a place and a time."""
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    tags[0x010F] = SECRET
    tags[GPS] = {1: "N", 2: (48.0, 51.0, 24.0), 3: "E", 4: (2.0, 21.0, 3.0), 29: "2026:01:02"}
    return tags


def exif_as_long(orientation: int) -> bytes:
    """Build EXIF whose orientation is a LONG, as some programs write it."""
    return struct.pack(">6s4sIHHHIII", b"Exif\0\0", b"MM\0*", 8, 1, ORIENTATION, 4, 1, orientation, 0)


def xmp(orientation: int) -> bytes:
    """Build XMP with an orientation."""
    return f'<x:xmpmeta><rdf:Description tiff:Orientation="{orientation}"/></x:xmpmeta>'.encode()


def ycck(picture: Image.Image) -> bytes:
    """Encode as YCCK, like Photoshop. Pillow cannot: its CMYK writer gets YCC, and the marker is changed."""
    cmyk = np.asarray(picture.convert("CMYK"))
    luma = np.asarray(Image.fromarray(cmyk[..., :3]).convert("YCbCr"))
    inks = Image.frombytes("CMYK", picture.size, np.dstack([255 - luma, cmyk[..., 3]]).tobytes())
    jpeg = encoded(inks, "JPEG", quality=95, subsampling=0)
    at = jpeg.index(b"Adobe") + 11
    return jpeg[:at] + b"\x02" + jpeg[at + 1 :]


def _other_formats() -> Iterator[tuple[str, bytes]]:
    """Draw, or only begin, a file in every format that is known and not read, under a photo's name."""
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


def _damaged_jpegs() -> dict[str, list[tuple[str, bytes]]]:
    """Build JPEGs with a gap in their scans, or more of them than a photo needs, by the reason to expect."""
    grainy = encoded(grained(), "JPEG")
    middle = len(grainy) // 2
    progressive = encoded(grained(), "JPEG", progressive=True)
    inks = encoded(grained().convert("CMYK"), "JPEG", progressive=True, subsampling="4:2:0")
    second_scan = progressive.index(b"\xff\xc4", progressive.index(b"\xff\xda"))
    return {
        "truncated": [
            ("half_then_end.jpg", ended_early(grainy)),
            ("two_bytes_then_end.jpg", ended_early(grainy, 2)),
            (
                "half_then_end_with_restarts.jpg",
                ended_early(encoded(grained(), "JPEG", restart_marker_rows=1)),
            ),
            ("hole_of_zeros.jpg", grainy[:middle] + bytes(1000) + grainy[middle + 1000 :]),
            ("first_scan_then_end.jpg", progressive[:second_scan] + b"\xff\xd9"),
            ("last_scan_missing.jpg", progressive[: progressive.rindex(b"\xff\xc4")] + b"\xff\xd9"),
            (
                "four_one_zero_cut.jpg",
                flat_jpeg(64, 32, b"\x42\x11\x11", 0xC0, (b"\3\1\0\2\0\3\0\0\x3f\0", bytes(5))),
            ),
            ("last_scan_cut.jpg", progressive[:-60] + b"\xff\xd9"),
        ],
        "too_large": [
            ("bomb_of_scans.jpg", progressive_bomb(7000, 7000, 20)),
            ("bomb_of_many_scans.jpg", progressive_bomb(64, 64, 500)),
        ],
        "unreadable": [
            ("line_ends_converted.jpg", grainy.replace(b"\n", b"\r\n")),
            ("more_than_the_pixels.jpg", grainy[:-2] + grainy[-20:]),
            ("inks_with_a_hole.jpg", inks[: len(inks) // 2] + bytes(200) + inks[len(inks) // 2 + 200 :]),
            ("inks_with_a_gap.jpg", inks[: len(inks) // 2] + inks[len(inks) // 2 + 200 :]),
            ("half_then_zeros.jpg", grainy[:middle] + bytes(100_000) + b"\xff\xd9"),
            ("bomb_of_segments.jpg", grainy[:2] + b"\xff\xe0\0\2" * 10_000 + grainy[2:]),
            ("arithmetic_cut.jpg", flat_jpeg(64, 64, b"\x11", 0xC9, (b"\1\1\0\0\x3f\0", bytes(3)))),
        ],
    }


def bad_photos() -> dict[str, tuple[bytes, str]]:
    """Build the photos to refuse: a file name, its bytes, and the reason to expect."""
    picture = drawn()
    jpeg, whole_png = encoded(picture, "JPEG"), encoded(picture, "PNG")
    webp = encoded(picture, "WEBP")
    huffman = jpeg.index(b"\xff\xc4") + 5
    noise = np.random.default_rng(7).integers(0, 256, 400, np.uint8).tobytes()
    pixels = np.asarray(picture)
    palette = picture.quantize(16)
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
            ("bad_checksum_of_transparency.png", damaged(encoded(palette, "PNG", transparency=0), b"tRNS")),
            ("bad_checksum_of_a_name.png", whole_png[:33] + damaged(chunk(b"t\0Xt"), b"t") + whole_png[33:]),
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
    damaged_jpegs = _damaged_jpegs()
    found = [(name, data, reason) for reason in reasons for name, data in reasons[reason]]
    found += [(name, data, reason) for reason in damaged_jpegs for name, data in damaged_jpegs[reason]]
    return {name: (data, reason) for name, data, reason in found}


def _odd_jpegs() -> dict[str, bytes]:
    """Build whole JPEGs with foreign bytes, odd headers, or sampling that Pillow writes rarely or never."""
    picture = drawn()
    jpeg = encoded(picture, "JPEG")
    tables = jpeg.index(b"\xff\xdb")
    restarts = encoded(picture, "JPEG", restart_marker_blocks=3)
    cmyk, progressive = picture.convert("CMYK"), encoded(picture, "JPEG", progressive=True)
    inks = ycck(picture)
    at = inks.index(b"Adobe") + 11
    return {
        "bytes_between_segments.jpg": jpeg[:tables] + b"eleven more" + jpeg[tables:],
        "stuffed_bytes_between_segments.jpg": jpeg[:tables] + b"\xff\0\xff\0\xff" + jpeg[tables:],
        "bytes_after_the_end.jpg": jpeg + b"\xff\xd8\xff\xda" * 99,
        "padded_scan.jpg": jpeg[:-2] + bytes(64) + jpeg[-2:],
        "padded_scan_with_restarts.jpg": restarts[:-2] + bytes(8) + restarts[-2:],
        "padded_progressive.jpg": progressive[:-2] + bytes(16) + progressive[-2:],
        "padded_comment.jpg": jpeg[:-2] + segment(0xFE, b"ripe") + bytes(9) + jpeg[-2:],
        "jfif_2.jpg": jpeg.replace(b"JFIF\0\1", b"JFIF\0\2"),
        "unknown_transform.jpg": jpeg[:2] + segment(0xEE, b"Adobe\0\x64\0\0\0\0\3") + jpeg[20:],
        "unknown_transform_of_inks.jpg": inks[:at] + b"\1" + inks[at + 1 :],
        "no_band.jpg": jpeg.replace(b"\3\x11\0\x3f\0", b"\3\x11\0\0\0"),  # Samsung's cameras write it
        "no_band_in_three_scans.jpg": flat_jpeg(
            64, 32, b"\x11" * 3, 0xC0, *((bytes([1, number, 0, 0, 0, 0]), bytes(8)) for number in (1, 2, 3))
        ),
        "four_one_zero.jpg": flat_jpeg(64, 32, b"\x42\x11\x11", 0xC0, (b"\3\1\0\2\0\3\0\0\x3f\0", bytes(10))),
        "cmyk_progressive.jpg": encoded(cmyk, "JPEG", progressive=True, restart_marker_blocks=3),
        "cmyk_half_the_width.jpg": encoded(cmyk, "JPEG", subsampling="4:2:2"),
        "cmyk_quarter.jpg": encoded(cmyk, "JPEG", subsampling="4:2:0"),
    }


def _odd_metadata() -> dict[str, bytes]:
    """Build photos with colour profiles, whole and damaged, and with orientations where few programs look."""
    picture, turned = drawn(), drawn(48, 60)
    pixels = np.asarray(picture)
    unturned = Image.Exif()
    unturned[0x010F] = SECRET
    second = segment(0xE1, exif(6).tobytes())
    described = PngInfo()
    described.add_itxt("XML:com.adobe.xmp", xmp(6).decode())
    p3, wide = profile("Display P3", DISPLAY_P3), in_display_p3(picture)
    return {
        "wide_colours.jpg": encoded(wide, "JPEG", icc_profile=p3, quality=95, subsampling=0),
        "wide_colours.png": encoded(wide, "PNG", icc_profile=p3),
        "wide_colours.webp": encoded(wide, "WEBP", icc_profile=p3, lossless=True),
        "damaged_profile.jpg": encoded(picture, "JPEG", icc_profile=p3[:200]),
        "damaged_profile_colours.jpg": encoded(picture, "JPEG", icc_profile=p3.replace(b"RGB ", b"RG\xff ")),
        "damaged_profile.png": png(pixels, 2, chunk(b"iCCP", b"P3\0\0" + zlib.compress(p3)[:-9])),
        "profile_bomb.png": png(pixels, 2, chunk(b"iCCP", b"P3\0\0" + zlib.compress(p3 + bytes(2**23)))),
        "damaged_profile.webp": encoded(picture, "WEBP", icc_profile=b"acsp" * 99, lossless=True),
        "rotated_long.jpg": encoded(turned, "JPEG", exif=exif_as_long(6)),
        "rotated_second_exif.jpg": encoded(turned, "JPEG", exif=unturned, extra=second),
        "rotated_xmp.jpg": encoded(turned, "JPEG", xmp=xmp(6)),
        "rotated_xmp.webp": encoded(turned, "WEBP", xmp=xmp(6), lossless=True),
        "rotated_xmp.png": encoded(turned, "PNG", pnginfo=described),
    }


def good_oddities() -> dict[str, bytes]:
    """Build the photos that are unusual and fine: a file name and its bytes."""
    picture = drawn()
    pixels = np.asarray(picture)
    grey = np.asarray(drawn(mode="L"))
    see_through = picture.copy()
    see_through.putalpha(drawn(mode="L"))
    palette = picture.quantize(16)
    sixteen = grey.astype(np.uint16) * 256 + np.arange(60, dtype=np.uint16) % 2 * 200
    turned = drawn(48, 60)
    cmyk = picture.convert("CMYK")
    frames: dict[str, Any] = {"save_all": True, "append_images": [turned.resize((60, 48))], "duration": 40}
    bomb, comment = PngInfo(), PngInfo()
    comment.add_text("Comment", "ripe")
    bomb.add_text("Comment", "0" * 9_000_000, zip=True)
    bomb.add_text("transparency", "none")
    fruit = chunk(b"tRNS", struct.pack(">3H", *pixels[FRUIT].astype(np.uint16) * 256 + 99))
    third = chunk(b"tRNS", b"\0\2") + chunk(b"IDAT", zlib.compress(b"\0\x1b\x1b" * 8))
    two_bits = png_header(8, 8, 2, 0) + third + chunk(b"IEND")
    return {
        **_odd_jpegs(),
        **_odd_metadata(),
        "1x1.png": encoded(drawn(1, 1), "PNG"),
        "one_row.jpg": encoded(drawn(300, 1), "JPEG"),
        "greyscale.jpg": encoded(drawn(mode="L"), "JPEG"),
        "progressive.jpg": encoded(picture, "JPEG", progressive=True),
        "cmyk.jpg": encoded(cmyk, "JPEG", quality=95),
        "cmyk_plain.jpg": without_segment(encoded(cmyk, "JPEG", quality=95), b"\xff\xee"),
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
        "bad_checksum_of_a_comment.png": damaged(encoded(picture, "PNG", pnginfo=comment), b"tEXt"),
        "text_bomb.png": encoded(picture, "PNG", pnginfo=bomb),
        "animated.png": encoded(picture, "PNG", **frames),
        "animated.webp": encoded(picture, "WEBP", lossless=True, **frames),
        "transparent.webp": encoded(see_through, "WEBP", lossless=True, exact=True),
        "webp_named.jpg": encoded(picture, "WEBP", lossless=True),
        "png_named.jpeg": encoded(picture, "PNG"),
    }
