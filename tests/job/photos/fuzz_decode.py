"""Fuzzes ``decode`` with atheris, one format at a time.

``python -m tests.job.photos.fuzz_decode JPEG FOLDER -max_total_time=60`` begins with the photos of
``bad_photos``, and keeps in the folder what reached new code. Options after it are libFuzzer's. A finding is
any exception but ``Rejected``, more time or memory than a photo of that size may take, pixels that differ
from one call to the next, and a photo that is still accepted, with other pixels, after its end was cut off.
"""

import base64
import struct
import sys
import time
import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import atheris
import numpy as np
import simplejpeg

with atheris.instrument_imports(include=["job.photos", "PIL.PngImagePlugin", "PIL.WebPImagePlugin"]):
    from job.photos import decode, formats

from tests.support.bad_photos import bad_photos, drawn, encoded, good_oddities

LIMITS: Final = decode.Limits(max_bytes=2**20, max_pixels=2**20)
SECONDS: Final = 2.0


def seeds(kind: str) -> dict[str, bytes]:
    """Draw the photos to begin with: those of the format, small enough for many calls a second."""
    photos = good_oddities() | {name: data for name, (data, _) in bad_photos().items()}
    photos |= {"small": encoded(drawn(24, 18), kind), "grey": encoded(drawn(9, 8, "L"), kind)}
    photos["stored"] = encoded(drawn(9, 8), "PNG", compress_level=0)
    return {
        name: data
        for name, data in photos.items()
        if formats.photo_format(data) == kind and len(data) < 20_000
    }


def repaired(data: bytes) -> bytes:
    """Put right the checksums of a PNG's chunks, which no mutation would hit."""
    if not data.startswith(b"\x89PNG"):
        return data
    parts, start = [data[:8]], 8
    while start + 12 <= len(data):
        end = start + 8 + int.from_bytes(data[start : start + 4])
        checksum = struct.pack(">I", zlib.crc32(data[start + 4 : end]))
        parts.append(data[start:end] + checksum)
        start = end + 4
    return b"".join(parts) + data[start:]


def has_named_sampling(data: bytes) -> bool:
    """Tell whether TurboJPEG decodes a JPEG, and not Pillow."""
    try:
        simplejpeg.decode_jpeg_header(data, strict=False)
    except (ValueError, KeyError):
        return False
    return True


def cut(data: bytes, kind: str) -> bytes:
    """Take bytes from the end of a photo's pixels, and make its container whole again."""
    share = zlib.crc32(data) % 1000 / 1000
    if kind == "JPEG":
        # Sampling without a name is checked to some bytes only. libjpeg-turbo reads a stuffed fill byte in
        # one way near the end of the file and in another before.
        if b"\xff\xff" in data or not has_named_sampling(data):
            return data
        scan = data.find(b"\xff\xda")
        return data[: scan + int(share * (len(data) - scan))] + b"\xff\xd9"
    if kind == "PNG":
        if data.count(b"IDAT") > 1:  # the streams would be joined, and inflate does not read their checksum
            return data
        start = data.find(b"IDAT")
        size = int.from_bytes(data[start - 4 : start])
        kept = int(share * size)
        body = data[start : start + 4 + kept]
        chunk = struct.pack(">I", kept) + body + struct.pack(">I", zlib.crc32(body))
        return data[: start - 4] + chunk + data[start + 4 + size + 4 :]  # tRNS may be behind the pixels
    start = 12
    while start < len(data) and data[start : start + 4] not in (b"ALPH", b"VP8 ", b"VP8L"):
        size = int.from_bytes(data[start + 4 : start + 8], "little")
        start += 8 + size + size % 2
    size = int.from_bytes(data[start + 4 : start + 8], "little")
    kept = int(share * size) & ~1
    body = data[start + 8 : start + 8 + kept] + data[start + 8 + size + size % 2 :]
    shorter = data[8 : start + 4] + struct.pack("<I", kept) + body
    return b"RIFF" + struct.pack("<I", len(shorter)) + shorter if start < len(data) else data


def check(data: bytes, kind: str) -> None:
    """Decode bytes, and raise if anything but a photo or a reason comes of them."""
    begun = time.thread_time()
    try:
        photo = decode.decode(data, LIMITS)
    except decode.Rejected:
        return
    finally:
        seconds = time.thread_time() - begun
        if seconds > SECONDS:
            raise AssertionError(f"{seconds:.1f} s")
    assert photo.width * photo.height <= LIMITS.max_pixels
    assert np.array_equal(decode.decode(data, LIMITS).pixels, photo.pixels), "chance pixels"
    try:
        rest = decode.decode(cut(data, kind), LIMITS)
    except decode.Rejected:
        return
    assert np.array_equal(rest.pixels, photo.pixels), "pixels of a photo that was cut"


def main() -> None:
    kind, folder, *options = sys.argv[1:]
    corpus = Path(folder)
    corpus.mkdir(parents=True, exist_ok=True)
    for name, data in seeds(kind).items():
        (corpus / name).write_bytes(data)
    # Without its first bytes it is not a photo, and nothing is tried.
    mark = {"JPEG": b"\xff\xd8\xff", "PNG": b"\x89PNG\r\n\x1a\n", "WebP": b"RIFF"}[kind]

    def check_mutation(data: bytes) -> None:
        photo = repaired(mark + data[len(mark) :])
        with ExitStack() as finding:
            finding.callback(lambda: print("found:", base64.b64encode(photo).decode(), file=sys.stderr))
            check(photo, kind)
            finding.pop_all()

    bounds = ["-rss_limit_mb=600", "-timeout=20", "-max_len=20000", f"-artifact_prefix={folder}/found-"]
    atheris.Setup([sys.argv[0], *bounds, *options, folder], check_mutation)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
