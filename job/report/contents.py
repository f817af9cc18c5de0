"""Gathers what a report says about an output: its photos, pairs, confusions, pictures and spectrum."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from job.errors import JobError
from job.maths.grouped_moments import TableMoments
from job.maths.moments import Moments
from job.maths.pca import Pca
from job.model import incremental_moments, saved_classifier, saved_model
from job.model.classifier import STATES, TEST, TRAINING, Classifier, species_of
from job.photos.decode import DEFAULT_LIMITS, Limits
from job.report import duplicates, photos, thumbnails
from job.report.duplicates import Copies, Kind, Pairs
from job.report.markup import json_text
from job.report.photos import Photos, Rejects
from job.report.thumbnails import Sheets
from job.table import layout, sweep
from job.table.commits import Snapshot

OUTLIERS_SHOWN: Final = 24
MOST_OUTLIERS: Final = 5_000  # that are kept in a sample
CONFUSIONS_SHOWN: Final = 10
EXAMPLES: Final = 4  # pictures of each confusion
MOST_NAME_BYTES: Final = 3_000_000  # of the photos' names on a page
UNLIKE: Final = STATES.index("unlike")


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


@dataclass(frozen=True, slots=True)
class Contents:
    """What a report shows. Positions count `photos`, the photos of the map.

    Attributes
    ----------
    record : mapping
        The run's record.
    total, read : int
        Photos with features in the table, and those whose features were read.
    labels : list of str
        Of the photos and of the classifier.
    counts : mapping
        Photos in the table by split and label; empty with too many labels.
    pictured : list of int
        Positions of the photos that are to have a picture, and that were searched for near duplicates.
    ratios : array (rank,) float64
        Shares of the variance, of all components.
    species_confusion : counter
        Photos of Test by their species and that which they are taken for.
    """

    record: Mapping[str, Any]
    photos: Photos
    total: int
    read: int
    labels: list[str]
    counts: Mapping[tuple[str, str], int]
    predicted: list[str] | None
    ratios: NDArray[np.float64]
    k: int
    shares: tuple[float, float]
    outliers: list[int]
    copies: Copies
    pairs: dict[Kind, Pairs]
    pictured: list[int]
    confusions: list[Confusion]
    species_confusion: Counter[tuple[str, str]]
    rejects: Rejects
    sheets: Sheets


def gather(output: str, record: Mapping[str, Any], snapshot: Snapshot) -> Contents:
    """Return the contents of an output's report, without pictures: :func:`with_pictures` adds them.

    Raises
    ------
    JobError
        If the output has no model, because no run has ended.
    OSError
        If the table cannot be read.
    """
    loaded = saved_model.load(output, sweep.current_model_id(output))
    if loaded is None:
        raise JobError(f"output {output} has no model yet: the report needs a run that has ended")
    model, _ = loaded
    classifier = saved_classifier.load(output)
    read = photos.read(output, snapshot, model, classifier)
    unusual = _outliers(read)
    names = [path.rpartition("/")[2] for path in read.paths]
    name_bytes = len(json_text(names).encode(errors="backslashreplace"))
    most = len(read) * MOST_NAME_BYTES // max(name_bytes, MOST_NAME_BYTES)
    shown = read.take(photos.choose(read, most, unusual))
    outliers = _outliers(shown)
    predicted = _predicted_labels(shown, classifier)
    confusions = _confusions(shown, predicted) if predicted else []
    examples = [number for confusion in confusions for number in confusion.examples]
    examples += [confusion.comparison for confusion in confusions if confusion.comparison is not None]
    pictured = photos.choose(shown, thumbnails.most_pictures(shown.bytes), [*outliers, *examples])
    pairs = duplicates.find_pairs(shown.take(pictured))
    saved = incremental_moments.load(output)
    if classifier is None:  # an erasure may have deleted it since the run
        record = {**record, "classifier": {"reason": (record.get("classifier") or {}).get("reason")}}
    shares = [*model.explained_variance_ratio[:2], 0.0]
    return Contents(
        record=record,
        photos=shown,
        total=snapshot.rows(layout.FEATURIZED),
        read=len(read),
        labels=sorted({*shown.labels, *(classifier.labels if classifier else ())}),
        counts=_label_counts(saved.moments) if saved else {},
        predicted=predicted,
        ratios=_ratios(saved.moments, record, model) if saved else model.explained_variance_ratio,
        k=model.k,
        shares=(float(shares[0]), float(shares[1])),
        outliers=outliers[:OUTLIERS_SHOWN],
        copies=duplicates.find_copies(shown),
        pairs={kind: _renumbered(found, pictured) for kind, found in pairs.items()},
        pictured=pictured.tolist(),
        confusions=confusions,
        species_confusion=_species_confusion(shown, classifier),
        rejects=photos.read_rejects(output, snapshot),
        sheets=thumbnails.no_pictures(len(shown)),
    )


def with_pictures(contents: Contents, most_bytes: int) -> Contents:
    """Return contents with pictures that take at most so many bytes of the page."""
    settings = contents.record.get("settings", {})
    limits = Limits(
        settings.get("max_photo_bytes", DEFAULT_LIMITS.max_bytes),
        settings.get("max_photo_pixels", DEFAULT_LIMITS.max_pixels),
    )
    return replace(contents, sheets=thumbnails.draw(contents.photos, contents.pictured, limits, most_bytes))


def spectrum(moments: Moments, standardized: bool, rank: int) -> NDArray[np.float64]:
    """Return the share of the variance of each component ``(rank,)``, largest first."""
    covariance = moments.scatter
    if standardized:
        std = np.sqrt(covariance.diagonal())
        inverse = np.divide(1.0, std, out=np.zeros_like(std), where=std > 0)
        covariance = covariance * inverse * inverse[:, np.newaxis]
    values = np.linalg.eigvalsh(covariance)[::-1].clip(min=0.0)
    ratios: NDArray[np.float64] = values / values.sum()
    return ratios[:rank]


def _ratios(moments: TableMoments, record: Mapping[str, Any], model: Pca) -> NDArray[np.float64]:
    """Return the :func:`spectrum` of the photos to which a model is fitted."""
    of_splits = moments.features
    is_on_training = record["model"].get("fitted_on") == "training" and TRAINING in of_splits.splits
    fitted = of_splits.of([TRAINING] if is_on_training else of_splits.splits)
    return spectrum(fitted, model.standardized, model.rank)


def _label_counts(moments: TableMoments) -> dict[tuple[str, str], int]:
    """Return the photos of the table by split and label; empty with too many labels."""
    return {key: label.n for key, label in moments.roots.labels.items()} if moments.roots else {}


def _outliers(shown: Photos) -> list[int]:
    """Return the positions of the photos that are unlike all labels, and of the next ones, furthest first."""
    order = np.argsort(-shown.distance, kind="stable")
    strange = OUTLIERS_SHOWN
    if shown.predictions is not None:
        strange = max(strange, int((shown.predictions.state == UNLIKE).sum()))
    numbers: list[int] = order[: min(strange, MOST_OUTLIERS)].tolist()
    return numbers


def _predicted_labels(shown: Photos, classifier: Classifier | None) -> list[str] | None:
    if classifier is None or shown.predictions is None:
        return None
    return [classifier.labels[number] for number in shown.predictions.labels[:, 0]]


def _confusions(shown: Photos, predicted: Sequence[str]) -> list[Confusion]:
    """Return the pairs of labels that are confused most often among photos of Test, with examples."""
    assert shown.predictions is not None
    certainty = shown.predictions.probabilities[:, 0]
    tested = [number for number, split in enumerate(shown.splits) if split == TEST and shown.labels[number]]
    totals = Counter(shown.labels[number] for number in tested)
    mistakes = [(shown.labels[number], predicted[number]) for number in tested]
    counts = Counter(pair for pair in mistakes if pair[0] != pair[1])
    confusions: list[Confusion] = []
    for (actual, wrong), count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if len(confusions) == CONFUSIONS_SHOWN:
            break
        pair = [number for number in tested if (shown.labels[number], predicted[number]) == (actual, wrong)]
        examples = sorted(pair, key=lambda number: (-certainty[number], number))[:EXAMPLES]
        typical = [
            number
            for number, (label, answer) in enumerate(zip(shown.labels, predicted, strict=True))
            if label == answer == wrong
        ]
        comparison = max(typical, key=lambda number: (certainty[number], -number), default=None)
        confusions.append(Confusion(actual, wrong, count, totals[actual], examples, comparison))
    return confusions


def _species_confusion(shown: Photos, classifier: Classifier | None) -> Counter[tuple[str, str]]:
    if classifier is None or shown.predictions is None:
        return Counter()
    named = [classifier.species[number] for number in shown.predictions.species]
    rows = zip(shown.labels, shown.splits, named, strict=True)
    return Counter((species_of(label), name) for label, split, name in rows if split == TEST and label)


def _renumbered(found: Pairs, numbers: NDArray[np.int64]) -> Pairs:
    """Return pairs of a sample as pairs of the photos from which it was chosen."""
    pairs = [(int(numbers[first]), int(numbers[second]), value) for first, second, value in found.pairs]
    return Pairs(pairs, found.near)
