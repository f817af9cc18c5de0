"""Tells a photo's format, declared size, wholeness and orientation from its bytes.

``decode`` calls it before an image library sees the bytes. File names are not used, nothing is decompressed,
and no header decides how much memory is allocated.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

Format = Literal["JPEG", "PNG", "WebP"]

# First bytes of picture and document formats that are not read, each from its specification. Most camera raws
# are TIFF inside, the others have their own mark; TGA has none, so it counts as no picture.
_OTHERS: Final[dict[str, tuple[bytes, ...]]] = {
    "a Canon CR2 camera raw": (b"II*\0\x10\0\0\0CR",),
    "TIFF or a camera raw made of it": (b"II*\0", b"MM\0*"),
    "BigTIFF": (b"II+\0", b"MM\0+"),
    "an Olympus camera raw": (b"IIRO", b"IIRS", b"MMOR"),
    "a Panasonic camera raw": (b"IIU\0",),
    "a Canon CRW camera raw": (b"II\x1a\0\0\0HEAPCCDR",),
    "a Fujifilm camera raw": (b"FUJIFILMCCD-RAW",),
    "a Sigma camera raw": (b"FOVb",),
    "a Minolta camera raw": (b"\0MRM",),
    "JPEG XR": (b"II\xbc\x01",),
    "PostScript or EPS": (b"%!PS",),
    "EPS": (b"\xc5\xd0\xd3\xc6",),
    "PDF": (b"%PDF-",),
    "Photoshop (PSD)": (b"8BPS",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "JPEG 2000": (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"),
    "JPEG XL": (b"\0\0\0\x0cJXL \r\n\x87\n", b"\xff\x0a"),
    "DDS": (b"DDS ",),
    "QOI": (b"qoif",),
    "an Apple icon": (b"icns",),
    "OpenEXR": (b"v/1\x01",),
    "Radiance HDR": (b"#?RADIANCE",),
    "GIMP (XCF)": (b"gimp xcf ",),
    "MNG": (b"\x8aMNG\r\n\x1a\n",),
    "BPG": (b"BPG\xfb",),
    "DjVu": (b"AT&TFORM",),
}
_OTHERS_BY_PATTERN: Final = {  # two bytes alone would match too many other files
    "BMP": re.compile(rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL),
    "a Windows icon or cursor": re.compile(rb"\0\0[\1\2]\0(?!\0\0)..", re.DOTALL),
    "PNM": re.compile(rb"P(?:[1-6Ff]\s+[#\d-]|7\n)"),
}
_FIRST_ELEMENT: Final = re.compile(rb"<([A-Za-z][\w.:-]*)")
_OTHERS_BY_BRAND: Final = {  # still pictures in an ISO base media file, not films
    "a Canon CR3 camera raw": {b"crx "},
    "AVIF": {b"avif", b"avis"},
    "HEIC or HEIF": set(b"heic heix heim heis hevc hevx hevm hevs mif1 msf1".split()),
}

_XMP_ORIENTATION: Final = re.compile(rb"""tiff:Orientation\s*(?:=\s*["']|>)\s*([1-8])\s*["'<]""")
MAX_PROFILE: Final = 2**22  # bytes; a printer's has up to 2 MB

_PNG_MARK: Final = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS: Final = {b"IHDR", b"PLTE", b"tRNS", b"eXIf"}  # and IDAT: the chunks that decide how it looks
_MAX_CHUNKS: Final = 100_000  # encoders fill 8 KB or more: 64 MB are 8,000
_PNG_STANDARD: Final = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}  # of the critical chunks
_PNG_XMP: Final = b"XML:com.adobe.xmp\0\0"  # the keyword, and that the text is not compressed
_EXIF_MARK: Final = b"Exif\0\0"
# TIFF field types: SHORT, as EXIF wants the orientation (2.32, table 4), and LONG, as some programs write it.
_INTEGERS: Final = {3: "H", 4: "I"}


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is read beside pixels: EXIF and XMP for the orientation alone, and the colour profile."""

    exif: list[bytes]
    xmp: bytes = b""
    profile: bytes = b""


def photo_format(data: bytes) -> Format | None:
    """Return the content's format (JPEG, PNG or WebP), or None if another."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(_PNG_MARK):
        return "PNG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WebP"
    return None


def other_format(data: bytes) -> str | None:
    """Return the name, for people, of a known format that is not read, or None."""
    for name, marks in _OTHERS.items():
        if data.startswith(marks):
            return name
    for name, pattern in _OTHERS_BY_PATTERN.items():
        if pattern.match(data):
            return name
    if data[4:8] == b"ftyp":
        brands = {data[start : start + 4] for start in range(8, min(len(data), 64), 4)}
        return next((name for name, marks in _OTHERS_BY_BRAND.items() if brands & marks), None)
    head = data[:4096].removeprefix(b"\xef\xbb\xbf").lstrip()
    element = _FIRST_ELEMENT.search(head) if head.startswith(b"<") else None
    return "SVG" if element and element[1].split(b":")[-1] == b"svg" else None


def declared_size(kind: Format, data: bytes) -> tuple[int, int] | None:
    """Return the size in the first chunk of a PNG or a WebP (RFC 2083, 4.1.1; RFC 9649, 2.5 to 2.7).

    It is (width, height) in pixels, or None if the first chunk has no such header. It is always None for a
    JPEG, whose size comes after its metadata.
    """
    chunk = data[12:16]
    if kind == "PNG" and chunk == b"IHDR" and len(data) >= 24:
        return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    if chunk == b"VP8X" and len(data) >= 30:
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if chunk == b"VP8 " and len(data) >= 30 and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if chunk == b"VP8L" and len(data) >= 25 and data[20] == 0x2F:
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return None


def stripped_png(data: bytes) -> tuple[bytes, Metadata]:
    """Check that a PNG is whole, and return it with only the chunks that its pixels need, and its metadata.

    Text, colour profiles and animation frames are left out: they can be decompression bombs, and a text
    chunk's keyword can overwrite Pillow's own ``info``. All image data becomes one chunk, without the last
    byte of the checksum that ends its zlib stream: Pillow accepts a stream that ends before the last row, but
    refuses one that stops without an end. The checksums of the chunks that are needed are compared here.

    Raises
    ------
    EOFError
        If the bytes end before the IEND chunk does, even where every row is present.
    ValueError
        If a checksum is wrong, or chunks are missing, misplaced or unknown; the message is one clause.
    """
    view = memoryview(data)
    parts: list[bytes | memoryview] = [view[:8]]
    image_data: list[memoryview] = []
    xmp, profile = b"", view[:0]
    for name, start, end in _png_chunks(data):
        if name == b"IDAT":
            image_data.append(view[start + 8 : end - 4])
        elif name in _PNG_PIXELS:
            parts.append(view[start:end])
        elif name == b"iCCP":
            profile = view[start + 8 : end - 4]
        elif name == b"iTXt" and data.startswith(_PNG_XMP, start + 8):
            xmp = data[start + 8 : end - 4]
    stream = memoryview(b"".join(image_data))[:-1]
    checksum = zlib.crc32(stream, zlib.crc32(b"IDAT"))
    parts += [struct.pack(">I4s", len(stream), b"IDAT"), stream, struct.pack(">I", checksum)]
    parts.append(b"\0\0\0\0IEND\xaeB`\x82")
    return b"".join(parts), Metadata([], xmp, _inflated(bytes(profile)))


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name, start and end of each chunk up to IEND, and check what their order and names say."""
    view = memoryview(data)
    start, name = 8, b""
    for _ in range(_MAX_CHUNKS):
        if len(data) < start + 8:
            raise EOFError
        length, name = struct.unpack_from(">I4s", data, start)
        end = start + 12 + length
        if len(data) < end:
            raise EOFError
        is_critical = not name[0] & 0x20  # bit 5 clear: a chunk that readers must understand
        is_needed = is_critical or name in _PNG_PIXELS or not name.isalpha()
        if is_needed and zlib.crc32(view[start + 4 : end - 4]) != int.from_bytes(view[end - 4 : end]):
            raise ValueError("a checksum of the PNG does not match its data")
        if (name == b"IHDR") != (start == 8):
            raise ValueError("the PNG's header chunk is not its first and only one")
        if is_critical and name not in _PNG_STANDARD:
            raise ValueError("the PNG needs a chunk that is not in the standard")
        yield name, start, end
        if name == b"IEND":
            return
        start = end
    raise ValueError(f"the PNG has more than {_MAX_CHUNKS} chunks")


def _inflated(body: bytes) -> bytes:
    """Return the profile in the body of an iCCP chunk, or nothing if it is damaged or too large."""
    stream = zlib.decompressobj()
    try:
        profile = stream.decompress(body[body.find(b"\0") + 2 :], MAX_PROFILE)
    except zlib.error:
        return b""
    return profile if stream.eof else b""


def eight_bit_colour(colour: int | tuple[int, ...], depth: int) -> int | tuple[int, ...]:
    """Return a PNG's transparent grey or RGB in 8 bits a channel; Pillow converts the pixels only."""
    if isinstance(colour, int):
        return colour * 255 // ((1 << depth) - 1)
    return tuple(channel >> depth - 8 for channel in colour)


def orientation(metadata: Metadata) -> int:
    """Return the orientation in the first EXIF block that has one, else in the XMP, else 1, upright.

    It is 1 to 8 (EXIF 2.32, tag 0x0112); nothing else of EXIF and XMP is read.
    """
    of_blocks = (value for block in metadata.exif if (value := _exif_orientation(block)) is not None)
    in_xmp = _XMP_ORIENTATION.search(metadata.xmp)
    return next(of_blocks, int(in_xmp[1]) if in_xmp else 1)


def _exif_orientation(exif: bytes) -> int | None:
    """Return the orientation in an EXIF block, or None if it has no valid one."""
    tiff = exif.removeprefix(_EXIF_MARK).removeprefix(_EXIF_MARK)  # some phones write the mark twice
    byte_order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if byte_order is None:
        return None
    try:
        (directory,) = struct.unpack_from(byte_order + "I", tiff, 4)
        (entries,) = struct.unpack_from(byte_order + "H", tiff, directory)
        for entry in range(entries):
            position = directory + 2 + 12 * entry
            tag, kind, count = struct.unpack_from(byte_order + "HHI", tiff, position)
            if tag == 0x0112 and kind in _INTEGERS and count == 1:
                (value,) = struct.unpack_from(byte_order + _INTEGERS[kind], tiff, position + 8)
                return value if 1 <= value <= 8 else None
    except struct.error:  # the block ends early, or an offset points outside it
        pass
    return None
