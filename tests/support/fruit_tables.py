"""Tables of invented photos whose features tell their labels apart, for tests of the classifier."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from job.maths.grouped_moments import TableMoments
from job.model import classifier, incremental_moments, labelled_rows
from job.model.classifier import Classifier
from job.table import files, layout, schema
from job.table.layout import DataFile

WIDTH: Final = 32
LABELS: Final = ("Apple Red 1", "Apple Red 2", "Kiwi", "Lemon")
CENTRES: Final = np.random.default_rng(0).random((len(LABELS), WIDTH)) * 2 + 1


def features(label: str, count: int, seed: int) -> NDArray[np.float32]:
    """Return features ``(count, 32)`` of photos of a label; another label's are far from all."""
    rng = np.random.default_rng(seed)
    is_known = label in LABELS
    centre = CENTRES[LABELS.index(label)] if is_known else rng.permutation(CENTRES[0]) ** 3
    return np.abs(centre + rng.normal(size=(count, WIDTH)) * 0.3).astype(np.float32)


def add_photos(
    output: str,
    number: int,
    split: str | None = "Training",
    labels: Sequence[str | None] = LABELS,
    count: int = 12,
) -> DataFile:
    """Write a file of `count` photos of each label, ``/split/label/number-row.jpg``; no commit names it."""
    rows = []
    for place, label in enumerate(labels):
        vectors = features(label or "", count, 100 * number + place)
        for row, vector in enumerate(vectors):
            path = f"/{split}/{label}/{number}-{row}.jpg"
            rows.append({"path": path, "label": label, "split": split, "features": vector.tolist()})
    name = layout.data_path(layout.FEATURIZED, 1, number, 0)
    return files.write(output, name, pa.Table.from_pylist(rows, schema.PHOTOS))


def moments_of(output: str, data_files: Sequence[DataFile]) -> TableMoments:
    """Return the moments of some files."""
    return incremental_moments.file_moments(output, data_files)


def fit(output: str, data_files: Sequence[DataFile]) -> Classifier | None:
    """Fit a classifier to the photos of some files."""
    moments = moments_of(output, data_files)
    assert moments.roots is not None
    group = classifier.fitted_splits(moments.roots)
    rows = labelled_rows.read(output, data_files, [group], [moments.roots.of(group).n])
    return classifier.fit(moments, rows[0])


def assert_same_classifiers(actual: Classifier | None, expected: Classifier | None) -> None:
    """Check that two classifiers are equal to 1e-9."""
    assert actual is not None
    assert expected is not None
    for part in ("discriminant", "calibration"):
        one, other = getattr(actual, part), getattr(expected, part)
        for name in other.__dataclass_fields__:
            if name == "labels":
                assert one.labels == other.labels
            else:
                np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-9, atol=1e-9)
