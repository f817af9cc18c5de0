"""What is new: the photos that are listed against those that an output holds, step by step.

A photo is unchanged if its path is known with the same etag and size, and if its features were made by this
run's network and decoder. It needs no row of its own in memory: blocks of the listing are joined with what is
known of the same range of paths, and only what there is to do is kept.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from job import known as known_room
from job import store
from job.known import Known
from job.walk import Listed

BLOCK: Final = 16_384  # photos listed that are compared at a time: about 5 MB
CHANGED: Final = pa.schema(
    [*(store.LISTED.field(name) for name in known_room.COLUMNS), store.INVENTORY_SCHEMA.field("replaces")]
)


class Comparison:
    """One comparison; its figures and lists are complete when :meth:`new` has come to its end.

    Parameters
    ----------
    known : Known
    retry_rejected : bool
        Take rejected photos for new even if they are what they were.

    Attributes
    ----------
    listed, unchanged, unchanged_rejected : int
        Photos listed, of those the ones that are known as they are, and of those the rejected.
    removed : list of tables
        ``path`` and ``file`` of the photos that are known and not listed; `removed_features` of them are in
        features, and of these `outdated` are of another network or decoder.
    surplus : dict
        By file the paths of rows that an interrupted run has left beside the row that counts.
    """

    def __init__(self, known: Known, retry_rejected: bool = False) -> None:
        self._known, self._retry = known, retry_rejected
        self.listed = self.unchanged = self.unchanged_rejected = self.removed_features = 0
        self.outdated = 0
        self.removed: list[pa.Table] = []
        self.surplus: defaultdict[str, list[str]] = defaultdict(list)
        self._changed: list[pa.Table] = []

    def new(self, photos: Iterable[Listed]) -> Iterator[Listed]:
        """Yield the photos that are not known at all.

        Parameters
        ----------
        photos : iterable of Listed
            In order of their paths.
        """
        stream, steps = iter(photos), self._known.steps()
        try:
            while block := list(islice(stream, BLOCK)):
                self.listed += len(block)
                yield from self._compare(block, steps.until(block[-1].path))
            for table in steps.rest():
                self._gone(self._without_surplus(table, {}))
        finally:
            steps.close()

    def changed(self) -> pa.Table:
        """Return the known photos to be made again, by the files whose rows they replace."""
        if not self._changed:
            return CHANGED.empty_table()
        return pa.concat_tables(self._changed).sort_by([("replaces", "ascending"), ("path", "ascending")])

    def drop(self, prune: bool) -> dict[str, list[str]]:
        """Return, by file, the paths whose rows are to go: the surplus, and with `prune` the removed."""
        gone = defaultdict(list, {file: list(paths) for file, paths in self.surplus.items()})
        for table in self.removed if prune else ():
            for path, file in zip(table["path"].to_pylist(), table["file"].to_pylist(), strict=True):
                gone[file].append(path)
        return dict(gone)

    def _compare(self, block: list[Listed], table: pa.Table) -> Iterator[Listed]:
        if not len(table):
            yield from block
            return
        paths, sizes, etags, moments, *_ = zip(*block, strict=True)
        listed = pa.table(
            {"path": paths, "etag": etags, "bytes": sizes, "modified": moments},
            schema=pa.schema([store.LISTED.field(name) for name in ("path", "etag", "bytes", "modified")]),
        )
        table = self._without_surplus(table, dict(zip(paths, etags, strict=True)))
        at = pc.index_in(listed["path"], value_set=table["path"].combine_chunks()).combine_chunks()
        is_known = at.is_valid()
        for row in pc.indices_nonzero(pc.invert(is_known)).to_pylist():
            yield block[row]
        if not pc.any(is_known).as_py():
            self._gone(table)
            return
        mine, theirs = listed.filter(is_known), table.take(at.drop_null())
        same = pc.and_(_same_photo(mine, theirs), theirs["current"])
        if self._retry:
            same = pc.and_(same, theirs["good"])
        self.unchanged += pc.sum(same).as_py() or 0
        self.unchanged_rejected += pc.sum(pc.and_(same, pc.invert(theirs["good"]))).as_py() or 0
        again = pc.invert(same)
        if pc.any(again).as_py():
            whole = mine.append_column("replaces", theirs["file"]).filter(again)
            self._changed.append(whole.select(CHANGED.names).cast(CHANGED))
        if len(mine) < len(table):
            self._gone(
                table.filter(pc.invert(pc.is_in(table["path"], value_set=mine["path"].combine_chunks())))
            )

    def _gone(self, table: pa.Table) -> None:
        if len(table):
            self.removed.append(table.select(["path", "file"]))
            self.removed_features += pc.sum(table["good"]).as_py()
            self.outdated += pc.sum(pc.invert(table["current"])).as_py()

    def _without_surplus(self, table: pa.Table, etags: dict[str, str]) -> pa.Table:
        """Keep one row of each photo: features before rejections, the listed etag before others."""
        if len(pc.unique(table["path"])) == len(table):
            return table
        paths = table["path"].to_pylist()
        twice = {path for path, times in Counter(paths).items() if times > 1}
        best: dict[str, tuple[bool, bool, str, int]] = {}
        for row, path in enumerate(paths):
            if path in twice:
                one = table.slice(row, 1).to_pylist()[0]
                rank = (one["good"], one["etag"] == etags.get(path), one["file"], row)
                best[path] = max(best.get(path, rank), rank)
        lost = [row for row, path in enumerate(paths) if path in twice and best[path][3] != row]
        for path, file in zip(
            *(table.take(lost)[name].to_pylist() for name in ("path", "file")), strict=True
        ):
            self.surplus[file].append(path)
        keep = sorted(set(range(len(paths))) - set(lost))
        return table.take(keep)


def _same_photo(mine: pa.Table, theirs: pa.Table) -> pa.ChunkedArray:
    """Tell which photos have the known size and etag; a list without etags is asked for the time of change.

    Of a list that has neither, the size alone decides.
    """
    etags = pc.equal(pc.fill_null(mine["etag"], ""), pc.fill_null(theirs["etag"], ""))
    untold = pc.equal(pc.fill_null(mine["etag"], ""), "")
    times = pc.equal(mine["modified"], theirs["modified"])
    times = pc.if_else(pc.is_null(mine["modified"]), True, pc.fill_null(times, False))
    return pc.and_(pc.equal(mine["bytes"], theirs["bytes"]), pc.if_else(untold, times, etags))
