"""The provenance of an output: the inputs of its photos, so that those of two inputs never mix in one table.

The first run records its inputs in the table's properties. A later run on other inputs is refused, unless it
may overwrite: then its first commit also removes the old rows.
"""

import contextlib
import errno
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
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
READ_TRIES: Final = 5  # of a reader, while other commands replace files
# Errors that another --output or other permissions would mend; a full disk is not one.
USER_ERRORS: Final = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}
    | {errno.ENAMETOOLONG, errno.ELOOP}
)


def of_run(inputs: Sequence[str], limit: int | None) -> dict[str, Any]:
    """Return the provenance of a run's photos: its inputs, and the limit on their number."""
    return {"inputs": [store.printable(location) for location in inputs], "limit": limit}


def existing_table(output: str) -> Snapshot:
    """Return the table of an existing output.

    Raises
    ------
    UsageError
        If the output has no table of this job.
    """
    return check_table(output, commits.load(output))


def read_table(output: str, query: Callable[[Snapshot], T]) -> T:
    """Return what `query` makes of the newest snapshot, and repeat it if a file is replaced meanwhile."""
    for _ in range(READ_TRIES - 1):
        with contextlib.suppress(FileNotFoundError):
            return query(existing_table(output))
    return query(existing_table(output))


def check_table(output: str, snapshot: Snapshot | None) -> Snapshot:
    """Return the snapshot of an output's table; refuse an output without a table of this job."""
    if snapshot is None and has_earlier_layout(output):
        raise UsageError(f"output {output} {EARLIER_LAYOUT}")
    if snapshot is None or MADE_FROM not in snapshot.configuration:
        raise UsageError(
            f"{output} is no output of this job (it has no table {layout.PHOTOS}): check --output"
        )
    return snapshot


def first_actions(
    output: str, snapshot: Snapshot | None, requested: Mapping[str, Any], overwrite: bool
) -> list[Action]:
    """Return the actions of a run's first commit; none if its photos belong in the table as it is.

    `snapshot` is the output's table, `requested` is the run's provenance from :func:`of_run`; `overwrite`
    replaces a table of other inputs.

    Raises
    ------
    UsageError
        If the output belongs to other inputs, or other programs' files lie where the tables would go.
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
    difference = _difference(saved(snapshot), requested)
    if difference is None:
        return []
    if snapshot.files and not overwrite:
        raise UsageError(
            f"output {output} holds the tables of another input ({difference}): "
            "choose another --output, or replace them with --overwrite"
        )
    removed = [commits.remove_action(file, True) for file in snapshot.files.values()]
    return [commits.metadata_action(snapshot.table_id, configuration), *removed]


def saved(snapshot: Snapshot) -> dict[str, Any]:
    """Return the provenance that is saved in a table of this job; empty if it is damaged."""
    try:
        provenance = json.loads(snapshot.configuration[MADE_FROM])
    except ValueError:
        return {}
    return provenance if isinstance(provenance, dict) else {}


def has_earlier_layout(output: str) -> bool:
    """Tell whether an output was made by a version of this job from before the Delta table."""
    try:
        earlier = json.loads(store.read_bytes(store.join(output, layout.EARLIER_PROVENANCE)))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    return isinstance(earlier, dict) and "inputs" in earlier


def delete_overwritten_outputs(output: str) -> None:
    """Delete what was derived from other inputs, their runs' records, and tables of the earlier layout."""
    names = [layout.MOMENTS, *layout.DERIVED, layout.MODELS, layout.RUNS, layout.REPORT, *layout.LISTS]
    if has_earlier_layout(output):
        names += layout.EARLIER  # the provenance last, so that an interrupted deletion is repeated
    for name in names:
        store.delete_tree(store.join(output, name))


@contextlib.contextmanager
def write_errors(output: str) -> Iterator[None]:
    """Turn errors of writing the output into one sentence.

    Raises
    ------
    UsageError
        If another output or other permissions would mend it.
    JobError
        Otherwise.
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
    """Refuse an output without a table of this job if other files lie where its own would go."""
    is_earlier = has_earlier_layout(output)
    if is_earlier and not overwrite:
        raise UsageError(f"output {output} {EARLIER_LAYOUT}")
    for name in layout.ADDED_WITH_DELTA if is_earlier else layout.ENTRIES:
        location = store.join(output, name)
        if store.is_file(location) or next(store.list_files(location), None) is not None:
            if commits.load(output) is not None:
                return  # another command has just begun: the first commit will fail
            raise UsageError(
                f"output {output} has a {name} that this job did not write (it has no Delta table "
                f"{layout.PHOTOS}): choose another --output"
            )


def _difference(recorded: Mapping[str, Any], requested: Mapping[str, Any]) -> str | None:
    """Describe the first difference between two provenances; None if they are equal."""
    for key in (*requested, *recorded):
        if recorded.get(key) != requested.get(key):
            return f"{key} was {_words(recorded.get(key))}, now {_words(requested.get(key))}"
    return None


def _words(value: object) -> str:
    if value is None:
        return "not set"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
