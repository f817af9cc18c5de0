"""Outputs of runs without Spark, without the network and without real photos.

The runs are the job's own, except that this process does the workers' part. It decodes no photo: it draws the
features from a photo's path, so that a photo has the same features in every output.
"""

import hashlib
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from job.cli.log import Log
from job.cli.settings import parse_settings
from job.maths.grouped_moments import TableMoments
from job.model import classifier_exports, incremental_moments, labelled_rows, predictions, projection
from job.network import backbone
from job.network.backbone import FEATURES, Backbone
from job.run import checks, featurize
from job.run.featurize import Outcome
from job.run.pipeline import Pipeline
from job.storage import store
from job.table import files, layout, schema
from job.table.layout import DataFile
from tests.support.tables import snapshot

RUN_IDS: Final = ("20260101T060000Z-00000a", "20260102T060000Z-00000b")
DIRECTIONS: Final = np.random.default_rng(0).normal(size=(20, FEATURES))
NETWORK: Final = backbone.name("litert")
COMPONENTS: Final = 3
FEW: Final = 32


@dataclass(frozen=True)
class Output:
    """An output and its photos.

    Attributes
    ----------
    location, source : str
        The output, and the folder of its photos.
    good, bad : list of str
        The featurized and the rejected photos, in order.
    sha256 : dict
        The digest of every photo, by path.
    changed, missing : list of str
        The good photos whose rows the second run replaced, and those that it did not find.
    """

    location: str
    source: str
    good: list[str]
    bad: list[str]
    sha256: dict[str, str]
    changed: list[str]
    missing: list[str]


def quick(patch: pytest.MonkeyPatch) -> None:
    """For speed, give photos 32 features instead of 1280, and wait for no disk."""
    patch.setattr(os, "fsync", lambda _: None)
    for module in (
        checks,
        projection,
        predictions,
        labelled_rows,
        incremental_moments,
        sys.modules[__name__],
    ):
        patch.setattr(module, "FEATURES", FEW)
    # No network, so nothing to append the classifier to.
    patch.setattr(classifier_exports, "litert_program", lambda *_: b"a program")


def photos(folder: Path, count: int) -> str:
    """Write `count` files with the names of photos and different bytes, and return the folder."""
    for number in range(count):
        below = folder / ("Training" if number % 4 else "Test") / f"Fruit {number * 7 // max(count, 1)}"
        below.mkdir(parents=True, exist_ok=True)
        (below / f"photo-{number:05}-{number * 2654435761 % 2**32:08x}.jpg").write_bytes(b"photo %d" % number)
    return str(folder)


def make(
    location: str,
    source: str,
    cores: int = 4,
    rejected: int = 3,
    missing: int = 1,
    without: Collection[str] = (),
) -> Output:
    """Make an output by two runs on the photos of a folder; each run reads every other photo.

    Parameters
    ----------
    location, source : str
        The output, and a folder that :func:`photos` has filled, with at least 32 photos.
    cores : int
        About the number of featurized files that each run writes; many photos need more files.
    rejected : int
        The number of bad photos.
    missing : int
        The number of photos of the first run that the second does not find; one other has changed.
    without : collection of str
        Photos that are hidden from both runs.
    """
    paths = sorted(str(file) for file in Path(source).rglob("*.jpg"))
    listed = [path for path in paths if path not in without]
    sha256 = {path: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in listed}
    bad = sorted(sorted(listed, key=_digest)[:rejected])
    good = [path for path in listed if path not in bad]
    changed, *others = (path for path in listed[::2] if path in good)
    output = Output(location, source, good, bad, sha256, [changed], others[:missing])
    os.utime(changed, (0, 0))
    run(output, "--run-id", RUN_IDS[0], cores=cores, gone=[*without, *listed[1::2]])
    os.utime(changed, (1, 1))
    for path in output.missing:
        Path(path).unlink()
    run(output, "--run-id", RUN_IDS[1], cores=cores, gone=without)
    return output


def copied(output: Output, location: str) -> Output:
    """Copy an output by links, because the job changes no file in place, and return the copy."""
    shutil.copytree(output.location, location, copy_function=os.link)
    return replace(output, location=location)


def run(output: Output, *options: str, cores: int = 2, gone: Collection[str] = ()) -> dict[str, Any]:
    """Run the job while the photos of `gone` are hidden, and return its record.

    The record holds the number of cores if the run needed workers.
    """
    arguments = ["--input", output.source, "--output", output.location, "--components", str(COMPONENTS)]
    settings = parse_settings([*arguments, "--max-rejected", "1", "--refit", "never", *options], {})
    log = Log("a run", out=io.StringIO(), err=io.StringIO())
    network = Backbone("litert", b"", "", NETWORK, "nowhere")

    def stream_outcomes(listed: pa.RecordBatch, *_: object) -> Iterator[Outcome]:
        for path in listed.column("path").to_pylist():
            sha256 = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            if path in output.bad:
                yield Outcome(sha256=sha256, reason="truncated", detail="the file ends too early")
            else:
                yield Outcome(features_of(path), sha256, 100, 80)

    with _hidden(gone), pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "cpu_count", lambda: cores)
        patch.setattr(backbone, "load", lambda *_: network)
        patch.setattr(backbone, "network", lambda *_: None)
        patch.setattr(featurize, "stream_outcomes", stream_outcomes)
        return Pipeline(settings, log, _session).run()


