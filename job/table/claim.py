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
READ_TRIES: Final = 5  # of a reader, beside commands that replace files
# What another --output, or other permissions, would mend; a full disk, say, is not of these.
USER_ERRORS: Final = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}
    | {errno.ENAMETOOLONG, errno.ELOOP}
)


def input_claim(inputs: Sequence[str], limit: int | None) -> dict[str, Any]:
    """Return what a table is made from: its inputs, and how many of their photos at most."""
    return {"inputs": [store.printable(location) for location in inputs], "limit": limit}


def existing_table(output: str) -> Snapshot:
    """Return the table of an output that must be there: for the commands that only change or show it.

    Raises
    ------
    UsageError
        If there is none of this job's.
    """
    snapshot = commits.load(output)
    admit_existing(output, snapshot)
    return snapshot or Snapshot()


def read_table(output: str, look: Callable[[Snapshot], T]) -> T:
    """Return what `look` makes of the newest snapshot; it looks again if a file is replaced meanwhile."""
    for _ in range(READ_TRIES - 1):
        with contextlib.suppress(FileNotFoundError):
            return look(existing_table(output))
    return look(existing_table(output))


def admit_existing(output: str, snapshot: Snapshot | None) -> list[Action]:
    """Admit a command to an output that must be there; see :func:`existing_table`."""
    if snapshot is None and has_earlier_layout(output):
        raise UsageError(f"output {output} {EARLIER_LAYOUT}")
    if snapshot is None or MADE_FROM not in snapshot.configuration:
        raise UsageError(
            f"{output} is no output of this job (it has no table {layout.PHOTOS}): check --output"
        )
    return []


def admit_run(
    output: str, snapshot: Snapshot | None, requested: Mapping[str, Any], overwrite: bool
) -> list[Action]:
    """Admit a run to an output, and return the actions of the commit by which it begins.

    `snapshot` is the output's table, and `requested` is what the run reads, as :func:`input_claim` returns it;
    `overwrite` replaces a table of another input.

    Raises
    ------
    UsageError
        If the output is made from something else, or holds what is not ours where our tables would go.
    """
    configuration = {MADE_FROM: json.dumps(requested, sort_keys=True)}
    if snapshot is None:
        _refuse_foreign_files(output, overwrite)
        return [commits.metadata_action("", configuration)]
    if MADE_FROM not in snapshot.configuration:
        raise UsageError(
            f"output {output} has a table {layout.PHOTOS} that this job did not write: "
            "choose another --output"
        )
    difference = _difference(saved_claim(snapshot), requested)
    if difference is None:
        return []
    if snapshot.files and not overwrite:
        raise UsageError(
            f"output {output} holds the tables of another input ({difference}): "
            "choose another --output, or replace them with --overwrite"
        )
    removed = [commits.remove_action(file, True) for file in snapshot.files.values()]
    return [commits.metadata_action(snapshot.table_id, configuration), *removed]


def saved_claim(snapshot: Snapshot) -> dict[str, Any]:
    """Return what a table of ours is made from."""
    made: dict[str, Any] = json.loads(snapshot.configuration[MADE_FROM])
    return made


def has_earlier_layout(output: str) -> bool:
    """Tell whether an output was made by a version of this job that knew no Delta table."""
    try:
        said = json.loads(store.read_bytes(store.join(output, layout.EARLIER_CLAIM)))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    return isinstance(said, dict) and "inputs" in said


def delete_overwritten_outputs(output: str) -> None:
    """Delete what was made of another input: its models, its runs, and the tables of the earlier layout."""
    names = [layout.MOMENTS, layout.PCA, layout.PCA_CSV, layout.MODELS, layout.RUNS, layout.MISSING]
    if has_earlier_layout(output):
        names += layout.EARLIER  # its claim last, so that a deletion that breaks off is taken up again
    for name in names:
        store.delete_tree(store.join(output, name))


@contextlib.contextmanager
def write_errors(output: str) -> Iterator[None]:
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
        if error.errno in USER_ERRORS:
            reason = f"({reason.lower()}): choose another --output, or mend that"
            raise UsageError(f"output {output} cannot be written {reason}") from None
        raise JobError(f"output {output} cannot be written: {reason}") from None


def _refuse_foreign_files(output: str, overwrite: bool) -> None:
    """Where there is no table of ours, nothing is: a folder ``models``, say, is somebody's, and stays."""
    is_earlier = has_earlier_layout(output)
    if is_earlier and not overwrite:
        raise UsageError(f"output {output} {EARLIER_LAYOUT}")
    for name in layout.ADDED_WITH_DELTA if is_earlier else layout.FOLDERS:
        place = store.join(output, name)
        local = Path(place)
        in_the_way = not store.is_s3(place) and (local.is_symlink() or local.is_file())
        if in_the_way or next(store.list_files(place), None) is not None:
            raise UsageError(
                f"output {output} has a {name} that this job did not write (it has no Delta table "
                f"{layout.PHOTOS}): choose another --output"
            )


def _difference(made: Mapping[str, Any], requested: Mapping[str, Any]) -> str | None:
    """Say in which way an output is made from something else; None if it is not."""
    for key in (*requested, *made):
        if made.get(key) != requested.get(key):
            return f"{key} was {_words(made.get(key))}, now {_words(requested.get(key))}"
    return None


def _words(value: object) -> str:
    if value is None:
        return "not set"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
