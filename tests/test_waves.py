"""What stands in an output while it grows: whole waves, one row a photo, and the model that it says."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.dataset as ds
import pytest

from tests.increments import counts, table, vectors

pytestmark = pytest.mark.spark


def test_another_decoder_makes_all_photos_again_in_their_places(
    daily: Callable[..., dict[str, Any]],
    more_photos: Callable[..., list[Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    more_photos(24)
    daily("--wave", 5)
    files = sorted(file.name for file in (tmp_path / "out" / "features").iterdir())
    before = table(tmp_path / "out", "features")
    monkeypatch.setattr("job.identity.DECODE_VERSION", 99)
    record = daily()
    assert counts(record) == (24, 0, 24, 0, 0)
    after = table(tmp_path / "out", "features")
    assert after["backbone"].unique().tolist() == [record["backbone"]]
    assert record["backbone"].endswith("decode99")
    assert vectors(after).tobytes() == vectors(before).tobytes()
    assert sorted(file.name for file in (tmp_path / "out" / "features").iterdir()) == files
    assert record["model"]["fitted_now"], "a model is of one network"


def test_readers_see_whole_waves_of_distinct_photos_while_a_run_works(
    daily: Callable[..., dict[str, Any]], more_photos: Callable[..., list[Path]], tmp_path: Path
) -> None:
    old = more_photos(40)
    daily("--wave", 10)
    new = more_photos(60)
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
        assert counts(daily("--wave", 10)) == (100, 28, 72, 0, 0)
    finally:
        over.set()
        reader.join()
    assert not failures
    assert len(seen) > 2, "waves were seen to come"
    for file in (tmp_path / "out" / "features").iterdir():
        wave = set(pd.read_parquet(file, columns=["path"])["path"])
        assert all(wave <= state or not wave & state for state in seen), "all of a wave, or nothing"


def test_the_old_model_stays_while_it_keeps_the_variance_and_else_all_is_projected_anew(
    daily: Callable[..., dict[str, Any]], more_photos: Callable[..., list[Path]], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    more_photos(40)
    first = daily("--components", 5)["model"]
    more_photos(10)
    kept = daily("--components", 5, "--max-variance-loss", "0.5")["model"]
    assert (kept["model_id"], kept["fitted_now"], kept["rows_projected"]) == (first["model_id"], False, 10)
    assert len(table(out, "pca")) == 50
    more_photos(10)
    fitted = daily("--components", 5, "--max-variance-loss", "0", "--refit", "always")["model"]
    assert fitted["fitted_now"]
    assert fitted["rows_projected"] == 60
    assert table(out, "pca")["model_id"].unique().tolist() == [fitted["model_id"]]
    assert len(list((out / "models").iterdir())) == 2, "yesterday's model is still there"
    assert {file.name.rpartition(".")[0].split(".")[1] for file in (out / "pca_csv").iterdir()} == {
        fitted["model_id"]
    }
    wanted = daily("--components", 7)["model"]
    assert (wanted["components"], wanted["rows_projected"]) == (7, 60)