def add_file(location: str, number: int, rows: int = 6) -> DataFile:
    """Write a file of invented photos ``/number/row``, which no commit names."""
    paths = [f"/{number}/{row}" for row in range(rows)]
    of_group = {"split": "Training" if number % 3 else "Test", "label": f"Fruit {number % 2}"}
    photo_rows = [{"path": path, "features": features_of(path), **of_group} for path in paths]
    name = layout.data_path(layout.FEATURIZED, 1, number, 0)
    return files.write(location, name, pa.Table.from_pylist(photo_rows, schema.PHOTOS))


def features_of(path: str) -> NDArray[np.float32]:
    """Return the features that a photo has in every output."""
    rng = np.random.default_rng(int(_digest(path), 16))
    signal = rng.normal(size=len(DIRECTIONS)) @ DIRECTIONS[:, :FEATURES]
    features: NDArray[np.float32] = np.abs(signal + rng.normal(size=FEATURES) * 0.1 + 3.0).astype(np.float32)
    return features


def assert_same_moments(actual: TableMoments, expected: TableMoments) -> None:
    """Check that moments are equal to 1e-9, by split and by label."""
    for part, other in ((actual.features, expected.features), (actual.roots, expected.roots)):
        assert part is not None
        assert other is not None
        assert set(part.splits) == set(other.splits)
        for split, moments in part.splits.items():
            assert moments.n == other.splits[split].n
            np.testing.assert_allclose(moments.mean, other.splits[split].mean, rtol=1e-9, atol=1e-12)
            scatter = other.splits[split].scatter
            np.testing.assert_allclose(moments.scatter, scatter, rtol=1e-9, atol=1e-9 * np.abs(scatter).max())
        assert {key: label.n for key, label in part.labels.items()} == {
            key: label.n for key, label in other.labels.items()
        }
        for key, label in part.labels.items():
            np.testing.assert_allclose(label.total, other.labels[key].total, rtol=1e-9, atol=1e-9)


def moments_of(location: str) -> TableMoments:
    """Return the moments of the featurized photos, in order of the files."""
    return incremental_moments.file_moments(location, snapshot(location).files_of(layout.FEATURIZED))


def rows_of(location: str, outcome: str) -> list[dict[str, Any]]:
    """Return the table's rows of an outcome, in order of their paths."""
    data_files = snapshot(location).files_of(outcome)
    parts = [files.read(files.location(location, file.path)).to_pylist() for file in data_files]
    return sorted(chain.from_iterable(parts), key=lambda row: row["path"])


def matrix_of(location: str) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Return the rows of ``pca``, and the lines of ``pca_csv`` without headers, in order of their paths."""
    parts = [files.read(file).to_pylist() for file, _ in store.list_files(f"{location}/{layout.PCA}")]
    csv = [store.read_bytes(file) for file, _ in store.list_files(f"{location}/{layout.PCA_CSV}")]
    lines = chain.from_iterable(data.splitlines()[1:] for data in csv)
    return sorted(chain.from_iterable(parts), key=lambda row: row["path"]), sorted(lines)


def _digest(path: str) -> str:
    """Return a digest of a path's last three parts, which is the same in every folder of photos."""
    return hashlib.sha256("/".join(path.rsplit("/", 3)[1:]).encode()).hexdigest()


@contextmanager
def _hidden(paths: Collection[str]) -> Iterator[None]:
    existing = [Path(path) for path in paths if Path(path).exists()]
    with tempfile.TemporaryDirectory() as folder:
        hidden = [shutil.move(path, Path(folder) / str(number)) for number, path in enumerate(existing)]
        try:
            yield
        finally:
            for path, place in zip(existing, hidden, strict=True):
                shutil.move(place, path)


def _session() -> Any:
    """Return a stand-in for a Spark session, which does the workers' part in this process, at once."""
    context = SimpleNamespace(
        master="local",
        defaultParallelism=2,
        broadcast=lambda value: SimpleNamespace(value=value),
        accumulator=_Reports,
        range=lambda count, **_: _Work(range(count)),
        cancelAllJobs=lambda: None,
    )
    return SimpleNamespace(version="none", sparkContext=context)


class _Reports:
    def __init__(self, value: list[Any], _: object) -> None:
        self.value = value

    def add(self, term: list[Any]) -> None:
        self.value += term


class _Work:
    def __init__(self, items: Collection[Any]) -> None:
        self._items = items

    def foreach(self, work: Callable[[Any], None]) -> None:
        self.map(work)

    def map(self, work: Callable[[Any], Any]) -> "_Work":
        return _Work([work(item) for item in self._items])

    def collect(self) -> list[Any]:
        return list(self._items)
