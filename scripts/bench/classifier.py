"""The figures of measure (n): the answers of the job's classifier to what it knows and to what it does not.

``python -m scripts.bench.classifier OUTPUT --cache C`` prints them as JSON. It reads the features in an
output of the job, and fits with the job's own functions: to Training, and again without each species and
without some varieties. Changed photos of Test go through the job's decoder and network.
"""

import argparse
import json
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from job.errors import UsageError
from job.maths.calibration import LabelledRows
from job.maths.grouped_moments import TableAccumulator
from job.model import classifier, incremental_moments, labelled_rows, saved_classifier
from job.model.classifier import STATES, TEST, TRAINING, Classifier, species_of
from job.network import backbone
from job.network.backbone import Network
from job.photos.decode import decode
from job.table import commits, layout
from scripts.bench.changed_photos import CHANGES, NO_FRUIT, Pixels, png
from scripts.fruit import draw

PREDICTIONS_TIMED: Final = 5

Figures = dict[str, float]


def fit(training: LabelledRows) -> Classifier:
    """Fit and calibrate the job's classifier.

    Raises
    ------
    UsageError
        If there can be none.
    """
    accumulator = TableAccumulator(training.rows.shape[1])
    accumulator.add(training.rows, training.splits, training.labels)
    fitted = classifier.fit(accumulator.moments(), training)
    if fitted is None:
        raise UsageError("no classifier: there are too few photos of each label")
    return fitted


def subset(photos: LabelledRows, labels: Collection[str]) -> LabelledRows:
    """Return the photos with one of these labels."""
    numbers = [number for number, label in enumerate(photos.labels) if label in labels]
    columns = (photos.paths, photos.labels, photos.splits)
    paths, own_labels, splits = ([column[number] for number in numbers] for column in columns)
    return LabelledRows(paths, own_labels, splits, photos.rows[numbers])


def answers(fitted: Classifier, rows: NDArray[np.float32], labels: Sequence[str] | None = None) -> Figures:
    """Return the shares of the states of a classifier's answers.

    With the true `labels`, also the share of right labels and of right species among all photos, whatever
    the state, and the share of photos that are known under a wrong label.
    """
    predictions = fitted.predict(rows)
    states = np.bincount(predictions.state, minlength=len(STATES)) / len(rows)
    figures: Figures = {"photos": len(rows), **dict(zip(STATES, map(float, states), strict=True))}
    if labels is not None:
        named = np.array(fitted.labels)[predictions.labels[:, 0]]
        species = np.array(fitted.species)[predictions.species]
        is_right = named == np.array(labels)
        figures["label_right"] = float(is_right.mean())
        figures["species_right"] = float((species == [species_of(label) for label in labels]).mean())
        figures["known_wrong"] = float((~is_right & (predictions.state == STATES.index("known"))).mean())
    return figures


def auroc(unknown: NDArray[np.float64], known: NDArray[np.float64]) -> float:
    """Return the probability that an unknown photo's distance is greater than a known one's."""
    ordered = np.sort(known)
    smaller = np.searchsorted(ordered, unknown, "left") + np.searchsorted(ordered, unknown, "right")
    return float(smaller.mean() / (2 * len(known)))


def unknown_species(training: LabelledRows, test: LabelledRows) -> dict[str, Figures]:
    """Return the answers for the photos of each species of Test by a classifier that was fitted without it.

    ``auroc`` compares the distances of its photos with those of the other photos of Test.
    """
    figures = {}
    labels = {*training.labels, *test.labels}
    for species in sorted({species_of(label) for label in test.labels}):
        own = {label for label in labels if species_of(label) == species}
        fitted = fit(subset(training, labels - own))
        unknown, known = subset(test, own).rows, subset(test, labels - own).rows
        distances = (fitted.predict(rows).distance for rows in (unknown, known))
        figures[species] = {**answers(fitted, unknown), "auroc": auroc(*distances)}
    return figures


