"""Calibration of the classifier: shrinkage, probabilities, and the bounds beyond which it does not answer.

All of it is chosen on held-out photos. They are held out in blocks of neighbouring frames, because the frames
of one fruit are nearly equal: with its neighbours in the fit, a frame would look easier than a new photo.
"""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import astuple, dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from job.maths import discriminant
from job.maths.grouped_moments import GroupedAccumulator, GroupedMoments

BLOCKS: Final = 10
BLOCKS_FOR_SHRINKAGE: Final = 3
SHRINKAGES: Final = (0.02, 0.1, 0.5)
MIN_HELD_OUT: Final = 20  # photos; fewer say nothing of a quantile of 98 %
RIGHT_WHEN_KNOWN: Final = 0.99
KNOWN_QUANTILE: Final = 0.95
ANSWERED_QUANTILE: Final = 0.98
LEAST_CONFIDENCE: Final = 0.5
NEVER: Final = 2.0  # a confidence that no probability reaches
BINS: Final = 15  # of the expected calibration error
# Below 1, answers would be surer than the fit itself allows: held-out photos without an error ask for that.
TEMPERATURES: Final = (1.0, 1e6)
HALVINGS: Final = 60


@dataclass(frozen=True, slots=True)
class Calibration:
    """What held-out photos say of a classifier's answers.

    Attributes
    ----------
    temperature : float
        Divisor of squared distances ``d² / 2`` before the softmax.
    confidence : float
        Smallest probability with which an answer counts as known: 99 % of the held-out answers were right.
    known_distance, answered_distance : float
        95 % and 98 % of the held-out photos had a smaller relative distance.
    photos : int
        Number of held-out photos.
    """

    temperature: float
    confidence: float
    known_distance: float
    answered_distance: float
    photos: int

    def probabilities(self, distances: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probabilities ``(n, c)`` of labels from squared distances ``(n, c)``."""
        return softmax(distances, self.temperature)


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """Labelled photos: n paths, labels and splits, ``""`` for no split, and features ``(n, d)``."""

    paths: list[str]
    labels: list[str]
    splits: list[str]
    rows: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Held-out photos as a fit without them sees them.

    Attributes
    ----------
    distances : array (n, c) float64
        Squared distances from the labels; infinite from labels that the fit did not have.
    background : array (n,) float64
        Squared distances from the mean of all, see :meth:`Discriminant.background`.
    truth : array (n,) int64
        Numbers of the photos' own labels.
    """

    distances: NDArray[np.float64]
    background: NDArray[np.float64]
    truth: NDArray[np.int64]

    @property
    def is_right(self) -> NDArray[np.bool_]:
        """Whether each photo is nearest to its own label ``(n,)``."""
        right: NDArray[np.bool_] = self.distances.argmin(axis=1) == self.truth
        return right


def blocks(paths: Sequence[str], labels: Sequence[str]) -> list[list[int]]:
    """Divide photos into ten blocks, and return the positions of each block's photos.

    Each block has a tenth of each label's photos, neighbours by name.
    """
    order = sorted(range(len(paths)), key=lambda number: (labels[number], natural_key(paths[number])))
    counts, starts = Counter(labels), dict[str, int]()
    numbers_by_block: list[list[int]] = [[] for _ in range(BLOCKS)]
    for rank, number in enumerate(order):
        label = labels[number]
        place = rank - starts.setdefault(label, rank)
        numbers_by_block[place * BLOCKS // counts[label]].append(number)
    return [numbers for numbers in numbers_by_block if numbers]


def cross_validate(
    sample: LabelledRows, total: GroupedMoments, splits: Collection[str]
) -> tuple[float, HeldOut]:
    """Hold out each block in turn, and return the shrinkage to fit with, and the photos as held out with it.

    It is the largest shrinkage whose errors on some blocks are within one standard error of the least.
    `total` are the moments of all photos of some splits. If the sample is only a part of these, it is held
    out at once, because it has a share of neighbouring frames of each label already.
    """
    is_all = len(sample.paths) == total.n
    parts = blocks(sample.paths, sample.labels) if is_all else [list(range(len(sample.paths)))]
    first, rest = parts[:BLOCKS_FOR_SHRINKAGE], parts[BLOCKS_FOR_SHRINKAGE:]
    folds = [_hold_out(sample, numbers, total, splits, SHRINKAGES) for numbers in first]
    photos = sum(map(len, first))
    errors = [
        1 - sum(int(fold[number].is_right.sum()) for fold in folds) / max(photos, 1)
        for number in range(len(SHRINKAGES))
    ]
    least = min(errors)
    bound = least + (least * (1 - least) / max(photos, 1)) ** 0.5
    chosen = max(number for number, error in enumerate(errors) if error <= bound)
    shrinkage = SHRINKAGES[chosen]
    others = [_hold_out(sample, numbers, total, splits, [shrinkage])[0] for numbers in rest]
    return shrinkage, _joined([fold[chosen] for fold in folds] + others, len(total.labels))


def calibrate(held_out: HeldOut) -> Calibration | None:
    """Return the calibration that held-out photos give; None with fewer than 20 of them."""
    distances, truth = held_out.distances, held_out.truth
    if len(truth) < MIN_HELD_OUT:
        return None
    relative = distances.min(axis=1) - held_out.background
    temperature = fit_temperature(distances, truth)
    probabilities = softmax(distances, temperature)
    known, answered = np.quantile(relative, (KNOWN_QUANTILE, ANSWERED_QUANTILE))
    return Calibration(
        temperature=temperature,
        confidence=confidence(probabilities.max(axis=1), probabilities.argmax(axis=1) == truth),
        known_distance=float(known),
        answered_distance=float(answered),
        photos=len(truth),
    )


def softmax(distances: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Return probabilities ``(n, c)``, proportional to ``exp(-d² / (2·temperature))``."""
    weights = np.exp((distances.min(axis=1, keepdims=True) - distances) / (2 * temperature))
    probabilities: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return probabilities


def fit_temperature(distances: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """Return the temperature with the greatest likelihood, by bisection: C. Guo et al., 2017.

    The likelihood is greatest where the distances expected by the probabilities equal the true ones.
    """
    finite = np.where(np.isfinite(distances), distances, 0.0)  # of no weight: their probability is 0
    beyond = finite - finite[np.arange(len(truth)), truth][:, np.newaxis]  # exact, however small the mean
    low, high = np.log(TEMPERATURES)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        expected = (softmax(distances, float(np.exp(middle))) * beyond).sum(axis=1).mean()
        low, high = (low, middle) if expected > 0 else (middle, high)
    return float(np.exp((low + high) / 2))


def confidence(probabilities: NDArray[np.float64], is_right: NDArray[np.bool_]) -> float:
    """Return the smallest probability from which on 99 % of the answers are right; at least 0.5.

    `probabilities` ``(n,)`` are those of the most probable labels. Among 20 answers or more, one may be wrong
    in any case. The result is 2 if there is no such probability, and at most 0.99 if it is that of all
    answers: easy photos do not tell how low it may be.
    """
    order = np.argsort(-probabilities, kind="stable")
    answers, wrong = np.arange(1, len(order) + 1), np.cumsum(~is_right[order])
    is_one_allowed = (wrong == 1) & (answers >= MIN_HELD_OUT)
    enough = np.flatnonzero((wrong <= (1 - RIGHT_WHEN_KNOWN) * answers) | is_one_allowed)
    if not len(enough):
        return NEVER
    least = float(probabilities[order[enough[-1]]])
    most = RIGHT_WHEN_KNOWN if enough[-1] == len(order) - 1 else 1.0
    return min(max(least, LEAST_CONFIDENCE), most)


def calibration_error(probabilities: NDArray[np.float64], is_right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error, in 15 equal bins: M. P. Naeini et al., 2015.

    It is the mean difference, over photos, between the probability of an answer and the share of right ones
    among the answers of about that probability.
    """
    bins = np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)
    gaps = np.bincount(bins, probabilities - is_right, minlength=BINS)
    return float(np.abs(gaps).sum() / max(len(probabilities), 1))


def natural_key(path: str) -> list[str | int]:
    """Return a key by which names sort with their numbers as numbers, ``9.jpg`` before ``10.jpg``."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split("([0-9]+)", path))]


def _hold_out(
    sample: LabelledRows,
    numbers: Sequence[int],
    total: GroupedMoments,
    splits: Collection[str],
    shrinkages: Sequence[float],
) -> list[HeldOut]:
    """Return a block as fits to all other photos see it, one for each shrinkage.

    Photos whose label only this block has are left out.
    """
    own_labels, rows = [sample.labels[number] for number in numbers], sample.rows[numbers]
    accumulator = GroupedAccumulator(total.width)
    accumulator.add(rows, [sample.splits[number] for number in numbers], own_labels)
    others = total.without(accumulator.moments())
    names = list(discriminant.label_sums(total, splits))
    number_of = {label: number for number, label in enumerate(names)}
    held_out = []
    for shrinkage in shrinkages:
        model = discriminant.fit(others, splits, shrinkage)
        known = [] if model is None else [at for at, label in enumerate(own_labels) if label in model.labels]
        distances, background = np.full((len(known), len(names)), np.inf), np.empty(len(known))
        if model is not None:
            coordinates = model.coordinates(rows[known])
            distances[:, [number_of[label] for label in model.labels]] = model.distances(coordinates)
            background = model.background(coordinates)
        truth = np.array([number_of[own_labels[at]] for at in known], np.int64)
        held_out.append(HeldOut(distances, background, truth))
    return held_out


def _joined(folds: Sequence[HeldOut], labels: int) -> HeldOut:
    """Return the photos of all folds; `labels` is the number of labels if there is no fold."""
    if not folds:
        return HeldOut(np.empty((0, labels)), np.empty(0), np.empty(0, np.int64))
    return HeldOut(*(np.concatenate(arrays) for arrays in zip(*map(astuple, folds), strict=True)))
