"""The journal of ``job compact``: what brings a compaction that was stopped to its end, or away.

Merged files are made below ``_compact/``, where no reader looks. Once all are there, the journal is written,
and from then on what it says is done, by whoever opens the output next. Every step can be taken twice.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Final

from job import coverage, store
from job.coverage import Matrix, Sums

FOLDER: Final = "_compact"
FILE: Final = "journal.json"


@dataclass(frozen=True, slots=True)
class Group:
    """Files that become one, and what is made of them with them.

    Attributes
    ----------
    merged : dict
        By each new file, as a place below the output, the places of the files that it replaces.
    target : str
        Name of the new file in ``features``; ``""`` if the group is of another table.
    sources : dict
        Names of its files of ``features``, and the versions they were read in.
    """

    merged: dict[str, list[str]]
    target: str = ""
    sources: dict[str, str] = field(default_factory=dict)


def staged(output: str, name: str) -> str:
    """Return where a merged file waits: `name` is its place below the output."""
    return store.join(output, FOLDER, name)


def write(output: str, groups: list[Group]) -> None:
    """Say that all merged files are there: from now on the compaction goes forward only."""
    data = json.dumps([asdict(group) for group in groups]).encode()
    store.write_bytes(store.join(output, FOLDER, FILE), data)


def finish(output: str) -> bool:
    """Bring a compaction to its end, if one was begun; called under the lock, before anything is read.

    Returns
    -------
    bool
        Whether there was one to finish.

    Raises
    ------
    OSError
        If a file cannot be read or written.
    """
    try:
        said = json.loads(store.read_bytes(store.join(output, FOLDER, FILE)))
    except FileNotFoundError:
        store.delete_tree(store.join(output, FOLDER))  # merged files that are not all there
        return False
    groups = [Group(**group) for group in said]
    _swap(output, groups)
    _cover(output, [group for group in groups if group.target])
    # First the journal: without it, what else is left there means nothing.
    store.delete_tree(store.join(output, FOLDER, FILE))
    store.delete_tree(store.join(output, FOLDER))
    return True


def _swap(output: str, groups: list[Group]) -> None:
    """File by file, delete what was merged, and then put in what it became: no reader sees a row twice."""
    above = store.join(output, FOLDER, "")
    waiting = {name.removeprefix(above) for name, _ in store.list_files(store.join(output, FOLDER))}
    for group in groups:
        for target, sources in group.merged.items():
            if target not in waiting:
                continue  # it has arrived
            store.delete_files([store.join(output, source) for source in sources])
            store.move(staged(output, target), store.join(output, target))


def _cover(output: str, groups: list[Group]) -> None:
    """Let the moments and the matrix be of the merged files, as they were of those that these are made of."""
    if not groups:
        return
    now = coverage.versions(store.list_stored(store.join(output, store.FEATURES_TABLE), ".parquet"))
    sums, matrix = coverage.load_sums(output), coverage.load_matrix(output)
    files, covered = dict(sums.files) if sums is not None else {}, dict(matrix.files)
    for group in groups:
        if group.sources.items() <= files.items():
            files = {name: version for name, version in files.items() if name not in group.sources}
            files[group.target] = now[group.target]
        rows = [covered[name][1] for name in group.sources if name in covered]
        if len(rows) == len(group.sources):
            covered = {name: said for name, said in covered.items() if name not in group.sources}
            covered[group.target] = (now[group.target], sum(rows))
    if sums is not None and files != sums.files:
        coverage.save_sums(output, Sums(sums.moments, files))
    if covered != matrix.files:
        coverage.save_matrix(output, Matrix(matrix.model_id, covered))
