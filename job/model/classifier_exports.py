"""A classifier for others: a ``PipelineModel`` that plain PySpark loads, and one LiteRT file for apps.

Both are made whenever a classifier is saved, on the driver. The pipeline reads the vector column
``root_features``, square roots of features, and adds ``probability``, ``prediction`` and ``predicted_label``.
The file reads pixels.

No stage of Spark's takes square roots; a ``Normalizer`` divides them by their Euclidean length, which is the
square root of the features' sum. That makes them :func:`job.maths.root_features.root_features`.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from job.model import spark_pipeline
from job.model.classifier import Classifier, species_of
from job.model.spark_pipeline import Stage
from job.network import classifier_program

NORMALIZER: Final = "org.apache.spark.ml.feature.Normalizer"
LOGISTIC: Final = "org.apache.spark.ml.classification.LogisticRegressionModel"
INDEX_TO_STRING: Final = "org.apache.spark.ml.feature.IndexToString"


def linear_logits(classifier: Classifier) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the coefficients ``(c, d)`` and intercepts ``(c,)`` of logits that are linear in root features.

    In ``-d² / (2·temperature)`` the square of the coordinates is common to all labels: the rest is linear.
    """
    fitted, temperature = classifier.discriminant, classifier.calibration.temperature
    coefficients = fitted.centroids @ fitted.axes / temperature
    intercepts = -coefficients @ fitted.mean - (fitted.centroids**2).sum(axis=1) / (2 * temperature)
    return coefficients, intercepts


def spark_files(classifier: Classifier) -> dict[str, bytes]:
    """Return the files of a saved ``PipelineModel``, by name below its folder, in the order to write them."""
    uid = f"fruits_{classifier.model_id}"
    coefficients, intercepts = linear_logits(classifier)
    labels, features = coefficients.shape
    learned: dict[str, Any] = {
        "numClasses": labels,
        "numFeatures": features,
        "interceptVector": intercepts,
        "coefficientMatrix": coefficients.T,
        "isMultinomial": True,
    }
    scaling = {"inputCol": "root_features", "outputCol": "normalized", "p": 2.0}
    normalization = Stage(NORMALIZER, f"{uid}_normalizer", scaling)
    regression = Stage(
        LOGISTIC,
        f"{uid}_logistic",
        {"featuresCol": "normalized", "family": "multinomial"},
        {"predictionCol": "prediction", "probabilityCol": "probability", "rawPredictionCol": "rawPrediction"},
        learned,
    )
    naming = Stage(
        INDEX_TO_STRING,
        f"{uid}_label",
        {"inputCol": "prediction", "outputCol": "predicted_label", "labels": list(classifier.labels)},
    )
    return spark_pipeline.files(uid, [normalization, regression, naming])


def litert_program(classifier: Classifier, program: bytes, backbone: str) -> bytes:
    """Return the LiteRT file of a classifier, from its backbone's program and name.

    Its ``classifier.json`` names labels and species, in the order of the probabilities, and the bounds of
    :class:`job.maths.calibration.Calibration`, from which an app tells the state as
    :meth:`Classifier.answers` does.
    """
    fitted, bounds = classifier.discriminant, classifier.calibration
    return classifier_program.append(
        program,
        mean=fitted.mean,
        axes=fitted.axes,
        centroids=fitted.centroids,
        spread=fitted.spread,
        temperature=bounds.temperature,
        description={
            "model_id": classifier.model_id,
            "backbone": backbone,
            "labels": classifier.labels,
            "species": [species_of(label) for label in classifier.labels],
            "confidence": bounds.confidence,
            "known_distance": bounds.known_distance,
            "answered_distance": bounds.answered_distance,
        },
    )
