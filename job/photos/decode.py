"""From the bytes of one photo to 224 x 224 RGB pixels, or to a reason to refuse them.

It stands between ``fetch``, which brings the bytes, and the backbone, which takes the pixels. It is pure: no
Spark, no TensorFlow, no state, safe in threads. What the bytes are is settled by ``sniff`` before Pillow sees
them; Pillow then gets only the one reader that fits, so none of its other plugins is ever within reach.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from job.photos import formats

DECODE_VERSION: Final = 1  # goes up when the pixels of any photo would change
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

# The most a JPEG can say. A PNG can claim one row of 2^31 pixels, and the table of weights to resize it needs
# 32 bytes for each.
MAX_SIDE: Final = 65_535

# A JPEG is decoded at 1/2, 1/4 or 1/8 of its size while three decoded pixels or more are left for each of the
# result. Measured against full decoding (quality 90; 4000 x 3000 and 3001 x 2003): mosaics of the real photos
# differ by 0.1 to 0.4 of 255 on average and by 13 at most, thin coloured lines by 1.3 and 15; 12 megapixels
# take 50 to 90 ms of CPU, not 260 to 340. With two pixels left the mosaics differ by up to 0.8 and 22, with
# one by 4.1 and 43. `reducing_gap` saves nothing after that; without the box in `decode` it is 6.9 and 68.
_DRAFT_SIDE: Final = 3 * SIDE

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
    """What a photo may be at most: the bytes of its file, and the pixels its header declares."""

    max_bytes: int = 64 * 2**20
    max_pixels: int = 50_000_000  # at which a WebP, the worst, takes 0.75 GB while it is decoded


DEFAULT_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """A decoded photo: what the network sees, and how large the upright original is, in pixels.

    ``pixels`` is (224, 224, 3) uint8 RGB, C-contiguous and read-only.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int


class Rejected(Exception):  # noqa: N818 - an outcome that is counted and kept, not an error of the program
    """A photo that is refused: a :data:`Reason`, and one clause that a person can act on."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)  # both, so that it survives pickling
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


class _Jpeg(JpegImageFile):
    """Pillow's JPEG reader without its look into EXIF for a resolution that nobody here asks for.

    Used directly, it also takes a phone's MPO for the JPEG it begins with: its first picture.
    """

    def _read_dpi_from_exif(self) -> None:
        pass


_READERS: Final[dict[formats.Format, Callable[[BytesIO], ImageFile.ImageFile]]] = {
    "JPEG": _Jpeg,
    "PNG": PngImageFile,
    "WebP": WebPImageFile,
}


def decode(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Photo:
    """Decode one photo, turn it upright, put it on white and resize it as ``Image.resize((224, 224))`` does.

    The data is a whole file, and its content tells the format; limits hold before any pixel is decoded. Of
    an animation or a phone's MPO the first picture counts. A photo is whole or refused: JPEG without its end
    marker, PNG without IEND, WebP shorter than it says are truncated.

    Raises
    ------
    Rejected
        And nothing else, whatever the bytes are.
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
    image = _open(kind, data, limits)
    width, height = image.size
    box = None
    if kind == "JPEG" and min(width, height) >= 2 * _DRAFT_SIDE:
        drafted = image.draft("RGB", (_DRAFT_SIDE, _DRAFT_SIDE))
        box = drafted and drafted[1]
    with _pillow(kind, data):
        rgb = _rgb_on_white(image)
    turn = formats.orientation(
        image.info.get("exif")
    )  # after the pixels: a PNG may keep its EXIF behind them
    square = _upright_square(rgb, _UPRIGHT.get(turn), box)
    if turn >= 5:  # a quarter turn
        width, height = height, width
    return Photo(np.asarray(square), width, height)


