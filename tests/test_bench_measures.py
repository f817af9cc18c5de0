"""That no wrong result of the benchmark meets a target, on scripted runs; and made-up outputs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq
import pytest

from job.walk import walk
from scripts import bench_compare, bench_growth, bench_photos
from scripts import bench_daily as daily
from scripts import bench_measures as measures
from scripts.bench_figures import Measurement
from scripts.bench_run import BenchError, Ran
from scripts.bench_sides import QUICK, Bench, JobRun
from tests.spark_session import Run

Told = dict[str, Any]
Script = Callable[[Told], "Scripted"]
SECONDS: Final = {"inventory": 0.1, "featurize": 4.0, "pca": 2.0, "total": 7.0}
BOOK: Final = {"photos": 60, "variance_kept": 0.8705, "seconds": {"fit": 200.0}}
PCAS: Final = {"ours": [2.0, 1.0], "other": [25.0, 20.0], "difference": 1e-9}
FOUND: Final = {"new_or_changed": 2000, "missing": 1000, "mistakes": 0, "seconds": 9.0, "peak_bytes": 4e8}
OPENED: Final = {**FOUND, "commits": 40, "files": 400, "opened": {"without": 4.0, "with": 0.5}}
KEPT: Final = {"fitted_now": False, "rows_projected": 100, "variance_kept": 0.87}


@dataclass(slots=True)
class Scripted(Bench):
    """A bench whose runs take no time, and tell what a test says."""

    told: Told = field(default_factory=dict)

    def folder(self, count: int) -> Path:
        return self.scratch / str(count)

    def command(self, *arguments: object, variables: dict[str, str] | None = None) -> JobRun:
        del arguments, variables
        (self.scratch / "increment").mkdir(exist_ok=True)
        usual = {"counts": {"unchanged": 300}, "model": KEPT, "cores": None}
        record = usual | self.told | {"seconds": SECONDS}
        return JobRun(Ran(7.0, 0.0, "", None), record, [{"event": self.told.get("event", "summary")}])

    def job(self, count: int, *flags: str) -> JobRun:
        return self.command(count, *flags)

    def script(self, name: str, *arguments: object) -> Any:
        Path(str(arguments[name == "bench_textbook"])).mkdir(exist_ok=True)
        return SimpleNamespace(seconds=270.0, peak_bytes=None, result=lambda: self.told)


@pytest.fixture
def scripted(tmp_path: Path) -> Script:
    """Return a function that makes such a bench."""
    (tmp_path / "known").mkdir()
    photos = ([tmp_path / str(number) for number in range(300)], tmp_path)
    sides = (lambda: photos, tmp_path, 2, QUICK, 1, tmp_path, lambda _: None)
    return lambda told: Scripted(*sides, warm=True, told=told)


@pytest.mark.parametrize(
    ("measure", "right", "wrong", "words"),
    [
        (measures.textbook, BOOK, {"photos": 59}, "NOT the same task"),
        (measures.textbook, BOOK, {"variance_kept": 0.8}, "NOT the same task"),
        (measures.pca_fit, PCAS, {"difference": 2e-6}, "more than 1e-06"),
        (daily.comparison, FOUND, {"mistakes": 1}, "1 of them WRONG"),
        (daily.long_comparison, FOUND, {"peak_bytes": 2e9}, "more than 2,000"),
        (daily.opening, OPENED, {"mistakes": 1}, "1 of them WRONG"),
        (daily.nothing_new, {}, {"cores": 2}, "did NOT leave all"),
        (daily.nothing_new, {}, {"event": "backbone_ready"}, "did NOT leave all"),
        (daily.nothing_new, {}, {"counts": {"unchanged": 299}}, "did NOT leave all"),
    ],
)
def test_a_fast_figure_of_a_wrong_result_does_not_meet_its_target(
    measure: Callable[[Bench], Measurement], right: Told, wrong: Told, words: str, scripted: Script
) -> None:
    assert measure(scripted(right)).met is True
    found = measure(scripted(right | wrong))
    assert found.met is False and words in found.detail


def test_increments_that_do_other_work_are_not_compared(scripted: Script, tmp_path: Path) -> None:
    (tmp_path / "grown-500").mkdir()
    for known, wrong, words in (
        (499, {}, "499 were known"),
        (500, {"fitted_now": True}, "not kept"),
        (500, {"rows_projected": 600}, "not kept"),
    ):
        counts = {"listed": 600, "unchanged": known, "featurized": 100}
        with pytest.raises(BenchError, match=words):
            daily._increment(scripted({"counts": counts, "model": KEPT | wrong}), 500)


@pytest.mark.spark
def test_the_job_takes_a_made_up_output_for_its_own(sample: Path, tmp_path: Path, run: Run) -> None:
    photos, output, listed = tmp_path / "photos", str(tmp_path / "output"), tmp_path / "list.parquet"
    bench_photos.lay_out(bench_photos.spread(bench_photos.find(sample), 5), sample, photos)
    new = list(walk(str(photos), output, set()))
    bench_growth.write_list(listed, new, 1100)
    bench_growth.write_output(output, new, 1100, np.random.default_rng(1).random((400, 1280), np.float32))
    found = run("--manifest", listed, "--output", output, "--max-variance-loss", "1")
    assert [found["counts"][name] for name in ("unchanged", "featurized", "rows")] == [1100, 5, 1105]
    assert not found["model"]["fitted_now"] and found["model"]["rows_projected"] == 5


def test_latency_of_photos_that_were_not_read_once_each_is_no_figure(scripted: Script) -> None:
    read = [("GET", "near", f"photos/{number}.jpg") for number in range(300)]
    server: Any = SimpleNamespace(
        name="near", forget=list, cpu_seconds=lambda: None, environment=dict, requests=lambda: read
    )
    assert daily._from_s3(scripted({}), server, []) == 4.0
    read[0] = read[1]
    with pytest.raises(BenchError, match="300 reads of 299 photos were seen, not one of each of 300"):
        daily._from_s3(scripted({}), server, [])


def test_a_comparison_that_errs_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_compare, "EACH", 20)
    bench_compare.make(tmp_path / "made", 1000, 30, 7)
    first = min((tmp_path / "made/output/photos").rglob("*.parquet"))
    pq.write_table(pq.read_table(first, partitioning=None).slice(1), first)  # a known photo is taken for new
    assert bench_compare.compare(tmp_path / "made", 1000, 2)["mistakes"] == 1
