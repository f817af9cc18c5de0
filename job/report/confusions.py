"""What the classifier takes photos of Test for: the confused labels, with examples, and counts by label."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Final

from job.model.classifier import TEST, Classifier, species_of
from job.report.photos import Photos

CONFUSIONS_SHOWN: Final = 10
EXAMPLES: Final = 4  # pictures of each confusion


@dataclass(frozen=True, slots=True)
class Confusion:
    """Photos of Test of one label that are taken for another: how many of all of that label, and examples.

    `examples` are positions of such photos, the most certain first, and `comparison` that of a photo of the
    predicted label, or None.
    """

    actual: str
    predicted: str
    count: int
    total: int
    examples: list[int]
    comparison: int | None

    def renumbered(self, position_of: dict[int, int]) -> "Confusion":
        """Return this confusion with the positions in a sample; photos that are not in it are left out."""
        examples = [position_of[number] for number in self.examples if number in position_of]
        comparison = None if self.comparison is None else position_of.get(self.comparison)
        return replace(self, examples=examples, comparison=comparison)


def predicted_labels(photos: Photos, classifier: Classifier | None) -> list[str] | None:
    """Return the likeliest label of each photo, or None without a classifier."""
    if classifier is None or photos.predictions is None:
        return None
    return [classifier.labels[number] for number in photos.predictions.labels[:, 0]]


def find(photos: Photos, predicted: list[str]) -> list[Confusion]:
    """Return the pairs of labels that are confused most often among photos of Test, with examples."""
    assert photos.predictions is not None
    certainty = photos.predictions.probabilities[:, 0]
    tested = _tested(photos)
    totals = Counter(photos.labels[number] for number in tested)
    answers = [(photos.labels[number], predicted[number]) for number in tested]
    counts = Counter(pair for pair in answers if pair[0] != pair[1])
    confusions: list[Confusion] = []
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    for (actual, wrong), count in ranked[:CONFUSIONS_SHOWN]:
        pair = [number for number, answer in zip(tested, answers, strict=True) if answer == (actual, wrong)]
        examples = sorted(pair, key=lambda number: (-certainty[number], number))[:EXAMPLES]
        typical = [
            number
            for number, (label, answer) in enumerate(zip(photos.labels, predicted, strict=True))
            if label == answer == wrong
        ]
        comparison = max(typical, key=lambda number: (certainty[number], -number), default=None)
        confusions.append(Confusion(actual, wrong, count, totals[actual], examples, comparison))
    return confusions


def by_species(photos: Photos, classifier: Classifier) -> Counter[tuple[str, str]]:
    """Count photos of Test by their species and the one they are taken for."""
    assert photos.predictions is not None
    named = [classifier.species[number] for number in photos.predictions.species]
    return Counter((species_of(photos.labels[number]), named[number]) for number in _tested(photos))


def recognized(photos: Photos, predicted: list[str]) -> dict[str, tuple[int, int]]:
    """Return the photos of Test and those of them that are recognized, by label."""
    tested = _tested(photos)
    totals = Counter(photos.labels[number] for number in tested)
    right = Counter(photos.labels[number] for number in tested if photos.labels[number] == predicted[number])
    return {label: (total, right[label]) for label, total in totals.items()}


def _tested(photos: Photos) -> list[int]:
    return [
        number
        for number, (label, split) in enumerate(zip(photos.labels, photos.splits, strict=True))
        if split == TEST and label
    ]
