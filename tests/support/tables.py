"""Tables of a few photos, written by the table's own functions, and readers of any table."""

import hashlib
import io
import json
from collections.abc import Iterable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
from deltalake import write_deltalake
from numpy.typing import NDArray

from job.cli.log import Log
from job.commands import compact, erase
from job.commands.selection import Selection
from job.model import incremental_moments
from job.storage import store
from job.table import commits, files, layout, provenance, schema, sweep, writer
from job.table.commits import Snapshot
from job.table.layout import DataFile
from job.table.writer import FirstActions, Writer

A, B, C = "/photos/Apple/a.jpg", "/photos/Apple/b.jpg", "/photos/Pear/c.jpg"
BAD: Final = "/photos/Pear/bad.jpg"
LOG: Final = "photos/_delta_log"
FEATURIZED: Final = layout.FEATURIZED
REJECTED: Final = layout.REJECTED
MATRIX: Final = layout.PCA
RUN_COLUMNS: Final = ["run_id", "modified"]  # may differ for the same photo


def rows(*paths: str, outcome: str = FEATURIZED, etag: str = "e") -> pa.Table:
    """Return rows of photos; the other columns follow from the paths."""
    good = outcome == FEATURIZED
    photo_rows = [
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
    return pa.Table.from_pylist(photo_rows, schema.PHOTOS)


def written(output: str, number: int, *paths: str, outcome: str = FEATURIZED, task: int = 0) -> DataFile:
    """Write a file of photos without a commit."""
    return files.write(output, layout.data_path(outcome, number, task, 0), rows(*paths, outcome=outcome))


def first_actions(output: str) -> FirstActions:
    """Return the first actions of a run on the folder ``/photos``."""
    requested = provenance.of_run(["/photos"], None)
    return partial(provenance.first_actions, output, requested=requested, overwrite=False)


def writing(output: str, run_id: str = "r-1", **more: Any) -> AbstractContextManager[Writer]:
    """Return the exclusive writer of a run on an output."""
    return writer.exclusive_writer(output, run_id, "run", first_actions=first_actions(output), **more)


def make(output: str, *paths: str) -> Snapshot:
    """Add photos to a table, which may be new; ``BAD`` goes to a file of rejected photos."""
    with writing(output) as run:
        data_files = [written(output, run.number, *(path for path in paths if path != BAD))]
        if BAD in paths:
            data_files.append(written(output, run.number, BAD, outcome=REJECTED))
        run.commit(data_files)
    return snapshot(output)


def foreign(output: str, *paths: str) -> None:
    """Append photos to a table as another program would."""
    table = rows(*paths).append_column(schema.PARTITION, pa.array([FEATURIZED] * len(paths)))
    write_deltalake(f"{output}/{layout.PHOTOS}", table, mode="append")


def snapshot(output: Path | str) -> Snapshot:
    """Return the newest version of an output's table."""
    newest = commits.load(str(output))
    assert newest is not None
    return newest


def photos(output: str) -> list[str]:
    """Return the paths of all rows of a table."""
    locations = [files.location(output, path) for path in snapshot(output).files]
    return sorted(path for file in locations for path in files.read(file, ["path"])["path"].to_pylist())


def actions(output: str, version: int) -> list[dict[str, Any]]:
    """Return the actions of a commit."""
    return [json.loads(line) for line in store.read_bytes(f"{output}/{LOG}/{version:020}.json").splitlines()]


def unnamed(output: str) -> set[str]:
    """Return the files and drafts in the table's folder that its newest version does not name."""
    existing = {location for location, _ in store.list_files(store.join(output, layout.PHOTOS))}
    named = {files.location(output, path) for path in snapshot(output).files}
    assert named <= existing, "a file is gone"
    return (existing - named) | set(store.list_drafts(output))


def tree(folder: str | Path) -> dict[str, bytes | None]:
    """Return the content of every file below a folder, and None for every folder."""
    paths = sorted(Path(folder).rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


def table(output: Path | str, name: str) -> pd.DataFrame:
    """Return the newest version's featurized or rejected photos, or the matrix, by path; no path repeats."""
    if name == MATRIX:
        frame = pd.read_parquet(Path(output) / MATRIX)
    else:
        newest = snapshot(output)
        parts = [files.read(files.location(str(output), file.path)) for file in newest.files_of(name)]
        frame = pa.concat_tables([schema.PHOTOS.empty_table(), *parts]).to_pandas()
        assert len(frame) == newest.rows(name)
    frame = frame.set_index("path").sort_index()
    assert frame.index.is_unique
    return frame


def counts(record: dict[str, Any]) -> tuple[int, ...]:
    """Return listed, unchanged, featurized, rejected and removed; the first is the sum of the next three."""
    names = ("listed", "unchanged", "featurized", "rejected", "removed")
    listed, *rest = (record["counts"][name] for name in names)
    assert listed == sum(rest[:3])
    return listed, *rest


def vectors(frame: pd.DataFrame) -> NDArray[np.float32]:
    """Return features as a matrix ``(n, 1280)``."""
    return np.vstack(list(frame["features"]))


def assert_same(ours: Path, theirs: Path) -> None:
    """Check that two outputs hold the same photos, with equal features, and that the first is whole."""
    for name in (FEATURIZED, REJECTED):
        actual, expected = table(ours, name), table(theirs, name)
        if name == FEATURIZED:
            assert vectors(actual).tobytes() == vectors(expected).tobytes()
        dropped = [*RUN_COLUMNS, "features"]
        pd.testing.assert_frame_equal(actual.drop(columns=dropped), expected.drop(columns=dropped))
    assert_whole(ours)


def assert_whole(output: Path) -> None:
    """Check that matrix and moments cover exactly the featurized photos, and that no file is left over."""
    features, matrix = table(output, FEATURIZED), table(output, MATRIX)
    assert matrix.index.equals(features.index)
    model_id = sweep.current_model_id(str(output))
    named = {f"{layout.PHOTOS}/{path}" for path in snapshot(output).files}
    for file in snapshot(output).files_of(FEATURIZED):
        named.update(layout.matrix_paths(file.path, model_id))
    folders = ("photos/outcome=*", "pca*/*", "_tasks")
    existing = [file for folder in folders for file in output.glob(f"{folder}/*")]
    assert {str(file.relative_to(output)) for file in existing} == named
    saved = incremental_moments.load(str(output))
    assert saved is not None
    moments = saved.moments.features.total
    rows = vectors(features).astype(np.float64)
    centred = rows - rows.mean(axis=0)
    assert moments.n == len(rows)
    np.testing.assert_allclose(moments.mean, rows.mean(axis=0), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(moments.scatter, centred.T @ centred, rtol=1e-9, atol=1e-9)


def erase_photos(output: Path | str, paths: Iterable[object]) -> dict[str, Any]:
    """Erase photos from an output."""
    selection = Selection(frozenset(map(str, paths)))
    return erase.run(str(output), selection, "a letter", _log())


def compact_table(output: Path | str) -> dict[str, Any]:
    """Compact an output's table."""
    return compact.run(str(output), _log())


def _log() -> Log:
    return Log("command", out=io.StringIO(), err=io.StringIO())
