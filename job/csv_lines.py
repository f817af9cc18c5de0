"""The records of ``pca_csv`` as bytes, so that those that stay are not changed by a digit.

A quoted field may hold line breaks, as the name of a photo may. Stands below ``erase`` and ``compact``.
"""

import re
from typing import Final, NamedTuple

FIRST: Final = re.compile(rb'"((?:[^"]|"")*)"|([^,\r\n]*)')


class Lines(NamedTuple):
    """A file's heading, and its records with the path of each; each ends with its line break."""

    heading: bytes
    records: list[tuple[str, bytes]]


def read(data: bytes) -> Lines:
    """Cut a file into records."""
    whole: list[bytes] = []
    is_open = False
    for line in data.split(b"\n"):
        if is_open:
            whole[-1] += line + b"\n"
        else:
            whole.append(line + b"\n")
        is_open ^= bool(line.count(b'"') % 2)
    heading, *records = [record for record in whole if record != b"\n"] or [b""]
    return Lines(heading, [(_path(record), record) for record in records])


def joined(heading: bytes, records: list[tuple[str, bytes]]) -> bytes:
    """Put records together again."""
    return b"".join([heading, *(record for _, record in records)])


def _path(record: bytes) -> str:
    found = FIRST.match(record)
    assert found is not None, "the second form matches anything"
    quoted = found[1]
    return (found[2] if quoted is None else quoted.replace(b'""', b'"')).decode()
