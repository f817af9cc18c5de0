"""Tables of a few photos, by the table's own functions: without real photos, a network or Spark."""

import hashlib
import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from deltalake import write_deltalake

from job import store
from job.table import claim, commits, files, layout, schema, writer
from job.table.commits import Snapshot
from job.table.layout import FEATURIZED, REJECTED, DataFile
from job.table.writer import Writer

A, B, C = "/photos/Apple/a.jpg", "/photos/Apple/b.jpg", "/photos/Pear/c.jpg"
BAD: Final = "/photos/Pear/bad.jpg"
LOG: Final = "photos/_delta_log"


def rows(*paths: str, outcome: str = FEATURIZED, etag: str = "e") -> pa.Table:
    """Return rows of photos; all else follows from a photo's path."""
    good = outcome == FEATURIZED
    one_by_one = [
        {
            "path": path,
            "label": path.split("/")[-2],
            "split": "Training",
            "etag": etag,
            "sha256": hashlib.sha256(path.encode()).hexdigest(),
            "features": [float(len(path)), 1.5] if good else None,
            "reason": None if good else "truncated",
        }
        for path in paths
    ]
    return pa.Table.from_pylist(one_by_one, schema.PHOTOS)


def written(output: str, number: int, *paths: str, outcome: str = FEATURIZED, task: int = 0) -> DataFile:
    """Write a file of photos, which is not committed."""
    return files.write(output, layout.data_path(outcome, number, task, 0), rows(*paths, outcome=outcome))


def admit(output: str) -> writer.Claim:
    """Return the claim of a run on the folder ``/photos``."""
    return lambda found: claim.admit_run(output, found, claim.made_from(["/photos"], None), overwrite=False)


def writing(output: str, run_id: str = "r-1", **more: Any) -> AbstractContextManager[Writer]:
    """Be a run that writes to an output."""
    return writer.writing(output, run_id, "run", admit(output), **more)


def make(output: str, *paths: str) -> Snapshot:
    """Make or extend a table by a file of photos and, if ``BAD`` is among them, one of that."""
    with writing(output) as own:
        new = [written(output, own.number, *(path for path in paths if path != BAD))]
        if BAD in paths:
            new.append(written(output, own.number, BAD, outcome=REJECTED))
        own.commit(new)
    return snapshot(output)


def snapshot(output: str) -> Snapshot:
    """Return a table that is there."""
    found = commits.load(output)
    assert found is not None
    return found


def photos(output: str, found: Snapshot | None = None) -> list[str]:
    """Return the paths of a table's photos, each as often as it is there."""
    places = [files.location(output, path) for path in (found or snapshot(output)).files]
    return sorted(path for place in places for path in files.read(place, ["path"])["path"].to_pylist())


def tree(folder: str | Path) -> dict[str, bytes | None]:
    """Return the content of every file below a folder, and None for every folder."""
    below = sorted(Path(folder).rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in below}


def unnamed(output: str) -> set[str]:
    """Return the files in the table's folder, drafts too, that its newest version does not name."""
    found = snapshot(output)
    there = {location for location, _ in store.list_files(store.join(output, layout.PHOTOS))}
    named = {files.location(output, path) for path in found.files}
    assert named <= there, "a file is gone"
    return (there - named) | set(store.list_drafts(output))


def actions(output: str, version: int) -> list[dict[str, Any]]:
    """Return the actions of a commit."""
    lines = store.read_bytes(
        store.join(output, layout.PHOTOS, commits.LOG, f"{version:020}.json")
    ).splitlines()
    return [json.loads(line) for line in lines]


def foreign(output: str, *paths: str) -> None:
    """Append photos to a table in a folder as another program would."""
    table = rows(*paths).append_column(schema.PARTITION, pa.array([FEATURIZED] * len(paths)))
    write_deltalake(f"{output}/{layout.PHOTOS}", table, mode="append")