def _open(kind: formats.Format, data: bytes, limits: Limits) -> ImageFile.ImageFile:
    """Let the one reader that fits parse the header; nothing is allocated for pixels beyond the limits."""
    size = formats.declared_size(kind, data)
    if size is not None:
        _check_size(size, limits)
    if kind == "PNG":
        try:
            data = formats.png_pixels_only(data)
        except EOFError:
            raise Rejected("truncated", "the PNG ends before its IEND chunk") from None
        except ValueError as fault:
            raise Rejected("unreadable", str(fault)) from None
    elif kind == "WebP":
        if len(data) < 8 + int.from_bytes(data[4:8], "little"):
            raise Rejected("truncated", "the WebP holds fewer bytes than its header declares")
        if size is None:  # Pillow's reader makes a canvas at once: it may not start on a size unknown
            raise Rejected("unreadable", "the WebP does not begin with an image header")
    with _pillow(kind, data):
        image = _READERS[kind](BytesIO(data))
    _check_size(image.size, limits)
    if kind == "PNG" and image.mode in ("L", "RGB") and "transparency" in image.info:
        image.info["transparency"] = formats.in_eight_bits(image.info["transparency"], depth=data[24])
    return image


def _check_size(size: tuple[int, int], limits: Limits) -> None:
    """Refuse what declares too many pixels, or a side that no JPEG could have."""
    width, height = size
    if width * height > limits.max_pixels:
        raise Rejected("too_large", f"{width} x {height} pixels, over the limit of {limits.max_pixels}")
    if max(size) > MAX_SIDE:
        raise Rejected("too_large", f"{width} x {height} pixels, a side over the limit of {MAX_SIDE}")


@contextmanager
def _pillow(kind: formats.Format, data: bytes) -> Iterator[None]:
    """Turn any exception of Pillow's into a refusal: on hostile bytes it raises a dozen and documents few."""
    try:
        yield
    except Exception as error:  # its words can quote the file or hold a memory address: they are left out
        if isinstance(error, MemoryError | Image.DecompressionBombError):
            raise Rejected("too_large", f"decoding this {kind} takes more memory than it may") from error
        if kind == "JPEG" and formats.jpeg_is_cut(data):
            raise Rejected("truncated", "the JPEG ends before its end-of-image marker") from error
        fault = f"this {kind} is corrupt or of a kind that is not read ({type(error).__name__})"
        raise Rejected("unreadable", fault) from error


def _rgb_on_white(image: Image.Image) -> Image.Image:
    """Decode the pixels, as RGB, with white behind whatever is transparent."""
    image.load()
    mode = image.mode
    transparent = image.info.get("transparency")
    if mode == "RGB" and transparent is None:
        return image
    if mode.startswith("I"):  # 16 bits of grey; Pillow's conversion would turn all above 255 white
        grey = np.asarray(image)
        high = (grey >> 8).astype(np.uint8)
        if transparent is not None:
            high[grey == transparent] = 255
        return Image.fromarray(high).convert("RGB")
    if mode == "CMYK" and "adobe" not in image.info:
        image = ImageChops.invert(image)  # Pillow takes every CMYK for Adobe's, who store it inverted
    if mode == "P" and image.palette is None:
        raise ValueError("no palette")
    if transparent is None and mode not in ("LA", "RGBA"):
        return image.convert("RGB")
    picture = image if mode == "RGBA" else image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(picture, mask=picture)
    return white


def _upright_square(
    image: Image.Image, turn: Image.Transpose | None, box: tuple[float, float, float, float] | None
) -> Image.Image:
    """Turn a picture upright and make it 224 x 224 with Pillow's default filter, bicubic.

    A drafted picture comes with the box that it fills, as stored: its last row and column can stand for less
    than a pixel. It is turned last; any other first, to equal ``ImageOps.exif_transpose`` and ``resize``.
    """
    if box is not None:
        image = image.resize((SIDE, SIDE), box=box)
    if turn is not None:
        image = image.transpose(turn)
    return image.resize((SIDE, SIDE)) if box is None else image
