"""Whose output it is, and what its table is made from: a property of the table, so that no two inputs mix.

The first run on an output says in the table's properties what it reads. A later run on something else is
refused, unless it may overwrite; then the old rows go with the very commit by which it begins.
"""

import contextlib
import errno
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from job.errors import JobError, UsageError
from job.storage import store
from job.table import commits, layout
from job.table.commits import Action, Snapshot

T = TypeVar("T")

MADE_FROM: Final = "fruits.madeFrom"  # JSON
EARLIER_LAYOUT: Final = (
    "was made by an earlier version of this job, without a Delta table: make it anew with --overwrite, which "
    "reads every photo again, or choose another --output"
)
TRIES: Final = 5  # of a reader, beside commands that replace files
# What another --output, or other permissions, would mend; a full disk, say, is not of these.
MENDABLE: Final = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}
    | {errno.ENAMETOOLONG, errno.ELOOP}
)


def made_from(inputs: Sequence[str], limit: int | None) -> dict[str, Any]:
    """Return what a table is made from: its inputs, and how many of their photos at most."""
    return {"inputs": [store.printable(location) for location in inputs], "limit": limit}


def existing(output: str) -> Snapshot:
    """Return the table of an output that must be there: for the commands that only change or show it.

    Raises
    ------
    UsageError
        If there is none of this job's.
    """
    found = commits.load(output)
    admit_existing(output, found)
    return found or Snapshot()


def read(output: str, look: Callable[[Snapshot], T]) -> T:
    """Return what `look` makes of the newest snapshot; it looks again if a file is replaced meanwhile."""
    for _ in range(TRIES - 1):
        with contextlib.suppress(FileNotFoundError):
            return look(existing(output))
    return look(existing(output))


def admit_existing(output: str, found: Snapshot | None) -> list[Action]:
    """Admit a command to an output that must be there; see :func:`existing`."""
    if found is None and is_of_the_earlier_layout(output):
        raise UsageError(f"output {output} {EARLIER_LAYOUT}")
    if found is None or MADE_FROM not in found.configuration:
        raise UsageError(
            f"{output} is no output of this job (it has no table {layout.PHOTOS}): check --output"
        )
    return []


def admit_run(
    output: str, found: Snapshot | None, wanted: Mapping[str, Any], overwrite: bool
) -> list[Action]:
    """Admit a run to an output, and return the actions of the commit by which it begins.

    `found` is the output's table, and `wanted` is what the run reads, as :func:`made_from` returns it;
    `overwrite` replaces a table of another input.

    Raises
    ------
    UsageError
        If the output is made from something else, or holds what is not ours where our tables would go.
    """
    configuration = {MADE_FROM: json.dumps(wanted, sort_keys=True)}
    if found is None:
        _refuse_what_is_not_ours(output, overwrite)
        return [commits.metadata("", configuration)]
    if MADE_FROM not in found.configuration:
        raise UsageError(
            f"output {output} has a table {layout.PHOTOS} that this job did not write: "
            "choose another --output"
        )
    difference = _difference(inputs_of(found), wanted)
    if difference is None:
        return []
    if found.files and not overwrite:
        raise UsageError(
            f"output {output} holds the tables of another input ({difference}): "
            "choose another --output, or replace them with --overwrite"
        )
    removed = [commits.remove(file, True) for file in found.files.values()]
    return [commits.metadata(found.table_id, configuration), *removed]


def inputs_of(found: Snapshot) -> dict[str, Any]:
    """Return what a table of ours is made from."""
    made: dict[str, Any] = json.loads(found.configuration[MADE_FROM])
    return made


def is_of_the_earlier_layout(output: str) -> bool:
    """Tell whether an output was made by a version of this job that knew no Delta table."""
    try:
        said = json.loads(store.read_bytes(store.join(output, layout.EARLIER_CLAIM)))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    return isinstance(said, dict) and "inputs" in said


def delete_what_was_overwritten(output: str) -> None:
    """Delete what was made of another input: its models, its runs, and the tables of the earlier layout."""
    names = [layout.MOMENTS, layout.PCA, layout.PCA_CSV, layout.MODELS, layout.RUNS, layout.MISSING]
    if is_of_the_earlier_layout(output):
        names += layout.EARLIER  # its claim last, so that a deletion that breaks off is taken up again
    for name in names:
        store.delete_tree(store.join(output, name))


@contextlib.contextmanager
def sentences(output: str) -> Iterator[None]:
    """Put it into a sentence if something cannot be written.

    Raises
    ------
    UsageError
        If another output would mend it.
    JobError
        If it would not.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in MENDABLE:
            reason = f"({reason.lower()}): choose another --output, or mend that"
            raise UsageError(f"output {output} cannot be written {reason}") from None
        raise JobError(f"output {output} cannot be written: {reason}") from None


def _refuse_what_is_not_ours(output: str, overwrite: bool) -> None:
    """Where there is no table of ours, nothing is: a folder ``models``, say, is somebody's, and stays."""
    is_earlier = is_of_the_earlier_layout(output)
    if is_earlier and not overwrite:
        raise UsageError(f"output {output} {EARLIER_LAYOUT}")
    for name in layout.NOT_OF_THE_EARLIER if is_earlier else layout.FOLDERS:
        place = store.join(output, name)
        local = Path(place)
        in_the_way = not store.is_s3(place) and (local.is_symlink() or local.is_file())
        if in_the_way or next(store.list_files(place), None) is not None:
            raise UsageError(
                f"output {output} has a {name} that this job did not write (it has no Delta table "
                f"{layout.PHOTOS}): choose another --output"
            )


def _difference(made: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """Say in which way an output is made from something else; None if it is not."""
    for key in (*wanted, *made):
        if made.get(key) != wanted.get(key):
            return f"{key} was {_words(made.get(key))}, now {_words(wanted.get(key))}"
    return None


def _words(value: object) -> str:
    if value is None:
        return "not set"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