def unknown_varieties(training: LabelledRows, test: LabelledRows, most: int) -> dict[str, Figures]:
    """Return the answers for the photos of labels by classifiers that know other labels of their species.

    At most `most` labels are left out in turn, at even distances.
    """
    labels = sorted(set(training.labels))
    species = [species_of(label) for label in labels]
    varieties = [label for label in labels if label in test.labels and species.count(species_of(label)) > 1]
    figures = {}
    for label in (varieties[place] for place in evenly_spaced(len(varieties), most)):
        fitted = fit(subset(training, {*labels} - {label}))
        unknown = subset(test, {label})
        figures[label] = answers(fitted, unknown.rows, unknown.labels)
    return figures


def changed_photos(fitted: Classifier, test: LabelledRows, network: Network, most: int) -> dict[str, Figures]:
    """Return the answers for some photos of Test, as they are and changed, and for pictures of no photo."""
    numbers = evenly_spaced(len(test.paths), most)
    labels = [test.labels[number] for number in numbers]
    photos = [np.asarray(Image.open(test.paths[number]).convert("RGB")) for number in numbers]
    figures = {"as they are": answers(fitted, test.rows[numbers], labels)}
    for name, change in CHANGES.items():
        rows = features((change(photo, np.random.default_rng(n)) for n, photo in enumerate(photos)), network)
        figures[name] = answers(fitted, rows, labels)
    no_fruit = (
        NO_FRUIT[number % len(NO_FRUIT)](draw.SIDE, np.random.default_rng(number)) for number in range(most)
    )
    figures["no fruit"] = answers(fitted, features(no_fruit, network))
    drawn = (
        np.asarray(draw.draw_photo(kind, draw.photo_seed(0, kind, number)))
        for kind in draw.KINDS
        for number in range(max(most // len(draw.KINDS), 1))
    )
    figures["drawn fruit"] = answers(fitted, features(drawn, network))
    return figures


def features(pictures: Iterable[Pixels], network: Network) -> NDArray[np.float32]:
    """Return the features ``(n, 1280)`` of pictures, by way of the job's decoder."""
    return np.vstack([network(decode(png(picture)).pixels) for picture in pictures])


def evenly_spaced(count: int, most: int) -> list[int]:
    """Return at most `most` of the numbers below `count`, at even distances."""
    chosen = min(count, most)
    return [place * count // chosen for place in range(chosen)]


def measure(output: str, network: Network, photos: int, varieties: int) -> dict[str, Any]:
    """Return all figures of an output's classifier."""
    table = commits.load(output)
    featurized = table.files_of(layout.FEATURIZED) if table else []
    groups = [TRAINING], [TEST]
    roots = incremental_moments.file_moments(output, featurized).roots
    sizes = [roots.of(group).n if roots else 0 for group in groups]
    training, test = labelled_rows.read(output, featurized, groups, sizes)
    if not test.labels:
        raise UsageError("there is no photo of Test")
    start = time.perf_counter()
    fitted = fit(training)
    fit_seconds = time.perf_counter() - start
    seconds = []
    for _ in range(PREDICTIONS_TIMED):
        start = time.perf_counter()
        fitted.predict(test.rows)
        seconds.append(time.perf_counter() - start)
    return {
        "training_photos": len(training.labels),
        "labels": len(fitted.labels),
        "fit_seconds": fit_seconds,
        "predict_seconds": min(seconds) / len(test.labels),
        "bytes": len(saved_classifier.npz_bytes(fitted)),
        "test": {**classifier.score(fitted, test)[0], **answers(fitted, test.rows, test.labels)},
        "unknown_species": unknown_species(training, test),
        "unknown_varieties": unknown_varieties(training, test, varieties),
        "changed": changed_photos(fitted, test, network, photos),
    }


def main() -> None:
    """Measure an output's classifier and print the figures as JSON."""
    parser = argparse.ArgumentParser(description="Measure the classifier of an output.")
    parser.add_argument("output", type=Path)
    parser.add_argument("--cache", type=Path, required=True, help="the folder of the converted network")
    parser.add_argument("--photos", type=int, default=600, help="photos of Test to change (default 600)")
    parser.add_argument("--varieties", type=int, default=24, help="varieties to leave out (default 24)")
    options = parser.parse_args()
    program = backbone.load("litert", None, options.cache)
    network = backbone.network(program.engine, program.key, lambda: program.payload)
    print(json.dumps(measure(str(options.output.absolute()), network, options.photos, options.varieties)))


if __name__ == "__main__":
    main()
