"""An output of many known photos, made without photos, and a list of those and of new ones: where (i) begins.

Each known photo has the features of a real one, a little changed, so that a model of theirs fits the new
photos as well. Its path leads to nothing: whoever read it would find out. Everything else is done by the
job's own functions. Run by ``bench``: ``python -m scripts.bench.growth OUTPUT LIST --known N --like OUTPUT
--photos DIR``.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from job.cli import settings
from job.inventory import labels
from job.inventory.folders import ListedFile, walk
from job.model import incremental_moments, projection, refit, saved_model
from job.network import backbone
from job.network.backbone import FEATURES
from job.storage import store
from job.table import claim, commits, files, layout, writer
from scripts.bench import synthetic_table

RUN_ID: Final = "known"
ROWS_PER_FILE: Final = 1000  # a wave's
LISTED: Final = ("path", "bytes", "etag", "modified")
NOISE: Final = 0.05  # in standard deviations of a feature: 0.25 % of the variance
MODIFIED: Final = datetime(2026, 1, 1, tzinfo=UTC)


def known(photos: Sequence[ListedFile], count: int) -> Iterator[list[ListedFile]]:
    """Yield `count` photos that do not exist, by the files they are known in.

    They lie in the folders of `photos`, and each file has some of every folder, as a day's photos would.
    """
    folders = sorted({photo.path.rpartition("/")[0] for photo in photos})
    for start in range(0, count, ROWS_PER_FILE):
        made = [
            ListedFile(
                f"{folders[number % len(folders)]}/known-{number:07}.jpg",
                5000 + number % 997,
                _etag(number),
                MODIFIED,
            )
            for number in range(start, min(start + ROWS_PER_FILE, count))
        ]
        yield sorted(made)


def rows(photos: Sequence[ListedFile], features: NDArray[np.float32]) -> pa.Table:
    """Return rows of the table: photos and their features ``(n, 1280)``."""
    names, splits = zip(*(labels.label_and_split(photo.path) for photo in photos), strict=True)
    facts = {name: [getattr(photo, name) for photo in photos] for name in LISTED}
    network = pa.repeat(backbone.name("litert"), len(photos))
    vectors = files.vectors(features)
    return synthetic_table.rows(**facts, label=names, split=splits, features=vectors, backbone=network)


def resampled(real: NDArray[np.float32], count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return `count` rows of the distribution of `real`, both of 1280 features: drawn from it, with noise."""
    drawn = real[rng.integers(len(real), size=count)]
    noise = rng.normal(scale=NOISE, size=drawn.shape) * real.std(axis=0)
    made: NDArray[np.float32] = np.maximum(drawn + noise, 0).astype(np.float32)
    return made


def write_output(output: str, photos: Sequence[ListedFile], count: int, real: NDArray[np.float32]) -> None:
    """Write what a run that has featurized `count` photos leaves: table, moments, model and matrix."""
    rng = np.random.default_rng(0)
    parts = (rows(some, resampled(real, len(some), rng)) for some in known(photos, count))
    with writer.exclusive_writer(
        output,
        RUN_ID,
        "run",
        lambda found: claim.admit_run(output, found, claim.input_claim((), None), False),
    ) as writing:
        writing.commit(add=synthetic_table.write_files(output, parts))
        featurized = writing.snapshot.files_of(layout.FEATURIZED)
        moments, _ = incremental_moments.sum_up(
            output, featurized, partial(incremental_moments.of_files, output)
        )
        usual = settings.parse_settings(["--input", "-", "--output", output], {})
        model = refit.choose(usual, "", moments).pca
        facts = {**refit.facts(usual), "run_id": RUN_ID}
        saved_model.save(model, store.join(output, layout.MODELS, model.model_id), facts)
        projection.write(
            output,
            featurized,
            model,
            lambda some: sum(projection.project(output, file.path, model) for file in some),
        )


def write_list(file: Path, photos: Sequence[ListedFile], count: int) -> None:
    """Write a ``--manifest`` of some photos and of `count` known ones."""
    whole = [*photos, *(one for some in known(photos, count) for one in some)]
    table = pa.table({name: [getattr(one, name) for one in whole] for name in LISTED})
    pq.write_table(table, file)


def _features(output: str) -> NDArray[np.float32]:
    """Return the features ``(n, 1280)`` of an output."""
    found = commits.load(output)
    assert found is not None
    places = [files.location(output, file.path) for file in found.files_of(layout.FEATURIZED)]
    batches = files.batches(places, ["features"])
    return np.vstack([files.matrix(batch.column(0), FEATURES) for batch in batches])


def _etag(number: int) -> str:
    return hashlib.md5(b"%d" % number).hexdigest()  # noqa: S324 (as S3 makes them)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the output and the list."""
    parser = argparse.ArgumentParser(description="Make an output of known photos.")
    add = parser.add_argument
    add("output", type=Path, help="a folder that is not there yet")
    add("list", type=Path, help="a Parquet file to write")
    add("--known", type=int, required=True, help="photos in the output; none makes no output")
    add("--like", type=Path, required=True, help="an output of real photos")
    add("--photos", type=Path, required=True, help="the new photos")
    given = parser.parse_args(arguments)
    location = str(given.output.resolve())
    photos = list(walk(str(given.photos.resolve()), location, set()))
    write_list(given.list, photos, given.known)
    if given.known:
        write_output(location, photos, given.known, _features(str(given.like.resolve())))
    print(json.dumps({"known": given.known, "new": len(photos)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
