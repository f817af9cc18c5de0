"""A whole output, made without photos that anything could decode, without a network and without Spark.

Its tables are what runs would have left, by the job's own functions. Only the features are drawn, from the
path of each photo: one photo has the same in any output.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from job import coverage, drops, identity, inventory, models, output, rewrite, store, tables, tasks
from job.backbone import FEATURES
from job.coverage import Matrix, Sums
from job.moments import Moments, accumulate
from job.pca import Pca
from job.tasks import Photo, Tasks
from job.walk import walk

RUN_IDS: Final = ("20260101T060000Z-00000a", "20260102T060000Z-00000b", "20260103T060000Z-00000c")
DIRECTIONS: Final = np.random.default_rng(0).normal(size=(20, FEATURES))
COMPONENTS: Final = 3


@dataclass(frozen=True)
class Made:
    """An output and what is in it.

    Attributes
    ----------
    location, source : str
    good, bad : list of str
        Paths in ``features`` and in ``rejected``, in order.
    sha256 : dict
        By path, of the good.
    changed, removed : list of str
        Of the good: those whose rows the second run has replaced, and those that it found missing.
    """

    location: str
    source: str
    good: list[str]
    bad: list[str]
    sha256: dict[str, str]
    changed: list[str]
    removed: list[str]
    runs: list[str]
    model_id: str


def photos(folder: Path, count: int) -> str:
    """Write files that are listed as photos, each of its own bytes, and return the folder."""
    for number in range(count):
        below = folder / ("Training" if number % 4 else "Test") / f"Fruit {number * 7 // max(count, 1)}"
        below.mkdir(parents=True, exist_ok=True)
        (below / f"photo-{number:05}-{number * 2654435761 % 2**32:08x}.jpg").write_bytes(b"photo %d" % number)
    return str(folder)


def make(
    location: str,
    source: str,
    files: int = 4,
    rejected: int = 3,
    runs: int = 2,
    changed: int = 1,
    removed: int = 1,
    without: Collection[str] = (),
) -> Made:
    """Make the output of some runs on the photos of a folder.

    Parameters
    ----------
    location, source : str
        The output, and a folder that :func:`photos` has filled, with at least 16 photos a run.
    files : int
        About so many files of features from each run; more if there are more than 16 photos for each.
    rejected : int
        So many of the photos are bad.
    runs : int
        Every so-manieth photo is of the same run: paths of different runs' files overlap.
    changed, removed : int
        So many photos of the first run are listed again by the second, as changed; so many others are deleted
        before it.
    without : collection of str
        Paths that are left out, as if they had never been there.
    """
    listed = [one for one in sorted(walk(source, location, set())) if one.path not in without]
    bad = {one.path for one in sorted(listed, key=lambda one: _digest(one.path))[:rejected]}
    by_run = [listed[number::runs] for number in range(runs)]
    first = [one.path for one in by_run[0] if one.path not in bad]
    again, gone = (first[:changed], first[changed : changed + removed]) if runs > 1 else ([], [])
    output.claim(location, {"inputs": [source], "limit": None}, overwrite=False)
    sha256 = {one.path: hashlib.sha256(Path(one.path).read_bytes()).hexdigest() for one in listed}
    file_of: dict[str, str] = {}
    for number, (run_id, new) in enumerate(zip(RUN_IDS, by_run, strict=False)):
        replacing = [Photo(one, file_of[one.path]) for one in listed if number == 1 and one.path in again]
        at = store.join(location, store.INVENTORY, run_id)
        made = tasks.write(iter(new), sorted(replacing, key=lambda one: str(one.replaces)), at, files, 10**6)
        if number == 1 and gone:
            _write_removed(at, {path: file_of[path] for path in gone})
        file_of |= _write_rows(location, made, run_id, bad, sha256)
    for path in gone:
        Path(path).unlink()
    model = finish(location)
    for run_id in RUN_IDS[:runs]:
        record = {"run_id": run_id, "status": "completed", "input": [source], "output": location}
        output.commit(location, run_id, {**record, "finished_at": f"{run_id[:4]}-01-01T07:00:00+00:00"})
    good = sorted(path for path in file_of if path not in bad)
    hashes = {path: sha256[path] for path in good}
    ids = list(RUN_IDS[:runs])
    return Made(location, source, good, sorted(bad), hashes, again, gone, ids, model.model_id)


def copied(made: Made, location: str) -> Made:
    """Return a copy whose files have the same versions: links, for no file is ever changed in its place."""
    shutil.copytree(made.location, location, copy_function=os.link)
    return replace(made, location=location)


def features_of(path: str) -> NDArray[np.float32]:
    """Return the features ``(1280,)`` that a photo has in every output."""
    draw = np.random.default_rng(int(_digest(path), 16))
    row = draw.normal(size=len(DIRECTIONS)) @ DIRECTIONS + draw.normal(size=FEATURES) * 0.1 + 3.0
    return row.astype(np.float32)


def finish(location: str) -> Pca:
    """Sum up what is in ``features``, fit a model, and write the matrix: what ends a run."""
    found = list(store.list_stored(store.join(location, store.FEATURES_TABLE), ".parquet"))
    sums = Sums(moments_of(location), coverage.versions(found))
    model = model_of(sums.moments)
    wanted = {"components": COMPONENTS, "variance": 0.95, "standardize": False}
    facts = {"backbone": identity.name("litert"), "wanted": wanted, "run_id": RUN_IDS[0]}
    models.save(model, store.join(location, store.MODELS, model.model_id), facts)
    covered = {}
    for file in found:
        made, rows = tables.MatrixWriter(model.k, model.model_id), 0
        for batch in tables.read([file.location], [*store.PCA.names[:3], "features"]):
            reduced = model.project(tables.matrix(batch.column("features"), FEATURES))
            made.write(batch, reduced)
            rows += len(reduced)
        names = tables.matrix_names(file.location, model.model_id)
        for name, data in zip(names, made.close(), strict=True):
            store.write_bytes(store.join(location, name), data)
        covered[file.location.rpartition("/")[2]] = (file.version, rows)
    coverage.save_sums(location, sums)
    coverage.save_matrix(location, Matrix(model.model_id, covered))
    return model


def model_of(moments: Moments) -> Pca:
    """Return a model of rows, of axes that are near the best: to find those takes a second and more."""
    axes = np.linalg.qr(DIRECTIONS.T)[0].T[:COMPONENTS]
    covariance = moments.scatter / (moments.n - 1)
    variance = np.einsum("kd,de,ke->k", axes, covariance, axes, optimize=True)
    return Pca(
        mean=moments.mean,
        std=np.sqrt(covariance.diagonal()),
        standardized=False,
        components=np.ascontiguousarray(axes),
        explained_variance=variance,
        explained_variance_ratio=variance / covariance.trace(),
        n=moments.n,
        rank=min(FEATURES, moments.n - 1),
    )


def moments_of(location: str) -> Moments:
    """Return the moments of what is in ``features``, in order of the files."""
    found = files_of(location, store.FEATURES_TABLE).values()
    return accumulate(chain.from_iterable(map(drops.features_of, found)), FEATURES)


def files_of(location: str, table: str) -> dict[str, pa.Table]:
    """Return what each Parquet file of a table holds, by its name below the table."""
    place = store.join(location, table)
    return {
        name.removeprefix(f"{place}/"): rewrite.read(name) for name, _ in store.list_files(place, ".parquet")
    }


def rows_of(location: str, table: str) -> list[dict[str, Any]]:
    """Return a table's rows, all files together, in order of their paths."""
    rows = chain.from_iterable(found.to_pylist() for found in files_of(location, table).values())
    return sorted(rows, key=lambda row: (row["path"], json.dumps(row, default=str)))


