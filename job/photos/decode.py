"""From the bytes of one photo to 224 x 224 RGB pixels, or to a reason to refuse them.

It takes the bytes from ``fetch`` and gives the pixels to the backbone. Its functions are pure and safe in
threads. ``formats`` tells the format first, so that only the reader of that format sees the bytes: ``jpeg``,
or Pillow's for PNG and WebP.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from job.photos import formats, jpeg

DECODE_VERSION: Final = 2  # goes up when the pixels of any photo would change
SIDE: Final = 224
Reason = Literal[
    "empty",
    "truncated",
    "not_an_image",
    "format_not_allowed",
    "too_large",
    "unreadable",
    "gone",  # raised by fetch: the photo was listed and is no longer there
]

# The longest side that a JPEG header can declare. A PNG can declare a row of 2^31 pixels, and resizing it
# would take 32 bytes of filter weights for each.
MAX_SIDE: Final = 65_535

# A JPEG is decoded at 1/2, 1/4 or 1/8 of its size as long as each side keeps three times the pixels of the
# result. Measured against full decoding (quality 90; 4000 x 3000 and 3001 x 2003): mosaics of the real photos
# differ by 0.1 to 0.4 of 255 on average and by 13 at most, thin coloured lines by 1.3 and 15; 12 megapixels
# take 50 to 90 ms of CPU, not 260 to 340. With twice the pixels the mosaics differ by up to 0.8 and 22, with
# once by 4.1 and 43. `reducing_gap` would save nothing more; without the box in `decode` they differ by 6.9
# and 68.
_DRAFT_FACTOR: Final = 3

# Each scan of a JPEG may visit every block, whatever its bytes. A photo has up to 15 scans. The largest may
# have 20 here, and one of 2 megapixels 500, where ``jpeg`` stops to count.
_MAX_SCANNED_PIXELS: Final = 1_000_000_000

# libjpeg's warnings where a scan or the end marker is missing, and Pillow's error.
_EARLY_END: Final = re.compile("[Pp]remature end of (?:data segment|JPEG file)|is truncated")

_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest file in bytes, and the largest declared size in pixels, that is decoded."""

    max_bytes: int = 64 * 2**20
    max_pixels: int = 50_000_000  # a WebP, the worst case, takes 0.75 GB to decode


DEFAULT_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """A decoded photo: the pixels for the network, and the size of the upright original in pixels.

    ``pixels`` is (224, 224, 3) uint8 RGB, C-contiguous and read-only.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int


class Rejected(Exception):  # noqa: N818 - an outcome that is recorded, not an error of the program
    """A refused photo: the :data:`Reason`, and one clause for the user."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)  # pickling needs both
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


# RGB pixels, the box to resize from if they are of reduced size, and the whole size in pixels.
_Box = tuple[float, float, float, float]
_Decoded = tuple[Image.Image, _Box | None, tuple[int, int], formats.Metadata]

_READERS: Final[dict[formats.Format, Callable[[BytesIO], ImageFile.ImageFile]]] = {
    "PNG": PngImageFile,
    "WebP": WebPImageFile,
}


def decode(data: bytes, limits: Limits = DEFAULT_LIMITS, side: int = SIDE) -> Photo:
    """Decode one photo, turn it upright, put it on white and resize it as ``resize((side, side))`` does.

    The format is told by the content, and limits are checked before any pixel is decoded. Animations and MPO
    files give their first picture. A JPEG without its end marker or with a gap in its scans, a PNG without
    IEND and a WebP shorter than it declares are refused. CMYK is taken as inverted, as Adobe stores it and
    browsers and Pillow show it, with or without Adobe's marker.

    The orientation is that of the first EXIF block that has one, as SHORT or LONG, else that of the XMP: what
    wrote it there meant it, and Pillow turns by it. An RGB colour profile that is not sRGB is applied to the
    resized pixels; they differ by 0.1 of 255 on average from those converted before, while a fruit in Display
    P3 changes by 3. Damaged profiles, those of grey and CMYK, gAMA, cHRM and cICP are ignored.

    Raises
    ------
    Rejected
        The only exception, whatever the bytes are.
    """
    if not data:
        raise Rejected("empty", "the file holds no bytes")
    if len(data) > limits.max_bytes:
        raise Rejected("too_large", f"{len(data)} bytes, over the limit of {limits.max_bytes}")
    kind = formats.photo_format(data)
    if kind is None:
        name = formats.other_format(data)
        if name is None:
            raise Rejected("not_an_image", "the content is not that of a known picture format")
        raise Rejected("format_not_allowed", f"the content is {name}; only JPEG, PNG and WebP are read")
    with _refusals(kind):
        if kind == "JPEG":
            rgb, box, (width, height), metadata = _decode_jpeg(data, limits, side)
        else:
            rgb, box, (width, height), metadata = _decode_with_pillow(kind, data, limits)
        orientation = formats.orientation(metadata)
        square = _upright_square(rgb, _UPRIGHT.get(orientation), box, side)
        with suppress(Exception):  # whatever a damaged profile raises, it is ignored
            to_srgb = _to_srgb(metadata.profile)
            if to_srgb is not None:
                square = to_srgb.apply(square)
    if orientation >= 5:  # a quarter turn
        width, height = height, width
    return Photo(np.asarray(square), width, height)


