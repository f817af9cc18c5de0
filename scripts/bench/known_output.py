"""Prepares measure (i), the increment: an output of many known photos, and a list of these and of new ones.

The known photos do not exist: a run that read one would fail. Each has the features of a real photo with some
noise, so that their model also fits the new photos. The job's own functions write the output. ``python -m
scripts.bench.known_output OUTPUT LIST --known N --like OUTPUT --photos DIR``.
"""

import argparse
import hashlib
import json
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
from job.inventory.folder_listing import ListedFile, folder_files
from job.model import incremental_moments, projection, refit, saved_model
from job.network import backbone
from job.network.backbone import FEATURES
from job.storage import store
from job.table import commits, files, layout, writer
from scripts.bench import synthetic_table

RUN_ID: Final = "known"
ROWS_PER_FILE: Final = 1000  # a task's
LISTED: Final = ("path", "bytes", "etag", "modified")
NOISE: Final = 0.05  # in standard deviations of a feature: 0.25 % of the variance
MODIFIED: Final = datetime(2026, 1, 1, tzinfo=UTC)


def known_photos(photos: Sequence[ListedFile], count: int) -> Iterator[list[ListedFile]]:
    """Yield `count` photos that do not exist, one list for each file of the table.

    They lie in the folders of `photos`; each file holds photos of every folder, as a day's photos would.
    """
    folders = sorted({photo.path.rpartition("/")[0] for photo in photos})
    for start in range(0, count, ROWS_PER_FILE):
        batch = [
            ListedFile(
                f"{folders[number % len(folders)]}/known-{number:07}.jpg",
                5000 + number % 997,
                _etag(number),
                MODIFIED,
            )
            for number in range(start, min(start + ROWS_PER_FILE, count))
        ]
        yield sorted(batch)


def rows(photos: Sequence[ListedFile], features: NDArray[np.float32]) -> pa.Table:
    """Return rows of the table for photos and their features ``(n, 1280)``."""
    names, splits = zip(*(labels.label_and_split(photo.path) for photo in photos), strict=True)
    facts = {name: [getattr(photo, name) for photo in photos] for name in LISTED}
    backbones = pa.repeat(backbone.name("litert"), len(photos))
    vectors = files.vectors(features)
    return synthetic_table.rows(**facts, label=names, split=splits, features=vectors, backbone=backbones)


def resampled(real: NDArray[np.float32], count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return features ``(count, 1280)``: rows of `real` ``(n, 1280)``, drawn at random, with noise."""
    sample = real[rng.integers(len(real), size=count)]
    noise = rng.normal(scale=NOISE, size=sample.shape) * real.std(axis=0)
    features: NDArray[np.float32] = np.maximum(sample + noise, 0).astype(np.float32)
    return features


def write_output(output: str, photos: Sequence[ListedFile], count: int, real: NDArray[np.float32]) -> None:
    """Write the table, moments, model and matrix that a run on `count` photos would write."""
    rng = np.random.default_rng(0)
    parts = (rows(batch, resampled(real, len(batch), rng)) for batch in known_photos(photos, count))
    with writer.exclusive_writer(
        output, RUN_ID, "run", first_actions=synthetic_table.first_actions(output)
    ) as writing:
        writing.commit(add=synthetic_table.write_files(output, parts))
        featurized = writing.snapshot.files_of(layout.FEATURIZED)
        moments, _ = incremental_moments.update(
            output, featurized, partial(incremental_moments.file_moments, output)
        )
        defaults = settings.parse_settings(["--input", "-", "--output", output], {})
        model = refit.choose_model(defaults, "", moments.features.total).pca
        facts = {**refit.model_settings(defaults), "run_id": RUN_ID}
        saved_model.save(model, store.join(output, layout.MODELS, model.model_id), facts)
        projection.update(
            output,
            featurized,
            model,
            lambda data_files: sum(projection.project_file(output, file.path, model) for file in data_files),
        )


def write_list(file: Path, photos: Sequence[ListedFile], count: int) -> None:
    """Write a ``--manifest`` of `photos` and of `count` known photos."""
    listed = [*photos, *(photo for batch in known_photos(photos, count) for photo in batch)]
    table = pa.table({name: [getattr(photo, name) for photo in listed] for name in LISTED})
    pq.write_table(table, file)


def _features(output: str) -> NDArray[np.float32]:
    """Return the features ``(n, 1280)`` of an output."""
    snapshot = commits.load(output)
    assert snapshot is not None
    locations = [files.location(output, file.path) for file in snapshot.files_of(layout.FEATURIZED)]
    batches = files.batches(locations, ["features"])
    return np.vstack([files.matrix(batch.column(0), FEATURES) for batch in batches])


def _etag(number: int) -> str:
    return hashlib.md5(b"%d" % number).hexdigest()  # noqa: S324 (as S3 makes them)


def main() -> None:
    """Make the output and the list."""
    parser = argparse.ArgumentParser(description="Make an output of known photos.")
    add = parser.add_argument
    add("output", type=Path, help="a folder that does not exist yet")
    add("list", type=Path, help="a Parquet file to write")
    add("--known", type=int, required=True, help="photos in the output; 0 makes no output")
    add("--like", type=Path, required=True, help="an output of real photos")
    add("--photos", type=Path, required=True, help="the new photos")
    options = parser.parse_args()
    location = str(options.output.resolve())
    photos = list(folder_files(str(options.photos.resolve()), location, set()))
    write_list(options.list, photos, options.known)
    if options.known:
        write_output(location, photos, options.known, _features(str(options.like.resolve())))
    print(json.dumps({"known": options.known, "new": len(photos)}))


if __name__ == "__main__":
    main()