def csv_rows(location: str) -> list[bytes]:
    """Return the lines of ``pca_csv`` without headings, all files together, in order; none may be broken."""
    files = store.list_files(store.join(location, store.PCA_CSV_TABLE), ".csv")
    return sorted(line for name, _ in files for line in store.read_bytes(name).splitlines()[1:])


def _digest(path: str) -> str:
    """Return a digest of the path's end, which is the same wherever the photos lie."""
    return hashlib.sha256("/".join(path.rsplit("/", 3)[1:]).encode()).hexdigest()


def _write_removed(place: str, file_of: dict[str, str]) -> None:
    table = pa.table({"path": list(file_of), "file": list(file_of.values())})
    store.write_bytes(store.join(place, inventory.REMOVED), tables.parquet(table))


def _write_rows(
    location: str, made: Tasks, run_id: str, bad: set[str], sha256: dict[str, str]
) -> dict[str, str]:
    """Write a run's files of both tables, and return by path in which file its row is."""
    file_of: dict[str, str] = {}
    for task in range(made.tasks):
        rows = tasks.read(made.location, task).to_pylist()
        fresh = [row for row in rows if row["replaces"] is None]
        for name, some in (
            (store.FEATURES_TABLE, [row for row in fresh if row["path"] not in bad]),
            (store.REJECTED_TABLE, [row for row in fresh if row["path"] in bad]),
        ):
            if some:
                file = f"{name}/{tables.part_name(task, run_id)}"
                store.write_bytes(
                    store.join(location, file), tables.parquet(_table(name, some, run_id, sha256))
                )
                file_of |= {row["path"]: file for row in some}
        for row in rows:
            if row["replaces"] is not None:
                table = _table(store.FEATURES_TABLE, [row], run_id, sha256)
                rewrite.replace(store.join(location, row["replaces"]), [row["path"]], table)
    return file_of


def _table(name: str, rows: Sequence[dict[str, Any]], run_id: str, sha256: dict[str, str]) -> pa.Table:
    more: dict[str, Any] = {"run_id": run_id}
    if name == store.REJECTED_TABLE:
        more |= {"reason": "truncated", "detail": "the file ends too early"}
        return pa.Table.from_pylist([{**row, **more} for row in rows], schema=store.REJECTED)
    more |= {"width": 100, "height": 80, "backbone": identity.name("litert")}
    whole = [{**row, **more, "sha256": sha256[row["path"]]} for row in rows]
    vectors = tables.vectors(np.vstack([features_of(row["path"]) for row in rows]))
    table = pa.Table.from_pylist(whole, schema=store.FEATURES)
    return table.set_column(
        table.schema.get_field_index("features"), store.FEATURES.field("features"), vectors
    )
