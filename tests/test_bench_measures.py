"""The benchmark's measures: what each makes of the seconds of its sides, which are given here."""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scripts import bench_measures, bench_run
from scripts.bench_run import BenchError
from scripts.bench_sides import QUICK, Bench, JobRun, Sizes

SIZES = replace(QUICK, photos=900, textbook=100, growth=(1000, 3000, 10_000))


@dataclass(slots=True)
class Scripted(Bench):
    """A bench whose sides take the seconds that a test says."""

    job_seconds: list[float] = field(default_factory=list)
    ceiling_seconds: list[float] = field(default_factory=list)
    textbook_result: dict[str, Any] = field(default_factory=dict)
    peak: int | None = None

    def warm_up(self) -> None:
        pass

    def folder(self, count: int) -> Path:
        return self.scratch / str(count)

    def ceiling(self, count: int | None = None) -> float:
        del count
        self.ceilings.append(self.ceiling_seconds.pop(0))
        return self.ceilings[-1]

    def job(self, count: int, *flags: str) -> JobRun:
        del count, flags
        seconds = self.job_seconds.pop(0)
        record = {"seconds": {"featurize": seconds, "total": seconds}, "model": {"variance_kept": 0.87}}
        self.starts.append(None)
        return JobRun(bench_run.Ran(seconds, 0.0, "", self.peak), record, [])

    def script(self, name: str, *arguments: object) -> Any:
        if name == "bench_textbook" and "--prepare" not in arguments:
            Path(str(arguments[1])).mkdir()
        if name == "bench_pca":
            Path(str(arguments[0])).mkdir()
        return SimpleNamespace(seconds=270.0, peak_bytes=1_100_000_000, result=lambda: self.textbook_result)


def scripted(tmp_path: Path, sizes: Sizes = SIZES, repeat: int = 1, **sides: Any) -> Scripted:
    photos = [tmp_path / str(number) for number in range(900)]
    return Scripted(lambda: (photos, tmp_path), tmp_path, 2, sizes, repeat, tmp_path, lambda _: None, **sides)


def test_throughput_is_held_against_the_mean_ceiling_before_and_after(tmp_path: Path) -> None:
    sides = scripted(tmp_path, job_seconds=[5.0], ceiling_seconds=[4.0, 5.0])
    found = bench_measures.throughput(sides)
    assert (found.ours, found.other) == (180.0, 200.0)
    assert found.ratio == pytest.approx(0.9) and found.met
    assert bench_measures.ceiling(sides).other == 200.0, "what was measured once is not measured again"


def test_the_job_is_compared_with_the_textbook_only_if_both_do_the_same(tmp_path: Path) -> None:
    result = {"photos": 100, "variance_kept": 0.8705, "seconds": {"fit": 200.0}}
    full = replace(SIZES, again=True)
    found = bench_measures.textbook(
        scripted(tmp_path, full, job_seconds=[20.0, 30.0], textbook_result=result)
    )
    assert (found.ours, found.other, found.ratio, found.met) == (25.0, 270.0, 10.8, True)
    for wrong in ({"photos": 99}, {"variance_kept": 0.80}):
        other = scripted(tmp_path, job_seconds=[20.0], textbook_result=result | wrong)
        found = bench_measures.textbook(other)
        assert found.met is False and "NOT the same task" in found.detail


def test_a_pca_that_explains_other_variance_is_no_faster(tmp_path: Path) -> None:
    result = {"ours": [2.0, 1.0], "other": [25.0, 20.0], "difference": 1e-9}
    found = bench_measures.pca_fit(scripted(tmp_path, textbook_result=result))
    assert (found.ours, found.other, found.ratio, found.met) == (1.0, 20.0, 20.0, True)
    found = bench_measures.pca_fit(scripted(tmp_path, textbook_result=result | {"difference": 2e-6}))
    assert found.met is False and "more than" in found.detail


@pytest.mark.parametrize(("largest", "ratio"), [(47.5, 1.0), (52.5, 1.2), (22.0, None)])
def test_growth_compares_what_one_more_photo_costs_in_the_ceilings_time(
    largest: float, ratio: float | None, tmp_path: Path
) -> None:
    # On the way down the machine takes twice the time, for both sides.
    sides = scripted(tmp_path, job_seconds=[5, 15, largest, 30, 10], ceiling_seconds=[2, 4, 11, 11, 8, 4])
    found = bench_measures.growth(sides)
    assert not sides.job_seconds and not sides.ceiling_seconds
    if ratio is None:
        assert found.ratio is None and found.met is None and "noise" in found.detail
    else:
        assert found.other == pytest.approx((22.5 - 7.5) / (6 - 3))
        assert found.ours == pytest.approx((largest - 22.5) / (11 - 6))
        assert found.ratio == pytest.approx(ratio) and found.met is (ratio == 1.0)


def test_a_start_that_is_not_told_is_not_measured(tmp_path: Path) -> None:
    found = bench_measures.start(scripted(tmp_path, job_seconds=[3.0]))
    assert found.ours is None and found.met is None and "not measured" in found.detail
    ran = bench_run.Ran(9.0, 1_800_000_000.0, "", None)
    assert JobRun(ran, {"first_photo_at": "2027-01-15T08:00:06.5+00:00"}, []).first_photo() == 6.5
    assert JobRun(ran, {}, []).first_photo() is None
    sides = scripted(tmp_path)
    sides.starts = [5.0, 9.0, 8.5]
    found = bench_measures.start(sides)
    assert found.ours == 8.5 and found.met is False


@pytest.mark.skipif(sys.platform != "linux", reason="VmHWM is Linux's")
def test_memory_is_that_of_the_job_beside_the_textbook(tmp_path: Path) -> None:
    sides = scripted(tmp_path, job_seconds=[1.0], peak=150_000_000)
    assert bench_measures.memory(sides).ours == 150.0
    sides.peaks["textbook"] = 1_200_000_000
    found = bench_measures.memory(sides)
    assert (found.ours, found.other, found.ratio, found.met) == (150.0, 1200.0, 8.0, True)
    with pytest.raises(BenchError, match=r"pyspark\.daemon"):
        bench_measures.memory(scripted(tmp_path, job_seconds=[1.0]))
