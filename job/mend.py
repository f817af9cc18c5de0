"""Moments and matrix after rows were taken out of files, without Spark: what is left is what counts.

Stands between ``erase`` and ``coverage``. What can be taken out exactly is; otherwise it is made again here,
from the rows that are left, so that the next run finds nothing to do.
"""

from collections.abc import Mapping
from itertools import chain

from job import coverage, drops, models, rewrite, store, tables
from job.backbone import FEATURES
from job.coverage import Matrix, Sums
from job.moments import Moments, accumulate

UNSURE = ""  # the version of a file that the matrix is not known to be of: no file has it


def versions(output: str) -> dict[str, str]:
    """Return the versions of the files of features by their names."""
    return coverage.versions(store.list_stored(store.join(output, store.FEATURES_TABLE), ".parquet"))


def is_of(kept: Sums | None, now: Mapping[str, str]) -> bool:
    """Tell whether every file that moments are of still is what it was; new ones may stand beside them."""
    return kept is not None and all(now.get(name) == version for name, version in kept.files.items())


def sums(output: str, kept: Sums | None, gone: Moments | None) -> str:
    """Bring the kept moments up to date.

    Parameters
    ----------
    output : str
    kept : Sums or None
        What was kept before rows were taken out.
    gone : Moments or None
        Of the rows taken out of the files in `kept`; None if it was not of the files as they were.

    Returns
    -------
    str
        What was done, in words.
    """
    if kept is None:
        return "none were kept"
    if gone is not None and not gone.n:
        return "unchanged"
    now = versions(output)
    left = kept.moments.without(gone) if gone is not None else None
    if left is not None:
        coverage.save_sums(output, Sums(left, {name: now[name] for name in kept.files}))
        return "the rows were taken out exactly"
    places = (store.join(output, store.FEATURES_TABLE, name) for name in sorted(now))
    rows = chain.from_iterable(drops.features_of(rewrite.read(place, ["features"])) for place in places)
    coverage.save_sums(output, Sums(accumulate(rows, FEATURES), now))
    return "summed up anew"


def doubt(output: str, names: set[str]) -> Matrix:
    """Say of some files that the matrix may not be of them any more; return what it was said to cover.

    Whoever is stopped after this leaves files that are projected again, by a run or by :func:`matrix`.
    """
    known = coverage.load_matrix(output)
    doubted = {
        name: (UNSURE, rows) if name in names else (version, rows)
        for name, (version, rows) in known.files.items()
    }
    if doubted != known.files:
        coverage.save_matrix(output, Matrix(known.model_id, doubted))
    return known


def matrix(output: str, left: Mapping[str, int]) -> int:
    """Bring what the matrix covers up to date, and return how many files were projected again.

    Parameters
    ----------
    output : str
    left : mapping
        By file of features whose rows were taken out of the matrix, too: how many are left.
    """
    known, now = coverage.load_matrix(output), versions(output)
    unsure = [name for name, (version, _) in known.files.items() if version == UNSURE]
    if not unsure:
        return 0
    again = [name for name in unsure if name not in left and name in now]
    found = models.load(output, known.model_id) if again else None
    covered = {name: said for name, said in known.files.items() if said[0] != UNSURE}
    covered |= {name: (now[name], rows) for name, rows in left.items() if name in unsure and name in now}
    if found is not None:
        for name in again:
            file = store.join(output, store.FEATURES_TABLE, name)
            covered[name] = (now[name], tables.project(file, output, found[0], known.model_id))
    coverage.save_matrix(output, Matrix(known.model_id, covered))
    return len(again) if found is not None else 0
