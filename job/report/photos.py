"""The photos that a report shows: reads their rows in bounded memory, and chooses which of them get pictures.

It stands first in the making of a report, and gives plain arrays to the other modules.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Final, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from job.maths.pca import Pca
from job.model.classifier import Classifier, Predictions
from job.report.markup import html, json_text
from job.table import files, layout
from job.table.commits import Snapshot
from job.table.layout import DataFile

T = TypeVar("T")

MOST_READ: Final = 100_000  # photos whose features are read: 0.5 GB of the table
MOST_REJECTS: Final = 2_000
MOST_REJECT_BYTES: Final = 1_000_000  # of their rows on the page, which has each path twice
SCORES: Final = 128  # principal components that are kept of each photo, to find near duplicates
COLUMNS: Final = ("path", "label", "split", "bytes", "sha256", "features")
REJECT_COLUMNS: Final = ("path", "label", "split", "reason", "detail")

ANSWERS: Final = tuple(field.name for field in fields(Predictions))


@dataclass(frozen=True, slots=True)
class Photos:
    """Photos with features, n of them, in order of their paths.

    Attributes
    ----------
    paths, labels, splits, sha256 : lists of n str
        ``""`` for what a photo has not.
    bytes : list of n int
        Sizes of the files.
    scores : array (n, s) float32
        The first principal components, 2 to `SCORES` of them; zeros stand for components that a model lacks.
    distance : array (n,) float64
        How unusual a photo is: the classifier's relative distance; without a classifier, the root mean
        square of the components, each divided by its standard deviation.
    plane : array (n, 2) float64, or None
        The classifier's plane.
    predictions : Predictions or None
        The classifier's answers.
    """

    paths: list[str]
    labels: list[str]
    splits: list[str]
    sha256: list[str]
    bytes: list[int]
    scores: NDArray[np.float32]
    distance: NDArray[np.float64]
    plane: NDArray[np.float64] | None
    predictions: Predictions | None

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, numbers: NDArray[np.int64]) -> "Photos":
        """Return some of the photos, by their positions ``(m,)``."""

        def chosen(column: list[T]) -> list[T]:
            return [column[number] for number in numbers]

        answers = self.predictions
        return Photos(
            paths=chosen(self.paths),
            labels=chosen(self.labels),
            splits=chosen(self.splits),
            sha256=chosen(self.sha256),
            bytes=chosen(self.bytes),
            scores=self.scores[numbers],
            distance=self.distance[numbers],
            plane=None if self.plane is None else self.plane[numbers],
            predictions=answers and Predictions(*(getattr(answers, name)[numbers] for name in ANSWERS)),
        )


@dataclass(frozen=True, slots=True)
class Rejects:
    """Rejected photos: the first rows in order of their paths, and the number of all by reason."""

    rows: list[dict[str, str]]
    reasons: dict[str, int]

    @property
    def total(self) -> int:
        """The number of rejected photos in the table."""
        return sum(self.reasons.values())


def read(output: str, snapshot: Snapshot, model: Pca, classifier: Classifier | None) -> Photos:
    """Return the photos of a table with what the models say of them; of many, those of some whole files.

    Raises
    ------
    OSError
        If a file of the table cannot be read.
    """
    width = len(model.mean)
    spread = np.sqrt(model.explained_variance)
    parts: list[Photos] = []
    chosen = _files_to_read(snapshot.files_of(layout.FEATURIZED))
    for batch in files.batches((files.location(output, file.path) for file in chosen), list(COLUMNS)):
        rows = files.matrix(batch.column("features"), width)
        scores = model.project(rows)
        answers = classifier.predict(rows) if classifier else None
        kept = np.zeros((len(rows), min(max(model.k, 2), SCORES)), np.float32)
        kept[:, : model.k] = scores[:, : kept.shape[1]]
        parts.append(
            Photos(
                paths=_texts(batch, "path"),
                labels=_texts(batch, "label"),
                splits=_texts(batch, "split"),
                sha256=_texts(batch, "sha256"),
                bytes=batch.column("bytes").to_pylist(),
                scores=kept,
                distance=answers.distance if answers else np.sqrt(((scores / spread) ** 2).mean(axis=1)),
                plane=classifier.plane(rows) if classifier else None,
                predictions=answers,
            )
        )
    photos = _joined(parts)
    return photos.take(np.array(sorted(range(len(photos)), key=photos.paths.__getitem__), np.int64))


def read_rejects(output: str, snapshot: Snapshot) -> Rejects:
    """Return the rejected photos of a table, at most `MOST_REJECTS` with their rows: fewer of long paths."""
    reasons: Counter[str] = Counter()
    rows: list[dict[str, str]] = []
    locations = [files.location(output, file.path) for file in snapshot.files_of(layout.REJECTED)]
    for batch in files.batches(locations, list(REJECT_COLUMNS)):
        columns = [_texts(batch, name) for name in REJECT_COLUMNS]
        reasons.update(columns[REJECT_COLUMNS.index("reason")])
        rows += [dict(zip(REJECT_COLUMNS, values, strict=True)) for values in zip(*columns, strict=True)]
        rows = sorted(rows, key=lambda row: row["path"])[:MOST_REJECTS]
    sizes = np.cumsum([_bytes_on_page(row) for row in rows])
    return Rejects(rows[: int((sizes <= MOST_REJECT_BYTES).sum())], dict(reasons.most_common()))


def choose(photos: Photos, most: int, kept: Collection[int] = ()) -> NDArray[np.int64]:
    """Return the positions of at most `most` photos, sorted: the first ones of :func:`order`."""
    if len(photos) <= most:
        return np.arange(len(photos), dtype=np.int64)
    return np.sort(order(photos, kept)[:most])


def order(photos: Photos, kept: Collection[int] = ()) -> NDArray[np.int64]:
    """Return the positions of all photos, such that the first ones are a sample: `kept`, then the others.

    Each label and split gives its share, and at least one photo as long as there is room. The order within
    them is that of a hash of the paths, so the same photos give the same sample.
    """
    digests = [hashlib.blake2b(path.encode(), digest_size=8).digest() for path in photos.paths]
    groups = list(zip(photos.labels, photos.splits, strict=True))
    sizes, seen = Counter(groups), Counter[tuple[str, str]]()
    first = set(kept)
    ranked: list[tuple[float, bytes, int]] = []
    for number in sorted(range(len(photos)), key=digests.__getitem__):
        group = groups[number]
        place = (seen[group] + 0.5) / sizes[group] if seen[group] else 0.0
        seen[group] += 1
        ranked.append((-1.0 if number in first else place, digests[number], number))
    return np.array([number for *_, number in sorted(ranked)], np.int64)


def _files_to_read(data_files: Sequence[DataFile]) -> list[DataFile]:
    """Return all files, or as many as hold `MOST_READ` photos, in an order that depends on no photo."""
    chosen: list[DataFile] = []
    rows = 0
    for file in sorted(data_files, key=lambda file: layout.random_part(file.path)):
        if chosen and rows + file.rows > MOST_READ:
            break
        chosen.append(file)
        rows += file.rows
    return chosen


def _bytes_on_page(row: Mapping[str, str]) -> int:
    texts = json_text([row["path"], row["label"]]), html(row["path"]), html(row["detail"])
    return len("".join(texts).encode(errors="backslashreplace"))


def _texts(batch: pa.RecordBatch, name: str) -> list[str]:
    return [text or "" for text in batch.column(name).to_pylist()]


def _joined(parts: Sequence[Photos]) -> Photos:
    """Return the photos of all parts."""
    planes = [part.plane for part in parts if part.plane is not None]
    answers = [part.predictions for part in parts if part.predictions is not None]
    return Photos(
        paths=[path for part in parts for path in part.paths],
        labels=[label for part in parts for label in part.labels],
        splits=[split for part in parts for split in part.splits],
        sha256=[digest for part in parts for digest in part.sha256],
        bytes=[size for part in parts for size in part.bytes],
        scores=np.concatenate([part.scores for part in parts]),
        distance=np.concatenate([part.distance for part in parts]),
        plane=np.concatenate(planes) if planes else None,
        predictions=_joined_answers(answers) if answers else None,
    )


def _joined_answers(parts: Sequence[Predictions]) -> Predictions:
    return Predictions(*(np.concatenate([getattr(part, name) for part in parts]) for name in ANSWERS))
