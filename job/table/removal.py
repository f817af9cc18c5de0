"""Remove photos from the table: rewrite their data files without them, and replace these in one commit."""

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Final

from job.table import files, layout
from job.table.layout import DataFile
from job.table.writer import Writer

FILES_AT_ONCE: Final = 4  # a few MB each, one thread each


def remove_photos(writer: Writer, paths_by_file: Mapping[str, Collection[str]]) -> dict[str, DataFile | None]:
    """Remove the rows of photos, given by the data files that hold them, in one commit.

    Return the new data file for each old one; None if no row remains.
    """

    def rewrite(number: int, file: str) -> DataFile | None:
        rows = files.rows_without(files.location(writer.output, file), paths_by_file[file])
        path = layout.data_path(layout.outcome_of(file), writer.number, number, 0)
        return files.write(writer.output, path, rows) if len(rows) else None

    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        replaced = dict(zip(paths_by_file, pool.map(rewrite, count(), paths_by_file), strict=True))
    if replaced:
        writer.commit(add=[file for file in replaced.values() if file is not None], remove=replaced)
    return replaced
