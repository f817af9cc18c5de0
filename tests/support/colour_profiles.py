"""Colour profiles and pictures in their colours, made by the formulas and not by a colour library."""

import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# The columns of each matrix are the red, green and blue of a colour space in XYZ, adapted to D50.
SRGB: Final = np.array(
    [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]
)
DISPLAY_P3: Final = np.array(
    [[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]]
)


def profile(name: str, primaries: NDArray[np.float64]) -> bytes:
    """Build an ICC profile (version 2, with a curve of version 4) of primaries with the curve of sRGB."""
    columns = [struct.pack(">3i", *np.rint(column * 65536).astype(int)) for column in primaries.T]
    white = struct.pack(">3i", 63190, 65536, 54061)
    curve = struct.pack(">4s4xHH5i", b"para", 3, 0, 157286, 62119, 3417, 5072, 2651)
    text = name.encode() + b"\0"
    tags = {b"desc": struct.pack(">4s4xI", b"desc", len(text)) + text + bytes(78 + -(len(text) + 2) % 4)}
    tags[b"wtpt"] = b"XYZ \0\0\0\0" + white
    for letter, column in zip("rgb", columns, strict=True):
        tags[f"{letter}XYZ".encode()] = b"XYZ \0\0\0\0" + column
        tags[f"{letter}TRC".encode()] = curve
    table, body = struct.pack(">I", len(tags)), b""
    for tag, value in tags.items():
        table += struct.pack(">4sII", tag, 132 + 12 * len(tags) + len(body), len(value))
        body += value
    size = 128 + len(table) + len(body)
    kind = struct.pack(">I4xI4s4s4s", size, 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    return kind + bytes(12) + b"acsp" + bytes(28) + white + bytes(48) + table + body


def in_display_p3(picture: Image.Image) -> Image.Image:
    """Compute the values in Display P3 of the colours of an sRGB picture, by the formula."""
    values = np.asarray(picture) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ (np.linalg.inv(DISPLAY_P3) @ SRGB).T, 0, 1)
    values = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return Image.fromarray(np.rint(values * 255).astype(np.uint8))
