"""Runs upon runs on one output: only what is new is made, and the result is that of one run on all of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from job import commands
from job.errors import DataError
from tests.tables import FEATURIZED, PCA, REJECTED, assert_whole, counts, table, vectors

pytestmark = pytest.mark.spark

Daily = Callable[..., dict[str, Any]]
MorePhotos = Callable[..., list[Path]]


def test_ten_increments_with_changes_and_an_erasure_equal_one_run(
    daily: Daily, more_photos: MorePhotos, whole: Path, sample: Path, tmp_path: Path
) -> None:
    out, expected = tmp_path / "out", table(whole, FEATURIZED)
    step = -(-len(expected) // 10)
    known = other = 0
    for number in range(10):
        added = more_photos(step)
        passing = [photo.with_name(f"passing {photo.name}") for photo in added[:5] if number in (2, 4)]
        for photo, original in zip(passing, added, strict=False):
            photo.write_bytes(original.read_bytes())
        contents = [photo.read_bytes() for photo in added[:7]]
        if number in (1, 5):  # the first seven are others' content today, and their own tomorrow
            for photo, content in zip(added, contents[1:] + contents[:1], strict=False):
                photo.write_bytes(content)
        record = daily(*(["--refit", "always"] if number == 9 else []))
        assert counts(record) == (known + len(added) + len(passing), known - other, len(added) + len(passing) + other, 0, 0)
        known += len(added) + len(passing)
        other = 7 if number in (1, 5) else 0
        for photo, content in zip(added, contents, strict=False):
            photo.write_bytes(content)
