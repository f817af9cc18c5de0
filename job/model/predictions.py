"""Writes the table ``predictions``: for each file of featurized photos one file of the classifier's answers.

It holds the answers of the current classifier only; those of others are deleted when a command ends.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from job.model.classifier import STATES, TOP, Classifier
from job.network.backbone import FEATURES
from job.storage import store
from job.table import files, layout, schema
from job.table.layout import DataFile

KEY_COLUMNS = schema.PREDICTIONS.names[:3]


def update(
    output: str,
    featurized: Sequence[DataFile],
    model_id: str,
    photos: str,
    classify: Callable[[Sequence[DataFile]], object],
) -> int:
    """Bring the predictions of a classifier up to date with the table's featurized files.

    `photos` is ``all``, or ``unlabelled`` for those without a label that the classifier knows. `classify`
    writes the predictions of some files. The result is the number of photos in these files.
    """
    folder = store.join(output, layout.predictions_path("", model_id, photos)).rpartition("/")[0]
    existing = {location for location, _ in store.list_files(folder)}
    missing = [
        file
        for file in featurized
        if store.join(output, layout.predictions_path(file.path, model_id, photos)) not in existing
    ]
    if missing:
        classify(missing)
    return sum(file.rows for file in missing)


def write_file(output: str, path: str, classifier: Classifier, photos: str) -> None:
    """Write the predictions of one file of featurized photos; the file may have no rows."""
    tables = [schema.PREDICTIONS.empty_table()]
    for batch in files.batches([files.location(output, path)], [*KEY_COLUMNS, "features"]):
        rows = batch
        if photos == layout.UNLABELLED:
            is_known = pc.is_in(batch.column("label"), pa.array(classifier.labels, pa.string()))
            rows = batch.filter(pc.invert(is_known))
        if len(rows):
            keys = {name: rows.column(name) for name in KEY_COLUMNS}
            matrix = files.matrix(rows.column("features"), FEATURES)
            tables.append(pa.table({**keys, **_columns(classifier, matrix)}).cast(schema.PREDICTIONS))
    name = layout.predictions_path(path, classifier.model_id, photos)
    store.write_bytes(store.join(output, name), files.parquet_bytes(pa.concat_tables(tables)))


def _columns(classifier: Classifier, rows: NDArray[np.float32]) -> dict[str, Any]:
    """Return the columns of the answers for features ``(n, d)``."""
    answers = classifier.predict(rows)
    columns: dict[str, Any] = {
        "state": np.array(STATES)[answers.state],
        "species": np.array(classifier.species)[answers.species],
        "species_probability": answers.species_probability,
        "distance": answers.distance,
    }
    labels = np.array(classifier.labels)
    for place in range(TOP):
        exists = place < answers.labels.shape[1]
        empty = pa.nulls(len(rows))
        columns[f"label_{place + 1}"] = labels[answers.labels[:, place]] if exists else empty
        columns[f"probability_{place + 1}"] = answers.probabilities[:, place] if exists else empty
    return {name: columns[name] for name in schema.PREDICTIONS.names if name in columns}
