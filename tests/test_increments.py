"""Runs upon runs on one output: only what is new is made, and the result is that of one run on all of it."""

import json
import random
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import pytest
from numpy.typing import NDArray

from job.errors import DataError
from tests.spark_session import Run

pytestmark = pytest.mark.spark


@pytest.fixture
def photos(sample: Path, tmp_path: Path) -> Callable[..., list[Path]]:
    """Return a function that puts so many more photos into a folder, in a fixed random order."""
    waiting = sorted(sample.rglob("*.jpg"))
    random.Random(5).shuffle(waiting)

    def put(number: int | None = None) -> list[Path]:
        put_now = []
        for photo in waiting[:number]:
            target = tmp_path / "photos" / photo.relative_to(sample)
            target.parent.mkdir(parents=True, exist_ok=True)
            put_now.append(Path(shutil.copy(photo, target)))
        del waiting[:number]
        return put_now

    return put


@pytest.fixture
def job(run: Run, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Return a function that runs the job on that folder."""
    return lambda *options: run("--input", tmp_path / "photos", "--output", tmp_path / "out", *options)


def counts(record: dict[str, Any]) -> tuple[int, ...]:
    """Return listed, unchanged, featurized, rejected and removed; the first is the sum of the next three."""
    found = record["counts"]
    listed, *rest = (found[name] for name in ("listed", "unchanged", "featurized", "rejected", "removed"))
    assert listed == sum(rest[:3])
    return listed, *rest


def table(output: Path, name: str) -> pd.DataFrame:
    """Read a table, in which each photo is once, by path."""
    frame = pd.read_parquet(output / name).set_index("path").sort_index()
    assert frame.index.is_unique
    return frame


def vectors(frame: pd.DataFrame) -> NDArray[np.float32]:
    return np.vstack(list(frame["features"]))


def no_network(*_: object) -> None:
    raise AssertionError("a network was loaded")


def test_ten_increments_equal_one_run(
    job: Callable[..., dict[str, Any]],
    photos: Callable[..., list[Path]],
    whole: Path,
    sample: Path,
    tmp_path: Path,
) -> None:
    expected = table(whole, "features")
    step = -(-len(expected) // 10)
    known = 0
    for number in range(10):
        added = photos(step)
        record = job(*(["--refit", "always"] if number == 9 else []))
        assert counts(record) == (known + len(added), known, len(added), 0, 0)
        known += len(added)
    assert known == len(expected)
    found = table(tmp_path / "out", "features")
    found.index = pd.Index([path.replace(f"{tmp_path}/photos", str(sample)) for path in found.index])
    assert found.index.equals(expected.index)
    assert vectors(found).tobytes() == vectors(expected).tobytes()
    assert (found["sha256"].to_numpy() == expected["sha256"].to_numpy()).all()
    assert found["run_id"].nunique() == 10

    one_run = json.loads((whole / "runs" / "whole.json").read_text())
    ours = np.load(tmp_path / "out" / "models" / record["model"]["model_id"] / "pca.npz")
    theirs = np.load(whole / "models" / one_run["model"]["model_id"] / "pca.npz")
    assert ours["components"].shape == theirs["components"].shape
    assert int(ours["n"]) == len(expected)
    np.testing.assert_allclose(ours["explained_variance"], theirs["explained_variance"], rtol=1e-9)
    np.testing.assert_allclose(
        ours["explained_variance_ratio"], theirs["explained_variance_ratio"], rtol=1e-9
    )
    # An eigenvector is only as well determined as its eigenvalue is apart from the next.
    values = theirs["explained_variance"]
    apart = np.minimum(-np.diff(values, append=0), np.append(np.inf, -np.diff(values))) > 1e-5 * values[0]
    assert apart.sum() > len(values) // 2
    np.testing.assert_allclose(ours["components"][apart], theirs["components"][apart], rtol=0, atol=1e-9)
    matrix = table(tmp_path / "out", "pca")
    assert len(matrix) == len(expected)
    assert matrix["model_id"].unique().tolist() == [record["model"]["model_id"]]


def test_what_is_new_changed_removed_and_bad_is_just_that(
    job: Callable[..., dict[str, Any]],
    photos: Callable[..., list[Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    old = photos(60)
    job("--wave", 8)
    before = table(out, "features")
    with monkeypatch.context() as patch:
        patch.setattr("job.backbone.load", no_network)
        record = job()
    assert counts(record) == (60, 60, 0, 0, 0)
    assert record["model"]["fitted_now"] is False
    assert record["cores"] is None, "Spark was not needed"
    assert table(out, "features").equals(before)

    new = photos(10)
    for photo, other in zip(old[:6], new, strict=False):
        photo.write_bytes(other.read_bytes())
    for photo in old[6:10]:
        photo.unlink()
    old[10].write_bytes(old[10].read_bytes()[:500])
    (old[11].parent / "bad.jpg").write_bytes(b"no photo")
    record = job("--wave", 8)
    assert counts(record) == (60 - 4 + 10 + 1, 60 - 4 - 6 - 1, 10 + 6, 2, 4)
    after = table(out, "features")
    assert set(after.index) == {str(photo) for photo in [*old, *new]} - {str(old[10])}
    for photo, other in zip(old[:6], new, strict=False):
        assert after.loc[str(photo), "features"].tobytes() == after.loc[str(other), "features"].tobytes()
        assert after.loc[str(photo), "etag"] != before.loc[str(photo), "etag"]
    kept = [str(photo) for photo in old[11:]]
    assert after.loc[kept].equals(before.loc[kept])
    reasons = table(out, "rejected")["reason"].to_dict()
    assert reasons[str(old[10])] == "truncated"
    assert len(reasons) == 2
    assert len(table(out, "pca")) == len(after)

    record = job("--prune")
    assert counts(record) == (67, 67, 0, 0, 4)
    assert record["counts"]["pruned"] == 4
    assert not set(map(str, old[6:10])) & set(table(out, "features").index)
    assert len(table(out, "pca")) == 65
    exact = vectors(table(out, "features")).astype(np.float64)
    kept_moments = np.load(out / "moments" / "moments.npz")
    assert int(kept_moments["n"]) == 65
    np.testing.assert_allclose(kept_moments["mean"], exact.mean(axis=0), rtol=1e-9, atol=1e-12)
    lower = ((exact - exact.mean(axis=0)).T @ (exact - exact.mean(axis=0)))[np.tril_indices(1280)]
    np.testing.assert_allclose(kept_moments["scatter"], lower, rtol=1e-9, atol=1e-9)


def test_a_rejected_photo_is_tried_again_when_it_changed_or_on_demand(
    job: Callable[..., dict[str, Any]], photos: Callable[..., list[Path]], tmp_path: Path
) -> None:
    good = photos(20)
    whole_photo = good[0].read_bytes()
    good[0].write_bytes(whole_photo[:700])
    good[1].write_bytes(whole_photo[:800])
    options = ("--max-rejected", "0.2")
    assert counts(job(*options)) == (20, 0, 18, 2, 0)
    record = job(*options)
    assert counts(record) == (20, 20, 0, 0, 0)
    assert record["counts"]["rejected_before"] == 2
    with pytest.raises(DataError, match=r"2 of 20 photos were rejected \(2 by earlier runs\)"):
        job()
    assert counts(job(*options, "--retry-rejected")) == (20, 18, 0, 2, 0)
    good[0].write_bytes(whole_photo)
    assert counts(job(*options)) == (20, 19, 1, 0, 0)
    assert list(table(tmp_path / "out", "rejected").index) == [str(good[1])]
    assert str(good[0]) in table(tmp_path / "out", "features").index


def test_another_decoder_makes_all_photos_again_in_their_places(
    job: Callable[..., dict[str, Any]],
    photos: Callable[..., list[Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    photos(24)
    job("--wave", 5)
    files = sorted(file.name for file in (tmp_path / "out" / "features").iterdir())
    before = table(tmp_path / "out", "features")
    monkeypatch.setattr("job.identity.DECODE_VERSION", 99)
    record = job()
    assert counts(record) == (24, 0, 24, 0, 0)
    after = table(tmp_path / "out", "features")
    assert after["backbone"].unique().tolist() == [record["backbone"]]
    assert record["backbone"].endswith("decode99")
    assert vectors(after).tobytes() == vectors(before).tobytes()
    assert sorted(file.name for file in (tmp_path / "out" / "features").iterdir()) == files
    assert record["model"]["fitted_now"], "a model is of one network"


def test_readers_see_whole_waves_of_distinct_photos_while_a_run_works(
    job: Callable[..., dict[str, Any]], photos: Callable[..., list[Path]], tmp_path: Path
) -> None:
    old = photos(40)
    job("--wave", 10)
    new = photos(60)
    for photo, other in zip(old[:12], new, strict=False):
        photo.write_bytes(other.read_bytes())
    seen: list[set[str]] = []
    over, failures = threading.Event(), list[str]()

    def read() -> None:
        while not over.is_set():
            paths = ds.dataset(tmp_path / "out" / "features").to_table(columns=["path"])["path"].to_pylist()
            if len(set(paths)) != len(paths):
                failures.append("a photo is there twice")
            if not {str(photo) for photo in old} <= set(paths):
                failures.append("a photo that was known is missing")
            if not seen or set(paths) != seen[-1]:
                seen.append(set(paths))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert counts(job("--wave", 10)) == (100, 28, 72, 0, 0)
    finally:
        over.set()
        reader.join()
    assert not failures
    assert len(seen) > 2, "waves were seen to come"
    for file in (tmp_path / "out" / "features").iterdir():
        wave = set(pd.read_parquet(file, columns=["path"])["path"])
        assert all(wave <= state or not wave & state for state in seen), "all of a wave, or nothing"


def test_the_old_model_stays_while_it_keeps_the_variance_and_else_all_is_projected_anew(
    job: Callable[..., dict[str, Any]], photos: Callable[..., list[Path]], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    photos(40)
    first = job("--components", 5)["model"]
    photos(10)
    kept = job("--components", 5, "--max-variance-loss", "0.5")["model"]
    assert (kept["model_id"], kept["fitted_now"], kept["rows_projected"]) == (first["model_id"], False, 10)
    assert len(table(out, "pca")) == 50
    photos(10)
    fitted = job("--components", 5, "--max-variance-loss", "0", "--refit", "always")["model"]
    assert fitted["fitted_now"]
    assert fitted["rows_projected"] == 60
    assert table(out, "pca")["model_id"].unique().tolist() == [fitted["model_id"]]
    assert len(list((out / "models").iterdir())) == 2, "yesterday's model is still there"
    assert {file.name.rpartition(".")[0].split(".")[1] for file in (out / "pca_csv").iterdir()} == {
        fitted["model_id"]
    }
    wanted = job("--components", 7)["model"]
    assert (wanted["components"], wanted["rows_projected"]) == (7, 60)
