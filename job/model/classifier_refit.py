"""Keeps the current classifier of an output, or fits and saves a new one if labelled photos have changed."""

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv

from job.maths.grouped_moments import GroupedMoments, TableMoments
from job.model import classifier, labelled_rows, projection, saved_classifier
from job.model.classifier import TEST, TRAINING, Classifier
from job.network.backbone import Backbone
from job.storage import store
from job.table import sweep
from job.table.layout import DataFile

LIMITS: Final = (
    "It knows the labels above and no others; a photo that is unlike all of them is to be refused.",
    "Its probabilities hold for photos like those it was fitted on: same backgrounds, light and distance.",
    "The species of a label is its first word.",
)


@dataclass(frozen=True, slots=True)
class ChosenClassifier:
    """The classifier of an output, None if there can be none, and its part of a run's record."""

    classifier: Classifier | None
    record: dict[str, Any]


def choose_classifier(
    output: str,
    featurized: Sequence[DataFile],
    moments: TableMoments,
    backbone_name: str,
    confusion_file: str,
    load_network: Callable[[], Backbone],
) -> ChosenClassifier:
    """Return the current classifier if its photos are still those of the table, or a new one.

    A new one is saved, and its confusions on the photos of Test are written as a file.

    Parameters
    ----------
    backbone_name : str
        Name of the network and decoder of the features.
    confusion_file : str
        The file's name below the output.
    load_network : callable
        Returns the network as a LiteRT program; called only for a new classifier.
    """
    fingerprint = _fingerprint(moments, backbone_name)
    model_id = sweep.current_classifier_id(output)
    record = saved_classifier.load_record(output, model_id) if model_id else {}
    current = saved_classifier.load(output, model_id) if model_id else None
    if current is not None and record.get("fingerprint") == fingerprint:
        return ChosenClassifier(current, {**record["summary"], "fitted_now": False})
    if reason := classifier.obstacle(moments):
        return ChosenClassifier(None, {"reason": reason})
    assert moments.roots is not None
    splits = classifier.fitted_splits(moments.roots)
    groups = [splits] if splits == [TEST] else [splits, [TEST]]
    sizes = [moments.roots.of(group).n for group in groups]
    training, *test = labelled_rows.read(output, featurized, groups, sizes)
    fitted = classifier.fit(moments, training)
    if fitted is None:
        return ChosenClassifier(
            None, {"reason": "there are too few photos of each label to calibrate a classifier"}
        )
    summary: dict[str, Any] = {
        "model_id": fitted.model_id,
        "labels": len(fitted.labels),
        "species": len(fitted.species),
        "fitted_on": _name_of(splits, moments.roots),
        "photos": int(fitted.discriminant.counts.sum()),
        "shrinkage": fitted.discriminant.shrinkage,
        "temperature": fitted.calibration.temperature,
        "test": None,
        "confusion": None,
    }
    if test and test[0].paths:
        summary["test"], confusions = classifier.score(fitted, test[0])
        summary["confusion"] = confusion_file
        store.write_bytes(store.join(output, confusion_file), confusion_csv(confusions))
    facts = {"backbone": backbone_name, "fingerprint": fingerprint, "summary": summary, "limits": LIMITS}
    program = load_network().payload
    assert isinstance(program, bytes), "a LiteRT program"
    saved_classifier.save(fitted, output, facts, program)
    return ChosenClassifier(fitted, {**summary, "fitted_now": True})


def confusion_csv(confusions: Counter[tuple[str, str]]) -> bytes:
    """Return how often photos of one label were taken for another, or for their own, as CSV."""
    rows = sorted((label, named, photos) for (label, named), photos in confusions.items())
    columns = dict(zip(("label", "predicted", "photos"), zip(*rows, strict=True), strict=True))
    table = pa.table({name: list(values) for name, values in columns.items()})
    for place, name in enumerate(("label", "predicted")):
        table = table.set_column(place, name, projection.without_formulas(table[name]))
    sink = io.BytesIO()
    pyarrow.csv.write_csv(table, sink)
    return sink.getvalue()


def _name_of(splits: Sequence[str], moments: GroupedMoments) -> str:
    """Return what a classifier was fitted on: ``Training``, ``all`` or ``all but Test``."""
    if list(splits) == [TRAINING]:
        return TRAINING
    return "all" if len(splits) == len(moments.splits) else f"all but {TEST}"


def _fingerprint(moments: TableMoments, backbone: str) -> str:
    """Return a hash of what a classifier and its scores are made from: it changes with any labelled photo."""
    digest = hashlib.sha256(backbone.encode())
    for key, label in sorted(moments.roots.labels.items()) if moments.roots else ():
        digest.update(repr((*key, label.n)).encode())
        digest.update(label.total.astype("<f8").tobytes())
    return digest.hexdigest()
