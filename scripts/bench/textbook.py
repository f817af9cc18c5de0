"""The same task as published notebooks solve it, to be compared with: written anew, after their approach.

Photos come through ``binaryFile``; an iterator pandas UDF rebuilds Keras's MobileNetV2 from broadcast weights
in every partition and calls ``predict`` on whole Arrow batches; ``pyspark.ml.feature.PCA`` is fitted on the
features and transforms them. Nothing is cached, so features are computed again for every pass. Spark is left
at its defaults. Run by ``bench``: ``python -m scripts.bench.textbook PHOTOS OUTPUT --cache C --components K
--partitions P`` prints its figures as JSON; with ``--prepare`` it only fetches the
weights and builds the network once, so that a timed run finds TensorFlow's files in memory.
"""

import argparse
import io
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
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
    """Return the features ``(n, 1280)`` of n photos' bytes: Pillow's default resize, one ``predict``."""
    from tensorflow.keras.applications.mobilenet_v2 import preprocess_input  # noqa: PLC0415

    pictures = [_pixels(content) for content in contents]
    result: NDArray[np.float32] = model.predict(preprocess_input(np.stack(pictures)), verbose=0)
    return result


def _pixels(content: bytes) -> NDArray[np.float32]:
    photo = Image.open(io.BytesIO(content)).convert("RGB").resize((224, 224))
    return np.asarray(photo, dtype=np.float32)


def featurized(spark: "SparkSession", photos: str, shared: "Broadcast[Any]", partitions: int) -> "DataFrame":
    """Return ``path, label, features array<float>``, to be computed anew whenever it is asked for."""
    import pandas as pd  # noqa: PLC0415
    from pyspark.sql import functions as F  # noqa: N812, PLC0415
    from pyspark.sql.pandas.functions import pandas_udf  # noqa: PLC0415

    def udf(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:
        model = keras_model(shared.value)
        for batch in batches:
            yield pd.Series(list(features(model, batch)))

    read = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(f"file:{photos}")
    label = F.element_at(F.split("path", "/"), -2)
    vectors = pandas_udf(udf, "array<float>")("content")  # type: ignore[call-overload]
    return read.repartition(partitions).select("path", label.alias("label"), vectors.alias("features"))


def run(photos: str, output: str, cache: Path, components: int, partitions: int) -> dict[str, Any]:
    """Do the whole task and return the seconds of its steps, and what was found."""
    from pyspark.ml.feature import PCA  # noqa: PLC0415
    from pyspark.ml.functions import array_to_vector  # noqa: PLC0415
    from pyspark.sql import SparkSession  # noqa: PLC0415
    from pyspark.sql import functions as F  # noqa: N812, PLC0415

    clock = [time.monotonic()]
    spark = SparkSession.builder.appName("textbook").config("spark.ui.enabled", "false").getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    clock.append(time.monotonic())
    model = keras_model(weights.load(None, cache)[0])
    shared = spark.sparkContext.broadcast(model.get_weights())
    rows = featurized(spark, photos, shared, partitions)
    rows = rows.withColumn("vector", array_to_vector(F.col("features")))
    clock.append(time.monotonic())
    fitted = PCA(k=components, inputCol="vector", outputCol="pca").fit(rows)
    clock.append(time.monotonic())
    fitted.transform(rows).select("path", "label", "pca").write.mode("overwrite").parquet(output)
    clock.append(time.monotonic())
    count = spark.read.parquet(output).count()
    kept = float(fitted.explainedVariance.toArray().sum())
    spark.stop()
    steps = ("session", "network", "fit", "transform")
    seconds = {step: round(end - start, 3) for step, start, end in zip(steps, clock, clock[1:], strict=False)}
    return {"photos": count, "variance_kept": kept, "seconds": seconds}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run once and print the figures as JSON."""
    parser = argparse.ArgumentParser(description="Time the published approach.")
    parser.add_argument("photos", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--cache", type=Path, required=True, help="where the weights are kept")
    parser.add_argument("--components", type=int, default=100)
    parser.add_argument("--partitions", type=int, default=24)
    parser.add_argument("--prepare", action="store_true", help="only fetch the weights and build the network")
    options = parser.parse_args(arguments)
    if options.prepare:
        keras_model(weights.load(None, options.cache)[0])
        print("{}")
        return 0
    result = run(
        str(options.photos.resolve()),
        f"file:{options.output.resolve()}",
        options.cache,
        options.components,
        options.partitions,
    )
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
