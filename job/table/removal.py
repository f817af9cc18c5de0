"""Photos leave the table: their files are written anew without them, and one commit exchanges these."""

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Final

from job.table import files, layout
from job.table.layout import DataFile
from job.table.writer import Writer

FILES_AT_ONCE: Final = 4  # of some MB each, in as many threads


def remove_photos(writer: Writer, paths_of: Mapping[str, Collection[str]]) -> dict[str, DataFile | None]:
    """Take the rows of photos, given by the files of the table that they are in, out of it, all at once.

    Return, by each of these files, the one in its place; None where no row is left.
    """

    def without(number: int, file: str) -> DataFile | None:
        left = files.rows_without(files.location(writer.output, file), paths_of[file])
        path = layout.data_path(layout.outcome_of(file), writer.number, number, 0)
        return files.write(writer.output, path, left) if len(left) else None

    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        replaced = dict(zip(paths_of, pool.map(without, count(), paths_of), strict=True))
    if replaced:
        writer.commit(add=[file for file in replaced.values() if file is not None], remove=replaced)
    return replaced
