"""Measure (c), the textbook: the job's task, solved by the approach of published notebooks, written anew.

Photos come through ``binaryFile``; an iterator pandas UDF rebuilds Keras's MobileNetV2 from broadcast weights
in every partition and calls ``predict`` on whole Arrow batches; ``pyspark.ml.feature.PCA`` is fitted on the
features and transforms them. Nothing is cached, so features are computed again for every pass. Spark is left
at its defaults. ``python -m scripts.bench.textbook PHOTOS OUTPUT --cache C --components K --partitions P``
prints the figures as JSON; with ``--prepare`` it only fetches the weights and builds the network, so that a
timed run finds TensorFlow's files in the page cache.
"""

import argparse
import io
import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from job.network import weights
from job.network.backbone import keras_model

if TYPE_CHECKING:
    from pyspark import Broadcast
    from pyspark.sql import DataFrame, SparkSession


def features(model: Any, contents: Iterable[bytes]) -> NDArray[np.float32]:
    """Return the features ``(n, 1280)`` of n photos, resized by Pillow's default and predicted at once."""
    from tensorflow.keras.applications.mobilenet_v2 import preprocess_input  # noqa: PLC0415

    pixels = [_pixels(content) for content in contents]
    result: NDArray[np.float32] = model.predict(preprocess_input(np.stack(pixels)), verbose=0)
    return result


def _pixels(content: bytes) -> NDArray[np.float32]:
    photo = Image.open(io.BytesIO(content)).convert("RGB").resize((224, 224))
    return np.asarray(photo, dtype=np.float32)


def featurized(spark: "SparkSession", photos: str, network: "Broadcast[Any]", partitions: int) -> "DataFrame":
    """Return ``path, label, features array<float>``, which Spark computes again for every pass."""
    import pandas as pd  # noqa: PLC0415
    from pyspark.sql import functions as F  # noqa: N812, PLC0415
    from pyspark.sql.pandas.functions import pandas_udf  # noqa: PLC0415

    def udf(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:
        model = keras_model(network.value)
        for batch in batches:
            yield pd.Series(list(features(model, batch)))

    files = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(f"file:{photos}")
    label = F.element_at(F.split("path", "/"), -2)
    features_column = pandas_udf(udf, "array<float>")("content")  # type: ignore[call-overload]
    return files.repartition(partitions).select(
        "path", label.alias("label"), features_column.alias("features")
    )


def run(photos: str, output: str, cache: Path, components: int, partitions: int) -> dict[str, Any]:
    """Do the whole task and return its photos, the variance kept and the seconds of its steps."""
    from pyspark.ml.feature import PCA  # noqa: PLC0415
    from pyspark.ml.functions import array_to_vector  # noqa: PLC0415
    from pyspark.sql import SparkSession  # noqa: PLC0415
    from pyspark.sql import functions as F  # noqa: N812, PLC0415

    times = [time.monotonic()]
    spark = SparkSession.builder.appName("textbook").config("spark.ui.enabled", "false").getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    times.append(time.monotonic())
    model = keras_model(weights.load(None, cache)[0])
    network = spark.sparkContext.broadcast(model.get_weights())
    rows = featurized(spark, photos, network, partitions)
    rows = rows.withColumn("vector", array_to_vector(F.col("features")))
    times.append(time.monotonic())
    pca = PCA(k=components, inputCol="vector", outputCol="pca").fit(rows)
    times.append(time.monotonic())
    pca.transform(rows).select("path", "label", "pca").write.mode("overwrite").parquet(output)
    times.append(time.monotonic())
    count = spark.read.parquet(output).count()
    variance_kept = float(pca.explainedVariance.toArray().sum())
    spark.stop()
    steps = ("session", "network", "fit", "transform")
    seconds = {step: round(end - start, 3) for step, start, end in zip(steps, times, times[1:], strict=False)}
    return {"photos": count, "variance_kept": variance_kept, "seconds": seconds}


def main() -> None:
    """Run once and print the figures as JSON."""
    parser = argparse.ArgumentParser(description="Time the published approach.")
    parser.add_argument("photos", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--cache", type=Path, required=True, help="the folder of the weights")
    parser.add_argument("--components", type=int, default=100)
    parser.add_argument("--partitions", type=int, default=24)
    parser.add_argument("--prepare", action="store_true", help="only fetch the weights and build the network")
    options = parser.parse_args()
    if options.prepare:
        keras_model(weights.load(None, options.cache)[0])
        print("{}")
        return
    figures = run(
        str(options.photos.resolve()),
        f"file:{options.output.resolve()}",
        options.cache,
        options.components,
        options.partitions,
    )
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