def _decode_jpeg(data: bytes, limits: Limits, side: int) -> _Decoded:
    """Decode a JPEG, at reduced size if it is large."""
    header = jpeg.read(data)
    width, height = size = header.width, header.height
    _check_size(size, limits)
    if header.scans > jpeg.MAX_SCANS or header.scans * width * height > _MAX_SCANNED_PIXELS:
        raise Rejected("too_large", f"{width} x {height} pixels in more scans than a photo needs")
    if not header.is_complete:
        raise Rejected("truncated", "the JPEG ends before its last scan")
    scale = next(scale for scale in (8, 4, 2, 1) if scale == 1 or min(size) >= scale * _DRAFT_FACTOR * side)
    image = jpeg.decode(header, scale)
    box = (0, 0, width / scale, height / scale) if scale > 1 else None
    return _rgb_on_white(image), box, size, header.metadata


def _decode_with_pillow(kind: formats.Format, data: bytes, limits: Limits) -> _Decoded:
    """Decode a PNG or a WebP, and refuse it before memory beyond the limits is allocated."""
    metadata = formats.Metadata([])
    size = formats.declared_size(kind, data)
    if size is not None:
        _check_size(size, limits)
    if kind == "PNG":
        try:
            data, metadata = formats.stripped_png(data)
        except EOFError:
            raise Rejected("truncated", "the PNG ends before its IEND chunk") from None
        except ValueError as fault:
            raise Rejected("unreadable", str(fault)) from None
    elif kind == "WebP":
        if len(data) < 8 + int.from_bytes(data[4:8], "little"):
            raise Rejected("truncated", "the WebP holds fewer bytes than its header declares")
        if size is None:  # Pillow allocates the canvas at once, so the size must be known
            raise Rejected("unreadable", "the WebP does not begin with an image header")
    image = _READERS[kind](BytesIO(data))
    _check_size(image.size, limits)
    if kind == "PNG" and image.mode in ("L", "RGB") and "transparency" in image.info:
        image.info["transparency"] = formats.eight_bit_colour(image.info["transparency"], depth=data[24])
    rgb = _rgb_on_white(image)
    read = image.info.get  # after the pixels: a PNG's EXIF may be behind them
    xmp, profile = read("xmp", metadata.xmp), read("icc_profile", metadata.profile)
    return rgb, None, image.size, formats.Metadata([read("exif", b"")], xmp, profile)


def _check_size(size: tuple[int, int], limits: Limits) -> None:
    """Refuse a photo with too many pixels, or with a side longer than a JPEG's can be."""
    width, height = size
    if width * height > limits.max_pixels:
        raise Rejected("too_large", f"{width} x {height} pixels, over the limit of {limits.max_pixels}")
    if max(size) > MAX_SIDE:
        raise Rejected("too_large", f"{width} x {height} pixels, a side over the limit of {MAX_SIDE}")


@contextmanager
def _refusals(kind: formats.Format) -> Iterator[None]:
    """Turn any exception of a decoder into :class:`Rejected`; few of those that they raise are documented."""
    try:
        yield
    except Rejected:
        raise
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise Rejected("too_large", f"over the {limit} pixels that Pillow decodes of a {kind}") from error
    except Exception as error:  # the message may quote the file or a memory address, so it is left out
        if isinstance(error, MemoryError):
            raise Rejected("too_large", f"decoding this {kind} takes more memory than it may") from error
        if kind == "JPEG" and (isinstance(error, EOFError) or _EARLY_END.search(str(error))):
            raise Rejected("truncated", "the JPEG ends before its last pixels") from error
        fault = f"this {kind} is corrupt or of a kind that is not read ({type(error).__name__})"
        raise Rejected("unreadable", fault) from error


def _rgb_on_white(image: Image.Image) -> Image.Image:
    """Decode the pixels to RGB, with white behind transparent ones."""
    image.load()
    mode = image.mode
    transparent = image.info.get("transparency")
    if mode == "RGB" and transparent is None:
        return image
    if mode.startswith("I"):  # 16-bit grey: Pillow's conversion would turn every value above 255 white
        grey = np.asarray(image)
        high_bytes = (grey >> 8).astype(np.uint8)
        if transparent is not None:
            high_bytes[grey == transparent] = 255
        return Image.fromarray(high_bytes).convert("RGB")
    if mode == "P" and image.palette is None:
        raise ValueError("no palette")
    if transparent is None and mode not in ("LA", "RGBA"):
        return image.convert("RGB")
    rgba = image if mode == "RGBA" else image.convert("RGBA")
    rgb = Image.new("RGB", image.size, "white")
    rgb.paste(rgba, mask=rgba)
    return rgb


def _upright_square(
    image: Image.Image, turn: Image.Transpose | None, box: _Box | None, side: int
) -> Image.Image:
    """Turn a picture upright and resize it to a square of `side` with Pillow's default filter, bicubic.

    A JPEG decoded at reduced size has a box, in stored orientation, since its last row and column may be
    partial: it is turned after resizing. Others are turned first, as ``ImageOps.exif_transpose`` and
    ``resize`` would.
    """
    if box is not None:
        image = image.resize((side, side), box=box)
    if turn is not None:
        image = image.transpose(turn)
    return image.resize((side, side)) if box is None else image


@lru_cache(maxsize=16)  # building it takes 2.5 ms and applying it 0.7; the photos of one camera share it
def _to_srgb(profile: bytes) -> ImageCms.ImageCmsTransform | None:
    """Return the conversion to sRGB; None if a profile is sRGB, too large or not of RGB colours.

    Raises
    ------
    Exception
        If the profile is damaged.
    """
    if not 0 < len(profile) <= formats.MAX_PROFILE:
        return None
    source = ImageCms.ImageCmsProfile(BytesIO(profile))
    if source.profile.xcolor_space != "RGB " or "sRGB" in (source.profile.profile_description or ""):
        return None
    return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), "RGB", "RGB")
