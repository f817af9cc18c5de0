"""Saves and loads the classifier: for NumPy, for Spark and for LiteRT, and its facts in ``model.json``.

A classifier has its own folder in ``models/``, and ``models/current_classifier.json`` names the current one.
Older ones are deleted, because the mean of a label with one photo is that photo's features.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from job.maths.calibration import Calibration
from job.maths.discriminant import Discriminant
from job.model import classifier_exports
from job.model.classifier import Classifier
from job.storage import store
from job.table import layout, sweep

LITERT_FILE: Final = "classifier.tflite"
PREFIX: Final = "lda-"  # of the names of classifiers among the models
NUMBERS: Final = ("temperature", "confidence", "known_distance", "answered_distance", "shrinkage")
ARRAYS: Final = ("mean", "axes", "centroids", "spread", "counts")


def save(classifier: Classifier, output: str, facts: Mapping[str, object], program: bytes) -> None:
    """Write the files of a classifier, ``model.json`` last.

    Parameters
    ----------
    facts : mapping
        More fields of ``model.json``.
    program : bytes
        The network as a LiteRT program.
    """
    location = store.join(output, layout.MODELS, classifier.model_id)
    store.write_bytes(store.join(location, "classifier.npz"), npz_bytes(classifier))
    for name, content in classifier_exports.spark_files(classifier).items():
        store.write_bytes(store.join(location, "spark", name), content)
    exported = classifier_exports.litert_program(classifier, program, str(facts["backbone"]))
    store.write_bytes(store.join(location, LITERT_FILE), exported)
    record = {
        "model_id": classifier.model_id,
        "labels": classifier.labels,
        "species": classifier.species,
        "litert_sha256": hashlib.sha256(exported).hexdigest(),
    }
    data = json.dumps({**record, **facts}, indent=2, ensure_ascii=False).encode()
    store.write_bytes(store.join(location, "model.json"), data)


def load(output: str, model_id: str = "") -> Classifier | None:
    """Return a classifier of an output, by default the current one; None if it is missing or damaged."""
    model_id = model_id or sweep.current_classifier_id(output)
    if not model_id:
        return None
    try:
        data = store.read_bytes(store.join(output, layout.MODELS, model_id, "classifier.npz"))
        with np.load(io.BytesIO(data)) as arrays:
            classifier = _classifier(arrays)
    except (FileNotFoundError, *store.DAMAGED_FILE_ERRORS):
        return None
    return classifier if classifier.model_id == model_id else None


def load_record(output: str, model_id: str = "") -> dict[str, Any]:
    """Return the ``model.json`` of a classifier, by default the current one; empty if missing or damaged."""
    model_id = model_id or sweep.current_classifier_id(output)
    if not model_id:
        return {}
    try:
        record = json.loads(store.read_bytes(store.join(output, layout.MODELS, model_id, "model.json")))
    except (FileNotFoundError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def set_current(output: str, model_id: str, classified: str) -> None:
    """Make a classifier the current one, ``""`` for none, and delete all others.

    `classified` tells which photos have predictions, as :func:`layout.predictions_path` has it.
    """
    if sweep.current_classifier(output) == (model_id, classified):
        return
    pointer = {"classifier_id": model_id, "classified": classified}
    data = json.dumps(pointer).encode()
    location = store.join(output, layout.CURRENT_CLASSIFIER)
    if model_id:
        store.write_bytes(location, data)
    else:
        store.delete_files([location])
    folder = store.join(output, layout.MODELS, "")
    names = {path.removeprefix(folder).split("/")[0] for path, _ in store.list_files(folder)}
    for name in names:
        if name.startswith(PREFIX) and name != model_id:
            store.delete_tree(f"{folder}{name}")


def npz_bytes(classifier: Classifier) -> bytes:
    """Return a NumPy archive.

    With root features ``r = sqrt(x / sum(x))`` and ``z = (r - mean) @ axes.T``, the probability of a label is
    proportional to ``exp(-|z - centroid|² / (2·temperature))``.
    """
    fitted, bounds = classifier.discriminant, classifier.calibration
    numbers = {name: getattr(bounds if hasattr(bounds, name) else fitted, name) for name in NUMBERS}
    arrays = {name: getattr(fitted, name) for name in ARRAYS}
    sink = io.BytesIO()
    labels = np.frombuffer(json.dumps(classifier.labels).encode(), np.uint8)
    held_out = np.int64(bounds.photos)
    content: dict[str, Any] = {"labels": labels, "held_out": held_out, **numbers, **arrays}
    np.savez(sink, **content)
    return sink.getvalue()


def _classifier(arrays: Mapping[str, Any]) -> Classifier:
    numbers = {name: float(arrays[name]) for name in NUMBERS}
    shrinkage = numbers.pop("shrinkage")
    labels = tuple(json.loads(arrays["labels"].tobytes()))
    fitted = Discriminant(labels=labels, shrinkage=shrinkage, **{name: arrays[name] for name in ARRAYS})
    return Classifier(fitted, Calibration(photos=int(arrays["held_out"]), **numbers))
