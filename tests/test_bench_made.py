"""What the benchmark makes up: outputs that the job takes for its own, lists, and S3 servers."""

import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from job.walk import walk
from scripts import bench_compare, bench_growth, bench_photos, bench_s3
from scripts.bench_run import BenchError, environment

REAL = np.random.default_rng(1).gamma(1.0, size=(400, 1280)).astype(np.float32)


def test_known_photos_lie_between_the_new_ones_and_nowhere(tmp_path: Path) -> None:
    for name in ("Training/fig/1.jpg", "Training/kiwi/1.jpg", "Test/kiwi/2.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    photos = list(walk(str(tmp_path), "/none", set()))
    files = list(bench_growth.known(photos, 2500))
    paths = [[photo.path for photo in file] for file in files]
    assert [len(file) for file in paths] == [1000, 1000, 500]
    assert all(file == sorted(file) for file in paths) and len({*paths[0], *paths[1], *paths[2]}) == 2500
    assert not any(Path(path).exists() for file in paths for path in file)
    assert {Path(path).parent for path in paths[2]} == {Path(photo.path).parent for photo in photos}


def test_made_up_features_have_the_distribution_of_real_ones() -> None:
    made = bench_growth.resampled(REAL, 4000, np.random.default_rng(2))
    assert made.dtype == np.float32 and made.min() >= 0
    assert np.abs(made.mean(axis=0) - REAL.mean(axis=0)).max() < 0.1
    assert np.abs(made.std(axis=0) / REAL.std(axis=0) - 1).max() < 0.15
    assert len(np.unique(made, axis=0)) == 4000, "no two are the same"


@pytest.mark.spark
def test_the_job_takes_a_made_up_output_for_its_own(
    sample: Path, tmp_path: Path, spark: SparkSession, run: Callable[..., dict[str, Any]]
) -> None:
    for photo in bench_photos.spread(bench_photos.find(sample), 5):
        target = tmp_path / "photos" / photo.relative_to(sample)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(photo, target)
    location, listed = str(tmp_path / "output"), tmp_path / "list.parquet"
    photos = list(walk(str(tmp_path / "photos"), location, set()))
    bench_growth.write_list(listed, photos, 1100)
    bench_growth.write_output(location, photos, 1100, REAL)
    bench_growth.finish(location, spark)
    moments = (tmp_path / "output/moments/moments.npz").read_bytes()
    found = run("--manifest", listed, "--output", location, "--max-variance-loss", "1")
    assert (found["counts"]["unchanged"], found["counts"]["featurized"], found["counts"]["rows"]) == (
        1100,
        5,
        1105,
    )
    assert not found["model"]["fitted_now"] and found["model"]["rows_projected"] == 5
    assert "moments_anew" not in found and moments != (tmp_path / "output/moments/moments.npz").read_bytes()
    names = sorted(file.name for file in (tmp_path / "output/features").iterdir())
    assert sum("-known." in name for name in names) == 2


def made_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(bench_compare, "EACH", 20)
    monkeypatch.setattr(bench_compare, "ROWS_PER_FILE", 30)
    bench_compare.make(tmp_path / "made", 1000)
    return tmp_path / "made"


def test_what_is_new_changed_and_removed_in_a_made_up_list_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made_comparison(tmp_path, monkeypatch)
    paths = pq.read_table(folder / "list.parquet")["path"].to_pylist()
    assert len(set(paths)) == 1000 and paths != sorted(paths)
    taken, seconds = bench_compare.compare(folder, 2)
    assert (taken.photos, taken.todo, taken.removed, taken.unchanged) == (1000, 40, 20, 960)
    assert seconds > 0 and bench_compare.mistakes(taken, folder, 1000) == 0


def test_a_comparison_that_errs_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made_comparison(tmp_path, monkeypatch)
    first = sorted((folder / "output/features").iterdir())[0]
    rows = pq.read_table(first)
    pq.write_table(rows.slice(1), first)  # a photo less is known, and so taken for new
    taken, _ = bench_compare.compare(folder, 2)
    assert bench_compare.mistakes(taken, folder, 1000) == 2, "one path too many, one unchanged too few"


def test_a_server_serves_a_folder_and_is_gone_afterwards(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/1.jpg").write_bytes(b"photo")
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with bench_s3.serving("near", tmp_path / "photos", 0, tmp_path, environment(1)) as server:
        assert direct.open(f"{server.url}/near/photos/1.jpg").read() == b"photo"
        assert direct.open(f"{server.url}/tables?list-type=2").status == 200
        assert ("GET", "near", "photos/1.jpg") in server.requests() and len(server.requests()) == 2
        server.forget()
        assert server.requests() == []
        if Path("/proc/self/stat").exists():
            assert (server.cpu_seconds() or 0) > 0
    with pytest.raises(urllib.error.URLError):
        direct.open(server.url)
    assert (tmp_path / "photos/1.jpg").exists()


def test_a_server_that_does_not_start_is_an_error(tmp_path: Path) -> None:
    late: Any = "much"
    with (
        pytest.raises(BenchError, match=r"did not start: .*invalid float value"),
        bench_s3.serving("near", tmp_path, late, tmp_path, environment(1)),
    ):
        pass


def test_the_job_goes_to_the_server_with_nothing_of_the_users_own_for_aws() -> None:
    base = {"AWS_PROFILE": "mine", "AWS_SESSION_TOKEN": "secret", "PATH": "/bin"}
    given = bench_s3.Server("near", "http://127.0.0.1:1", 0).environment(base)
    assert given["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1" and given["PATH"] == "/bin"
    assert given["AWS_CONFIG_FILE"] == os.devnull
    assert not {"AWS_PROFILE", "AWS_SESSION_TOKEN"} & set(given)


def test_sparks_reader_reads_every_photo(tmp_path: Path, spark: SparkSession) -> None:
    for number in range(3):
        (tmp_path / "deep" / str(number)).mkdir(parents=True)
        (tmp_path / "deep" / str(number) / "1.jpg").write_bytes(b"x" * (10 + number))
    count, size, seconds = bench_s3.read(spark, f"file:{tmp_path}")
    assert (count, size) == (3, 33) and seconds > 0
