"""Reading parts of an object: of a table's file, only some columns. Only ``store`` imports it.

PyArrow reads a file's end first, where its plan is, and then the columns, so the end is fetched at once and
what follows in the ranges that PyArrow asks for.
"""

import io
from typing import TYPE_CHECKING, Final

from job import s3

if TYPE_CHECKING:
    from collections.abc import Callable

WHOLE_BYTES: Final = 2**20  # a smaller object is read whole: one request instead of three or four
END_BYTES: Final = 2**17  # the plan of a file of some thousand photos is a tenth of it


class Ranges(io.RawIOBase):
    """An object of known size as a seekable file; every read is one request, but for those of its end.

    Parameters
    ----------
    location : str
    size : int
        Of the object, in bytes.
    read : callable
        ``(location, start, length)`` to bytes.
    """

    def __init__(
        self, location: str, size: int, read: "Callable[[str, int, int], bytes]" = s3.read_range
    ) -> None:
        super().__init__()
        self._location, self._size, self._read, self._at = location, size, read, 0
        self._end_from = max(0, size - END_BYTES)
        self._end = read(location, self._end_from, size - self._end_from)

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def seekable(self) -> bool:
        """Return that it can be read from any place."""
        return True

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, and return it."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, as many as are asked for if there are so many."""
        length = self._size - self._at if size < 0 else min(size, self._size - self._at)
        if length <= 0:
            return b""
        start, self._at = self._at, self._at + length
        if start >= self._end_from:
            return self._end[start - self._end_from : start - self._end_from + length]
        return self._read(self._location, start, length)
