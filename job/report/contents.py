"""Gathers what a report says about an output: its photos, pairs, confusions, pictures and spectrum."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from job.errors import JobError
from job.maths.grouped_moments import TableMoments
from job.maths.moments import Moments
from job.maths.pca import Pca
from job.model import incremental_moments, saved_classifier, saved_model
from job.model.classifier import STATES, TRAINING, Classifier, species_of
from job.photos.decode import DEFAULT_LIMITS, Limits
from job.report import confusions, duplicates, photos, thumbnails
from job.report.confusions import Confusion
from job.report.duplicates import Copies, Kind, Pairs
from job.report.markup import json_text
from job.report.photos import Photos, Rejects
from job.report.thumbnails import Sheets
from job.table import layout, sweep
from job.table.commits import Snapshot

OUTLIERS_SHOWN: Final = 24
MOST_OUTLIERS: Final = 5_000  # that are kept in a sample
MOST_TEXT_BYTES: Final = 3_000_000  # of the photos' names, folders, labels and species on a page
LEAST_SHARE: Final = 1e-12  # of the variance: less is a rounding error
UNLIKE: Final = STATES.index("unlike")


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
    pairs : dict
        Near duplicates of each kind; empty with too few components.
    ratios : array (rank,) float64
        Shares of the variance, of all components.
    species_confusion : counter
        Photos of Test that were read, by their species and that which they are taken for.
    recognized : mapping
        Photos of Test that were read, and those that are recognized, by label.
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
    recognized: Mapping[str, tuple[int, int]]
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
    predicted = confusions.predicted_labels(read, classifier)
    confused = confusions.find(read, predicted) if predicted else []
    examples = [number for confusion in confused for number in (*confusion.examples, confusion.comparison)]
    unusual = _outliers(read)
    kept = [*unusual, *(number for number in examples if number is not None)]
    chosen = choose_shown(read, kept, classifier)
    position_of = {int(number): position for position, number in enumerate(chosen)}
    shown = read.take(chosen)
    pictured = photos.choose(
        shown,
        thumbnails.most_pictures(shown.bytes),
        [position_of[number] for number in kept if number in position_of],
    )
    has_pairs = model.k >= duplicates.LEAST_COMPONENTS
    pairs = duplicates.find_pairs(shown.take(pictured)) if has_pairs else {}
    saved = incremental_moments.load(output)
    if classifier is None:  # an erasure may have deleted it since the run
        record = {**record, "classifier": {"reason": (record.get("classifier") or {}).get("reason")}}
    shares = [*model.explained_variance_ratio[:2], 0.0]
    return Contents(
        record=record,
        photos=shown,
        total=snapshot.rows(layout.FEATURIZED),
        read=len(read),
        labels=_labels(shown, classifier),
        counts=_label_counts(saved.moments) if saved else {},
        predicted=confusions.predicted_labels(shown, classifier),
        ratios=_ratios(saved.moments, record, model) if saved else model.explained_variance_ratio,
        k=model.k,
        shares=(float(shares[0]), float(shares[1])),
        outliers=[position_of[number] for number in unusual if number in position_of][:OUTLIERS_SHOWN],
        copies=duplicates.find_copies(read),
        pairs={kind: _renumbered(found, pictured) for kind, found in pairs.items()},
        pictured=pictured.tolist(),
        confusions=[confusion.renumbered(position_of) for confusion in confused],
        species_confusion=confusions.by_species(read, classifier) if classifier else Counter(),
        recognized=confusions.recognized(read, predicted) if predicted else {},
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


def choose_shown(read: Photos, kept: Collection[int], classifier: Classifier | None) -> NDArray[np.int64]:
    """Return the positions of the photos that a page has room for: all, or `kept` and a sample, sorted."""
    everything = np.arange(len(read), dtype=np.int64)
    known = classifier.labels if classifier else ()
    if _text_bytes(read, everything, known).sum() <= MOST_TEXT_BYTES:
        return everything
    order = photos.order(read, kept)
    fitting = int((_text_bytes(read, order, known).cumsum() <= MOST_TEXT_BYTES).sum())
    return np.sort(order[: max(fitting, 1)])


def spectrum(moments: Moments, standardized: bool) -> NDArray[np.float64]:
    """Return the share of the variance of each component that has any ``(rank,)``, largest first."""
    covariance = moments.scatter
    if standardized:
        std = np.sqrt(covariance.diagonal())
        inverse = np.divide(1.0, std, out=np.zeros_like(std), where=std > 0)
        covariance = covariance * inverse * inverse[:, np.newaxis]
    values = np.linalg.eigvalsh(covariance)[::-1].clip(min=0.0)
    ratios: NDArray[np.float64] = values / (values.sum() or 1.0)
    return ratios[ratios > LEAST_SHARE]


def _ratios(moments: TableMoments, record: Mapping[str, Any], model: Pca) -> NDArray[np.float64]:
    """Return the :func:`spectrum` of the photos to which a model is fitted."""
    of_splits = moments.features
    is_on_training = record["model"].get("fitted_on") == "training" and TRAINING in of_splits.splits
    fitted = of_splits.of([TRAINING] if is_on_training else of_splits.splits)
    return spectrum(fitted, model.standardized)


def _labels(shown: Photos, classifier: Classifier | None) -> list[str]:
    return sorted({*shown.labels, *(classifier.labels if classifier else ())})


def _text_bytes(read: Photos, order: NDArray[np.int64], known: Collection[str]) -> NDArray[np.int64]:
    """Return the bytes ``(n,)`` that photos, in an order, add to the texts of a page.

    These are its name, and its folder, label and species if no photo before it has them. The `known` labels
    count for the first photo.
    """
    seen: set[str] = set(known)
    added = [[*known, *map(species_of, known)]]
    for number in order:
        folder, _, name = read.paths[number].rpartition("/")
        label = read.labels[number]
        texts = [name]
        if f"{folder}/" not in seen:  # no label ends so
            seen.add(f"{folder}/")
            texts.append(folder)
        if label not in seen:
            seen.add(label)
            texts += [label, species_of(label)]
        added.append(texts)
    sizes = [len(json_text(texts).encode(errors="backslashreplace")) - 1 for texts in added]
    return np.array([sum(sizes[:2]), *sizes[2:]], np.int64)


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


def _renumbered(found: Pairs, numbers: NDArray[np.int64]) -> Pairs:
    """Return pairs of a sample as pairs of the photos from which it was chosen."""
    pairs = [(int(numbers[first]), int(numbers[second]), value) for first, second, value in found.pairs]
    return Pairs(pairs, found.near)
