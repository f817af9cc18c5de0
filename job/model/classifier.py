"""The classifier of an output: which fruit a photo shows, or that it shows none that the classifier knows.

It is fitted to the saved moments, calibrated on held-out photos and scored on the photos of Test. Its answers
are *known* (a label), *unsure* (a species, but not which variety) or *unlike* anything that it was fitted on.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from job.maths import calibration, discriminant
from job.maths.calibration import Calibration, LabelledRows
from job.maths.discriminant import Discriminant
from job.maths.grouped_moments import MOST_LABELS, GroupedMoments, TableMoments
from job.maths.root_features import root_features

STATES: Final = ("known", "unsure", "unlike")
TOP: Final = 3  # labels of an answer
TRAINING: Final = "Training"
TEST: Final = "Test"


def species_of(label: str) -> str:
    """Return the species of a label, its first word: ``Apple`` for ``Apple Red 1``."""
    return label.split(maxsplit=1)[0] if label.strip() else label


def fitted_splits(moments: GroupedMoments) -> list[str]:
    """Return the splits to fit a classifier on: Training; without it, all but Test; without others, Test."""
    if TRAINING in moments.splits:
        return [TRAINING]
    return sorted(set(moments.splits) - {TEST}) or sorted(moments.splits)


def obstacle(moments: TableMoments) -> str | None:
    """Return why there can be no classifier of these photos, as far as their moments tell."""
    if moments.roots is None:
        return f"there are more than {MOST_LABELS:,} labels"
    labels = discriminant.label_sums(moments.roots, fitted_splits(moments.roots))
    return None if len(labels) > 1 else f"a classifier needs two labels, and there are {len(labels)}"


@dataclass(frozen=True, slots=True)
class Predictions:
    """The answers for n photos.

    Attributes
    ----------
    labels : array (n, 3) int64
        Numbers of the most probable labels, best first; with two labels in all, ``(n, 2)``.
    probabilities : array (n, 3) float64
        Their probabilities.
    species : array (n,) int64
        Number of the species of the most probable label.
    species_probability : array (n,) float64
        The sum of the probabilities of its labels.
    distance : array (n,) float64
        Relative distance from the most probable label.
    state : array (n,) int64
        Index into `STATES`.
    """

    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    species: NDArray[np.int64]
    species_probability: NDArray[np.float64]
    distance: NDArray[np.float64]
    state: NDArray[np.int64]


@dataclass(frozen=True)
class Classifier:
    """A fitted and calibrated classifier."""

    discriminant: Discriminant
    calibration: Calibration

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in alphabetical order."""
        return self.discriminant.labels

    @cached_property
    def species(self) -> tuple[str, ...]:
        """The species of the labels, in alphabetical order."""
        return tuple(sorted({species_of(label) for label in self.labels}))

    @property
    def model_id(self) -> str:
        """A name made of a hash of the arrays: the same fit has the same name."""
        digest = hashlib.sha256("\n".join(self.labels).encode())
        fitted, bounds = self.discriminant, self.calibration
        arrays: list[Any] = [fitted.mean, fitted.axes, fitted.centroids, fitted.spread]
        arrays.append(
            [bounds.temperature, bounds.confidence, bounds.known_distance, bounds.answered_distance]
        )
        for array in arrays:
            digest.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
        return f"lda-{len(self.labels)}-{digest.hexdigest()[:12]}"

    def plane(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """Return the coordinates ``(n, 2)`` of features ``(n, d)`` that separate the labels best."""
        coordinates = self.discriminant.coordinates(root_features(rows))[:, :2]
        return np.pad(coordinates, ((0, 0), (0, 2 - coordinates.shape[1])))

    def predict(self, rows: NDArray[Any]) -> Predictions:
        """Return the answers for features ``(n, d)``."""
        coordinates = self.discriminant.coordinates(root_features(rows))
        distances = self.discriminant.distances(coordinates)
        relative = distances.min(axis=1) - self.discriminant.background(coordinates)
        return self.answers(distances, relative)

    def answers(self, distances: NDArray[np.float64], relative: NDArray[np.float64]) -> Predictions:
        """Return the answers from squared distances ``(n, c)`` and relative distances ``(n,)``.

        Labels are in order of their distances, because very small probabilities are 0.
        """
        probabilities = self.calibration.probabilities(distances)
        numbers = {name: number for number, name in enumerate(self.species)}
        species_of_label = np.array([numbers[species_of(label)] for label in self.labels])
        top = np.argsort(distances, axis=1, kind="stable")[:, :TOP]
        species = species_of_label[top[:, 0]]
        is_of_species = species_of_label[np.newaxis, :] == species[:, np.newaxis]
        species_probability = (probabilities * is_of_species).sum(axis=1)
        bounds = self.calibration
        is_known = (probabilities.max(axis=1) >= bounds.confidence) & (relative <= bounds.known_distance)
        is_answered = (species_probability >= bounds.confidence) & (relative <= bounds.answered_distance)
        return Predictions(
            labels=top,
            probabilities=np.take_along_axis(probabilities, top, axis=1),
            species=species,
            species_probability=species_probability,
            distance=relative,
            state=np.where(is_known, 0, np.where(is_answered, 1, 2)),
        )


def fit(moments: TableMoments, training: LabelledRows) -> Classifier | None:
    """Fit and calibrate a classifier.

    Parameters
    ----------
    moments : TableMoments
        Of all photos, without an :func:`obstacle`.
    training : LabelledRows
        Photos of :func:`fitted_splits`, all or many, to be held out in turn.

    Returns
    -------
    Classifier or None
        None if there are too few photos of each label.
    """
    assert moments.roots is not None
    splits = fitted_splits(moments.roots)
    own = {split: moments.roots.splits[split] for split in splits}
    sums = {key: label for key, label in moments.roots.labels.items() if key[0] in splits}
    sample = replace(training, rows=root_features(training.rows))
    total = GroupedMoments(moments.roots.width, own, sums)
    shrinkage, held_out = calibration.cross_validate(sample, total, splits)
    bounds = calibration.calibrate(held_out)
    fitted = discriminant.fit(total, splits, shrinkage)
    return Classifier(fitted, bounds) if bounds is not None and fitted is not None else None


def score(classifier: Classifier, photos: LabelledRows) -> tuple[dict[str, Any], Counter[tuple[str, str]]]:
    """Return how good a classifier's answers are for labelled photos, and their confusions.

    The keys of the confusions are a photo's own label and the most probable one.
    """
    predictions = classifier.predict(photos.rows)
    named = [classifier.labels[number] for number in predictions.labels[:, 0]]
    species = [classifier.species[number] for number in predictions.species]
    is_right = np.array([label == name for label, name in zip(photos.labels, named, strict=True)])
    is_species = np.array(
        [species_of(label) == name for label, name in zip(photos.labels, species, strict=True)]
    )
    is_known = predictions.state == 0
    states = np.bincount(predictions.state, minlength=len(STATES)).tolist()
    figures = {
        "photos": len(named),
        "label_accuracy": float(is_right.mean()),
        "species_accuracy": float(is_species.mean()),
        "known_accuracy": float(is_right[is_known].mean()) if is_known.any() else None,
        "calibration_error": calibration.calibration_error(predictions.probabilities[:, 0], is_right),
        "states": dict(zip(STATES, states, strict=True)),
    }
    return figures, Counter(zip(photos.labels, named, strict=True))
