"""Files that a listing skips: those without the name of a JPEG, PNG or WebP file, and litter.

Litter is what operating systems and tools leave beside photos; it is skipped whatever its name ends in. A
skipped file's kind is the kind of litter that it is, or else its ending.
"""

import io
import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

import pyarrow as pa

from job.storage import store
from job.table import layout, schema

# The endings of the three formats: JPEG's of browsers, stereo cameras (.mpo, .jps) and Windows (.jfif).
JPEG: Final = (".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".pjpeg", ".pjp", ".mpo", ".jps")
PHOTO_ENDINGS: Final = (*JPEG, ".png", ".apng", ".webp")
ENDINGS: Final = frozenset(PHOTO_ENDINGS)
# Folders of litter: of zips made on a Mac, Synology, Windows; and hidden ones, such as .git or .Trash-1000.
LITTER: Final = re.compile(
    r"/(?:(__MACOSX|@eaDir|\$RECYCLE\.BIN|System Volume Information)|(\.[^/]*))/", re.IGNORECASE
)
# Endings that are counted apart. Of others nothing is told: the end of a name may name a person.
OTHER_ENDINGS: Final = {
    *("no ending", ".txt", ".md", ".csv", ".tsv", ".json", ".xml", ".html", ".yaml", ".yml", ".ini", ".py"),
    *(".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jxl", ".jp2", ".svg", ".psd", ".pdf"),
    *(".dng", ".raw", ".cr2", ".cr3", ".nef", ".mov", ".mp4", ".avi", ".zip", ".tar", ".gz", ".npy", ".db"),
    *(".parquet", ".ds_store", ".bak", ".tmp", ".part", ".log"),
}
APPLE_DOUBLE: Final = "AppleDouble"  # RFC 1740: the rest of a Mac's file, beside it as ._name
APPLE_DOUBLE_START: Final = b"\x00\x05\x16\x07"

MOST_LISTED: Final = 1_000_000  # files; further ones are only counted
ROWS_PER_BATCH: Final = 10_000


class SkippedFiles:
    """The skipped files of a listing: their number by kind, and the list, compressed in memory."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._paths: list[str] = []
        self._kinds: list[str] = []
        self._list = io.BytesIO()
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        self._stream = pa.ipc.new_stream(self._list, schema.LISTS[layout.SKIPPED], options=options)

    def add(self, path: str, kind: str) -> None:
        """Count a file, and put it on the list."""
        self.counts[kind] += 1
        if self.counts.total() > MOST_LISTED:
            return
        self._paths.append(path)
        self._kinds.append(kind)
        if len(self._paths) == ROWS_PER_BATCH:
            self._flush()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the list; nothing can be added after this."""
        self._flush()
        self._stream.close()
        yield from pa.ipc.open_stream(self._list.getvalue())

    def _flush(self) -> None:
        columns = schema.LISTS[layout.SKIPPED]
        self._stream.write_batch(pa.record_batch([self._paths, self._kinds], schema=columns))
        self._paths, self._kinds = [], []


def is_litter(folder: str) -> bool:
    """Tell whether a folder is litter or lies in it; its path below the input ends with a slash."""
    return LITTER.search(f"/{folder}") is not None


def skip_kind(name: str) -> str:
    """Return why a file is skipped, ``""`` for a photo; `name` is its path below the input.

    The kind is a folder of litter, or the ending of the name.
    """
    if litter := LITTER.search(f"/{name}"):
        return litter[1] or "hidden folder"
    if name[name.rfind(".") :].lower() in ENDINGS:
        return ""
    name = name.rpartition("/")[2]
    ending = name[name.rfind(".") :].lower() if "." in name else "no ending"
    return ending if ending in OTHER_ENDINGS else "other ending"


def may_be_apple_double(name: str) -> bool:
    """Tell whether a file's name is that of an AppleDouble file."""
    return name.rpartition("/")[2].startswith("._")


def is_apple_double(location: str) -> bool:
    """Tell whether a file begins as AppleDouble; one that cannot be read does not."""
    try:
        return store.read_start(location, len(APPLE_DOUBLE_START)) == APPLE_DOUBLE_START
    except OSError:
        return False
