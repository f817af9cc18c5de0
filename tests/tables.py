"""What stands in an output: its tables by their photos, and whether all of it fits together."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from job import compact, erase, summing
from job.compact import Compaction
from job.erase import Erasure
from job.log import Log
from job.search import Selection
from job.table import commits, files, layout, schema, sweep
from job.table.commits import Snapshot

FEATURIZED: Final = layout.FEATURIZED
REJECTED: Final = layout.REJECTED
MATRIX: Final = layout.PCA
OF_A_RUN: Final = ["run_id", "modified"]  # columns in which the same photos may differ


def snapshot(output: Path | str) -> Snapshot:
    """Return the newest version of an output's table."""
    found = commits.load(str(output))
    assert found is not None
    return found


def table(output: Path | str, name: str) -> pd.DataFrame:
    """Return featurized photos, rejected ones or the matrix, by path; each is there once.

    The photos are those of the files that the newest version of the table names.
    """
    if name == MATRIX:
        frame = pd.read_parquet(Path(output) / MATRIX)
    else:
        now = snapshot(output)
        parts = [files.read(files.location(str(output), file.path)) for file in now.of(name)]
        frame = pa.concat_tables([schema.PHOTOS.empty_table(), *parts]).to_pandas()
        assert len(frame) == now.rows(name)
    frame = frame.set_index("path").sort_index()
    assert frame.index.is_unique
    return frame


def counts(record: dict[str, Any]) -> tuple[int, ...]:
    """Return listed, unchanged, featurized, rejected and removed; the first is the sum of the next three."""
    found = record["counts"]
    listed, *rest = (found[name] for name in ("listed", "unchanged", "featurized", "rejected", "removed"))
    assert listed == sum(rest[:3])
    return listed, *rest


def vectors(frame: pd.DataFrame) -> NDArray[np.float32]:
    """Return features as a matrix ``(n, 1280)``."""
    return np.vstack(list(frame["features"]))


def assert_same(ours: Path, theirs: Path) -> None:
    """Find the same photos in two outputs, features bit by bit, and the first to be whole."""
    for name in (FEATURIZED, REJECTED):
        found, wanted = table(ours, name), table(theirs, name)
        if name == FEATURIZED:
            assert vectors(found).tobytes() == vectors(wanted).tobytes()
        drop = [*OF_A_RUN, "features"]
        pd.testing.assert_frame_equal(found.drop(columns=drop), wanted.drop(columns=drop))
    assert_whole(ours)


def assert_whole(output: Path) -> None:
    """Find matrix and moments to be of just the featurized photos, and no file beside those named."""
    features, matrix = table(output, FEATURIZED), table(output, MATRIX)
    assert matrix.index.equals(features.index)
    model_id = sweep.current_model(str(output))
    named = {f"{layout.PHOTOS}/{path}" for path in snapshot(output).files}
    for file in snapshot(output).of(FEATURIZED):
        named.update(layout.matrix_paths(file.path, model_id))
    folders = ("photos/outcome=*", "pca*/*", "_tasks")
    there = [file for folder in folders for file in output.glob(f"{folder}/*")]
    assert {str(file.relative_to(output)) for file in there} == named
    kept = summing.load(str(output))
    assert kept is not None
    rows = vectors(features).astype(np.float64)
    centred = rows - rows.mean(axis=0)
    assert kept.moments.n == len(rows)
    np.testing.assert_allclose(kept.moments.mean, rows.mean(axis=0), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(kept.moments.scatter, centred.T @ centred, rtol=1e-9, atol=1e-9)


def erase_photos(output: Path | str, paths: Iterable[object]) -> dict[str, Any]:
    """Erase photos from an output."""
    selection = Selection(frozenset(map(str, paths)))
    return erase.run(Erasure(str(output), selection, "a letter"), "erasure", _log())


def compact_table(output: Path | str) -> dict[str, Any]:
    """Compact an output's table."""
    return compact.run(Compaction(str(output)), "compaction", _log())


def _log() -> Log:
    return Log("command", out=io.StringIO(), err=io.StringIO())
