"""An output of many known photos, made without photos, and a list of those and of new ones: where (i) begins.

Each known photo has the features of a real one, a little changed, so that a model of theirs fits the new
photos as well. Its path leads to nothing: whoever read it would find out. Everything else is done by the
job's own functions. Run by ``bench``: ``python scripts/bench_growth.py OUTPUT LIST --known N --like TABLE
--photos DIR --cache C``.
"""

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

if not __package__:  # run as a file: let it find the repository
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from job import coverage, identity, labels, matrix, models, output, passes, refit, session, store, tables
from job.backbone import FEATURES
from job.coverage import Sums
from job.refit import Wanted
from job.walk import Listed, walk

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

RUN_ID: Final = "known"
ROWS_PER_FILE: Final = 1000  # a wave's
NOISE: Final = 0.05  # in standard deviations of a feature: 0.25 % of the variance
MODIFIED: Final = datetime(2026, 1, 1, tzinfo=UTC)


def known(photos: Sequence[Listed], count: int) -> Iterator[list[Listed]]:
    """Yield `count` photos that do not exist, by the files they are known in.

    They lie in the folders of `photos`, and each file has some of every folder, as a day's photos would.
    """
    folders = sorted({photo.path.rpartition("/")[0] for photo in photos})
    for start in range(0, count, ROWS_PER_FILE):
        made = [
            Listed(
                f"{folders[number % len(folders)]}/known-{number:07}.jpg",
                5000 + number % 997,
                _etag(number),
                MODIFIED,
            )
            for number in range(start, min(start + ROWS_PER_FILE, count))
        ]
        yield sorted(made)


def rows(photos: Sequence[Listed], features: NDArray[np.float32]) -> pa.Table:
    """Return rows of ``features``: photos and their features ``(n, 1280)``."""
    named = [labels.label_and_split(photo.path) for photo in photos]
    columns: dict[str, Any] = {
        "path": [photo.path for photo in photos],
        "label": [label for label, _ in named],
        "split": [split for _, split in named],
        "etag": [photo.etag for photo in photos],
        "bytes": [photo.bytes for photo in photos],
        "modified": [photo.modified for photo in photos],
        "sha256": [hashlib.sha256(photo.path.encode()).hexdigest() for photo in photos],
        "width": [100] * len(photos),
        "height": [100] * len(photos),
        "features": tables.vectors(features),
        "backbone": [identity.name("litert")] * len(photos),
        "run_id": [RUN_ID] * len(photos),
    }
    return pa.table(columns, schema=store.FEATURES)


def resampled(real: NDArray[np.float32], count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return `count` rows of the distribution of `real`, both of 1280 features: drawn from it, with noise."""
    drawn = real[rng.integers(len(real), size=count)]
    noise = rng.normal(scale=NOISE, size=drawn.shape) * real.std(axis=0)
    made: NDArray[np.float32] = np.maximum(drawn + noise, 0).astype(np.float32)
    return made


def write_output(location: str, photos: Sequence[Listed], count: int, real: NDArray[np.float32]) -> None:
    """Write the tables of a run that has featurized `count` photos, but for its moments, model and matrix."""
    rng = np.random.default_rng(0)
    output.claim(location, {"inputs": [], "limit": None}, overwrite=False)
    for number, some in enumerate(known(photos, count)):
        table = rows(some, resampled(real, len(some), rng))
        name = tables.part_name(number, RUN_ID)
        store.write_bytes(store.join(location, store.FEATURES_TABLE, name), tables.parquet(table))
    tables.write_empty(store.join(location, store.REJECTED_TABLE), store.REJECTED, RUN_ID)


def finish(location: str, spark: "SparkSession") -> None:
    """Sum up, fit and project, and commit, as a run does."""
    files = list(store.list_stored(store.join(location, store.FEATURES_TABLE), ".parquet"))
    moments = passes.moments(spark, [file.location for file in files])
    coverage.save_sums(location, Sums(moments, coverage.versions(files)))
    wanted = Wanted(None, 0.95, False)
    fitted = refit.choose(location, "", moments, wanted, identity.name("litert"), "auto", 0.01)
    facts = {"backbone": fitted.backbone, "wanted": fitted.wanted, "run_id": RUN_ID}
    models.save(fitted.pca, store.join(location, store.MODELS, fitted.pca.model_id), facts)
    matrix.write(lambda: spark, location, fitted.pca)
    output.commit(location, RUN_ID, {"run_id": RUN_ID, "status": "completed", "output": location})


def write_list(file: Path, photos: Sequence[Listed], count: int) -> None:
    """Write a ``--manifest`` of some photos and of `count` known ones."""
    whole = [*photos, *(one for some in known(photos, count) for one in some)]
    columns = ("path", "bytes", "etag", "modified")
    table = pa.table({name: [getattr(one, name) for one in whole] for name in columns})
    pq.write_table(table, file)


def _etag(number: int) -> str:
    return hashlib.md5(b"%d" % number).hexdigest()  # noqa: S324 (as S3 makes them)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the output and the list."""
    parser = argparse.ArgumentParser(prog="bench_growth", description="Make an output of known photos.")
    add = parser.add_argument
    add("output", type=Path, help="a folder that is not there yet")
    add("list", type=Path, help="a Parquet file to write")
    add("--known", type=int, required=True, help="photos in the output; none makes no output")
    add("--like", type=Path, required=True, help="a features table of real photos")
    add("--photos", type=Path, required=True, help="the new photos")
    add("--cache", type=Path, required=True, help="the job's")
    given = parser.parse_args(arguments)
    location = str(given.output.resolve())
    photos = list(walk(str(given.photos.resolve()), location, set()))
    write_list(given.list, photos, given.known)
    if given.known:
        files = sorted(map(str, given.like.glob("*.parquet")))
        batches = tables.read(files, ["features"])
        real = np.vstack([tables.matrix(batch.column(0), FEATURES) for batch in batches])
        write_output(location, photos, given.known, real)
        spark = session.start(os.environ, given.cache)
        try:
            finish(location, spark)
        finally:
            session.stop(spark)
    print(json.dumps({"known": given.known, "new": len(photos)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
