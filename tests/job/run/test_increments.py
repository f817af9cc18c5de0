"""Daily runs on one output: only new photos are processed, and the result is that of a single run."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from job.errors import DataError
from job.model import saved_classifier, saved_model
from tests.job.maths.test_pca import assert_equals_numpy
from tests.support.fruit_tables import assert_same_classifiers
from tests.support.tables import (
    FEATURIZED,
    MATRIX,
    REJECTED,
    assert_whole,
    counts,
    erase_photos,
    snapshot,
    table,
    vectors,
)

pytestmark = pytest.mark.spark

Daily = Callable[..., dict[str, Any]]
MorePhotos = Callable[..., list[Path]]


def fail_to_load(*_: object) -> None:
    raise AssertionError("a network was loaded")


def test_ten_increments_with_changes_and_an_erasure_equal_one_run(
    daily: Daily, more_photos: MorePhotos, whole: Path, sample: Path, tmp_path: Path
) -> None:
    out, expected = tmp_path / "out", table(whole, FEATURIZED)
    step = -(-len(expected) // 10)
    known, swapped, erased = 0, list[Path](), list[Path]()
    for number in range(10):
        added = more_photos(step)
        for photo in swapped:  # they had another photo's content
            shutil.copy(sample / photo.relative_to(tmp_path / "photos"), photo)
        changed, swapped = len(swapped), added[:7] if number in (2, 5) else []
        for photo, content in zip(swapped, [other.read_bytes() for other in reversed(swapped)], strict=True):
            photo.write_bytes(content)
        if number == 3:
            erased = [
                Path(shutil.copy(photo, photo.with_name(f"erased {photo.name}"))) for photo in added[:5]
            ]
        record = daily(*(["--refit", "always"] if number == 9 else []))
        new = len(added) + len(erased)
        assert counts(record) == (known + new, known - changed, new + changed, 0, 0)
        known += len(added)
        if erased:
            assert erase_photos(out, erased)["moments"] == "brought up to date, exactly"
            for photo in erased:
                photo.unlink()
            erased = []
    assert_whole(out)
    features = table(out, FEATURIZED)
    features.index = pd.Index([path.replace(f"{tmp_path}/photos", str(sample)) for path in features.index])
    assert features.index.equals(expected.index)
    assert vectors(features).tobytes() == vectors(expected).tobytes()
    assert (features["sha256"].to_numpy() == expected["sha256"].to_numpy()).all()
    assert features["run_id"].nunique() == 10

    model, _ = saved_model.load(str(out), record["model"]["model_id"]) or pytest.fail("the model is gone")
    assert model.n == len(expected)
    assert_equals_numpy(model, vectors(expected).astype(np.float64))
    assert_same_classifiers(saved_classifier.load(str(out)), saved_classifier.load(str(whole)))


def test_new_changed_removed_and_bad_photos_are_counted_and_processed_once(
    daily: Daily, more_photos: MorePhotos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    old = more_photos(60)
    daily("--wave", 8)
    before, files = table(out, FEATURIZED), snapshot(out).files
    with monkeypatch.context() as patch:
        patch.setattr("job.network.backbone.load", fail_to_load)
        record = daily()
    assert counts(record) == (60, 60, 0, 0, 0)
    assert record["model"]["fitted_now"] is False
    assert record["cores"] is None, "Spark was not needed"
    assert snapshot(out).files == files

    new = more_photos(10)
    for photo, other in zip(old[:6], new, strict=False):
        photo.write_bytes(other.read_bytes())
    for photo in old[6:10]:
        photo.unlink()
    old[10].write_bytes(old[10].read_bytes()[:500])
    (old[11].parent / "bad.jpg").write_bytes(b"no photo")
    record = daily("--wave", 8)
    assert counts(record) == (60 - 4 + 10 + 1, 60 - 4 - 6 - 1, 10 + 6, 2, 4)
    after = table(out, FEATURIZED)
    assert set(after.index) == {str(photo) for photo in [*old, *new]} - {str(old[10])}
    for photo, other in zip(old[:6], new, strict=False):
        assert after.loc[str(photo), "features"].tobytes() == after.loc[str(other), "features"].tobytes()
        assert after.loc[str(photo), "etag"] != before.loc[str(photo), "etag"]
    kept = [str(photo) for photo in old[11:]]
    assert after.loc[kept].equals(before.loc[kept])
    reasons = table(out, REJECTED)["reason"].to_dict()
    assert reasons[str(old[10])] == "truncated"
    assert len(reasons) == 2
    assert_whole(out)
    listed = pd.read_parquet(out / "missing")
    assert sorted(listed["path"]) == sorted(map(str, old[6:10]))
    assert set(listed["outcome"]) == {FEATURIZED}

    record = daily("--prune")
    assert counts(record) == (67, 67, 0, 0, 4)
    assert record["counts"]["pruned"] == 4
    assert set(table(out, FEATURIZED).index) == {str(photo) for photo in [*old[:6], *old[11:], *new]}
    assert_whole(out)
    assert pd.read_parquet(out / "missing").empty


def test_a_rejected_photo_is_tried_again_when_it_changed_or_on_demand(
    daily: Daily, more_photos: MorePhotos, tmp_path: Path
) -> None:
    good = more_photos(20)
    whole_photo = good[0].read_bytes()
    good[0].write_bytes(whole_photo[:700])
    good[1].write_bytes(whole_photo[:800])
    options = ("--max-rejected", "0.2")
    assert counts(daily(*options)) == (20, 0, 18, 2, 0)
    record = daily(*options)
    assert counts(record) == (20, 20, 0, 0, 0)
    assert record["counts"]["rejected_before"] == 2
    with pytest.raises(DataError, match=r"2 of 20 photos were rejected \(2 by earlier runs\)"):
        daily()
    assert counts(daily(*options, "--retry-rejected")) == (20, 18, 0, 2, 0)
    good[0].write_bytes(whole_photo)
    assert counts(daily(*options)) == (20, 19, 1, 0, 0)
    assert list(table(tmp_path / "out", REJECTED).index) == [str(good[1])]
    assert str(good[0]) in table(tmp_path / "out", FEATURIZED).index


def test_a_run_with_a_used_run_id_overwrites_nothing(
    daily: Daily, more_photos: MorePhotos, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    more_photos(12)
    daily("--run-id", "night", "--wave", 5)
    files, record = snapshot(out).files, (out / "runs" / "night.json").read_bytes()
    more_photos(8)
    assert counts(daily("--run-id", "night", "--wave", 5)) == (20, 12, 8, 0, 0)
    assert files.items() <= snapshot(out).files.items()
    assert (out / "runs" / "night.json").read_bytes() == record
    assert sorted(file.name for file in (out / "runs").iterdir()) == ["night.2.json", "night.json"]
    assert len(table(out, MATRIX)) == 20
