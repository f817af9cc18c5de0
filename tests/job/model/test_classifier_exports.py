"""An exported classifier: plain PySpark loads it, and it answers as the job's own does."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pyspark.ml import PipelineModel
from pyspark.ml.functions import array_to_vector
from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812

from job.maths import discriminant
from job.maths.calibration import Calibration
from job.maths.grouped_moments import GroupedAccumulator
from job.maths.root_features import root_features
from job.model import classifier_exports
from job.model.classifier import Classifier
from job.storage import store

BOUNDS = Calibration(temperature=7.0, confidence=0.8, known_distance=0.0, answered_distance=5.0, photos=90)


def fruit(labels: int, width: int = 60) -> tuple[NDArray[np.float32], list[str]]:
    """Return features of photos of several labels, which overlap."""
    generator = np.random.default_rng(labels)
    names = [f"Fruit {'é' * (number % 2)}{number}" for number in range(labels)]
    means = generator.normal(size=(labels, width)) * 4 / width**0.5 + 3
    rows = generator.normal(size=(30 * labels, width)) + np.repeat(means, 30, axis=0)
    return np.abs(rows).astype(np.float32), list(np.repeat(names, 30))


def fitted(rows: NDArray[np.float32], labels: list[str]) -> Classifier:
    accumulator = GroupedAccumulator(rows.shape[1])
    accumulator.add(root_features(rows), ["Training"] * len(rows), labels)
    model = discriminant.fit(accumulator.moments(), ["Training"], 0.1)
    assert model is not None
    return Classifier(model, BOUNDS)


def saved(classifier: Classifier, folder: Path) -> str:
    for name, content in classifier_exports.spark_files(classifier).items():
        store.write_bytes(f"{folder}/{name}", content)
    return f"file:{folder}"


def test_logits_are_linear_in_the_features() -> None:
    rows, labels = fruit(7)
    classifier = fitted(rows, labels)
    coefficients, intercepts = classifier_exports.linear_logits(classifier)
    logits = root_features(rows) @ coefficients.T + intercepts
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = weights / weights.sum(axis=1, keepdims=True)
    model = classifier.discriminant
    expected = BOUNDS.probabilities(model.distances(model.coordinates(root_features(rows))))
    assert np.median(expected.max(axis=1)) < 0.99, "a sensitive test"
    np.testing.assert_allclose(probabilities, expected, atol=1e-12)


@pytest.mark.parametrize(("labels", "width"), [(2, 60), (131, 1280)])
def test_plain_pyspark_loads_the_classifier_and_answers_alike(
    spark: SparkSession, tmp_path: Path, labels: int, width: int
) -> None:
    rows, names = fruit(labels, width)
    classifier = fitted(rows, names)
    model: Any = PipelineModel.load(saved(classifier, tmp_path / "a model é"))
    _, logistic, naming = model.stages
    assert (logistic.numClasses, logistic.numFeatures) == (labels, width)
    assert naming.getLabels() == list(classifier.labels)
    asked = rows[::labels]
    frame = spark.createDataFrame(list(enumerate(asked.tolist())), "row int, features array<double>")
    roots = array_to_vector(F.transform("features", F.sqrt))
    answers = (
        model.transform(frame.withColumn("root_features", roots))
        .orderBy("row")
        .select("probability", "predicted_label")
        .collect()
    )
    predictions = classifier.predict(asked)
    probabilities = np.vstack([answer["probability"].toArray() for answer in answers])
    assert probabilities.shape == (len(asked), labels)
    top = np.take_along_axis(probabilities, predictions.labels, axis=1)
    np.testing.assert_allclose(top, predictions.probabilities, rtol=0, atol=1e-6)
    best = [classifier.labels[number] for number in predictions.labels[:, 0]]
    assert [answer["predicted_label"] for answer in answers] == best


def test_spark_saves_the_same_and_a_new_save_overwrites_it(spark: SparkSession, tmp_path: Path) -> None:
    assert spark
    classifier = fitted(*fruit(4))
    location = saved(classifier, tmp_path)
    PipelineModel.load(location).write().overwrite().save(location)
    assert list((tmp_path / "metadata").glob(".part-*.crc")), "Spark saved it, with checksums"
    saved(classifier, tmp_path)
    model: Any = PipelineModel.load(location)
    assert model.stages[2].getLabels() == list(classifier.labels)


def test_the_same_classifier_has_the_same_files() -> None:
    first, second = (classifier_exports.spark_files(fitted(*fruit(3))) for _ in range(2))
    assert first == second
    names = [name for name in first if name.endswith(".txt")]
    assert names[-1] == "metadata/part-00000.txt"
    assert json.loads(first[names[-1]])["uid"].startswith("fruits_lda-3-")
