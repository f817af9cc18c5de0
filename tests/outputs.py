"""A whole output, made without photos that anything could decode, without a network and without Spark.

Its table is what runs would have left, by the job's own functions. Only the features are drawn, from the
path of each photo: one photo has the same in any output.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from job import featurize, identity, inventory, matrix, models, store, summing, tasks
from job.backbone import FEATURES
from job.featurize import Outcome
from job.moments import Moments
from job.pca import Pca
from job.table import claim, commits, files, layout, schema, sweep, writer
from job.table.layout import DataFile
from job.table.writer import Writer
from job.tasks import Photo
from job.walk import Listed, walk

RUN_IDS: Final = ("20260101T060000Z-00000a", "20260102T060000Z-00000b", "20260103T060000Z-00000c")
DIRECTIONS: Final = np.random.default_rng(0).normal(size=(20, FEATURES))
COMPONENTS: Final = 3
NETWORK: Final = identity.name("litert")


@dataclass(frozen=True)
class Made:
    """An output and what is in it.

    Attributes
    ----------
    location, source : str
    good, bad : list of str
        Photos that are featurized, and that are rejected, in order.
    sha256 : dict
        Of all of them, by path.
    changed, missing : list of str
        Of the good: those whose rows the second run has replaced, and those that it did not find.
    runs : list of str
    model_id : str
    """

    location: str
    source: str
    good: list[str]
    bad: list[str]
    sha256: dict[str, str]
    changed: list[str]
    missing: list[str]
    runs: list[str]
    model_id: str


def photos(folder: Path, count: int) -> str:
    """Write files that are listed as photos, each of its own bytes, and return the folder."""
    for number in range(count):
        below = folder / ("Training" if number % 4 else "Test") / f"Fruit {number * 7 // max(count, 1)}"
        below.mkdir(parents=True, exist_ok=True)
        (below / f"photo-{number:05}-{number * 2654435761 % 2**32:08x}.jpg").write_bytes(b"photo %d" % number)
    return str(folder)


def make(
    location: str,
    source: str,
    cores: int = 4,
    rejected: int = 3,
    runs: int = 2,
    changed: int = 1,
    missing: int = 1,
    without: Collection[str] = (),
) -> Made:
    """Make the output of some runs on the photos of a folder.

    Parameters
    ----------
    location, source : str
        The output, and a folder that :func:`photos` has filled, with at least 16 photos a run.
    cores : int
        Each run writes about so many files of featurized photos, of 16 photos at most.
    rejected : int
        So many of the photos are bad.
    runs : int
        Every so-manieth photo is of the same run: paths of different runs' files overlap.
    changed, missing : int
        So many photos of the first run are listed again by the second, as changed; so many others are deleted
        before it.
    without : collection of str
        Paths that are left out, as if they had never been there.
    """
    listed = [one for one in sorted(walk(source, location, set())) if one.path not in without]
    sha256 = {one.path: hashlib.sha256(Path(one.path).read_bytes()).hexdigest() for one in listed}
    bad = sorted(sorted(sha256, key=_digest)[:rejected])
    by_run = [listed[number::runs] for number in range(runs)]
    first = [one.path for one in by_run[0] if one.path not in bad]
    again, gone = (first[:changed], first[changed : changed + missing]) if runs > 1 else ([], [])
    model_id = ""
    for number, (run_id, new) in enumerate(zip(RUN_IDS, by_run, strict=False)):
        with writing(location, run_id, "run", source) as running:
            of_paths = files_of_paths(running) if number == 1 else {}
            replacing = [Photo(one, of_paths[one.path]) for one in listed if one.path in again and of_paths]
            write(running, new, replacing, cores, bad, sha256)
            lost = {"path": [path for path in gone if of_paths], "outcome": layout.FEATURIZED}
            inventory._write_missing(location, pa.table(lost).to_batches())
            if number == runs - 1:
                model_id = finish(running).model_id
        record = {"run_id": run_id, "status": "completed", "input": [source], "output": location}
        store.write_bytes(f"{location}/{layout.RUNS}/{run_id}.json", json.dumps(record).encode())
    for path in gone:
        Path(path).unlink()
    good = sorted(sha256.keys() - set(bad))
    return Made(location, source, good, bad, sha256, again, gone, list(RUN_IDS[:runs]), model_id)
