"""The benchmark's measures: what each makes of the seconds of its sides, and when a figure does not count."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest

from scripts import bench_daily, bench_measures, bench_run, bench_s3
from scripts.bench_run import BenchError
from scripts.bench_sides import QUICK, Bench, JobRun

DAILY: Final = replace(QUICK, latency=600, increment=100, known=(500, 2000))
SIZES: Final = replace(DAILY, photos=900, textbook=100, growth=(1000, 3000, 10_000))
READ: Final = {"photos": 600, "seconds": {"near": 3.0, "far": 60.0}}
COMPARED: Final = {"new_or_changed": 2000, "missing": 1000, "mistakes": 0, "seconds": 9.0, "peak_bytes": 4e8}


@dataclass(slots=True)
class Scripted(Bench):
    """A bench whose sides take the seconds that a test says, and tell what it says."""

    seconds: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)
    record: dict[str, Any] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    result: dict[str, Any] | BenchError = field(default_factory=dict)
    peak: int | None = None
    asked: list[str] = field(default_factory=list)

    def warm_up(self) -> None:
        pass

    def folder(self, count: int) -> Path:
        return self.scratch / str(count)

    def known(self) -> Path:
        return self.scratch / "known"

    def ceiling(self, count: int | None = None) -> float:
        del count
        self.ceilings.append(self.plain.pop(0))
        return self.ceilings[-1]

    def job(self, count: int, *flags: str) -> JobRun:
        del count, flags
        self.starts.append(None)
        return self._run()

    def command(self, *arguments: object, variables: dict[str, str] | None = None) -> JobRun:
        self.asked.append(variables["AWS_ENDPOINT_URL"] if variables else Path(str(arguments[1])).stem)
        Path(str(arguments[3])).mkdir(exist_ok=True) if not variables else None
        return self._run()

    def _run(self) -> JobRun:
        spent = self.seconds.pop(0)
        known = int(self.asked[-1].rpartition("-")[2]) if self.asked and "grown" in self.asked[-1] else 0
        steps = dict.fromkeys(("inventory", "moments", "project"), 0.1)
        record = {
            "counts": {"listed": 100 + known, "unchanged": known, "featurized": 100},
            "model": {"fitted_now": False, "rows_projected": 100, "variance_kept": 0.87},
            "cores": None,
            "seconds": {**steps, "pca": 2.0, "featurize": spent, "total": spent + 2.0},
        }
        ran = bench_run.Ran(spent, 0.0, "", self.peak)
        return JobRun(ran, record | self.record, [{"event": name} for name in self.events])

    def script(self, name: str, *arguments: object) -> Any:
        if isinstance(self.result, BenchError):
            raise self.result
        made = {"bench_textbook": 1, "bench_pca": 0, "bench_growth": 0}.get(name)
        if made is not None:
            Path(str(arguments[made])).mkdir(exist_ok=True)
        return SimpleNamespace(seconds=270.0, peak_bytes=1_100_000_000, result=lambda: self.result)


def scripted(tmp_path: Path, again: bool = False, **told: Any) -> Scripted:
    photos, sizes = [tmp_path / str(number) for number in range(900)], replace(SIZES, again=again)
    return Scripted(lambda: (photos, tmp_path), tmp_path, 2, sizes, 1, tmp_path, lambda _: None, **told)


def test_throughput_is_held_against_the_mean_ceiling_before_and_after(tmp_path: Path) -> None:
    sides = scripted(tmp_path, seconds=[5.0], plain=[4.0, 5.0])
    found = bench_measures.throughput(sides)
    assert (found.ours, found.other) == (180.0, 200.0)
    assert found.ratio == pytest.approx(0.9) and found.met
    assert bench_measures.ceiling(sides).other == 200.0, "what was measured once is not measured again"


def test_the_job_is_compared_with_the_textbook_only_if_both_do_the_same(tmp_path: Path) -> None:
    result = {"photos": 100, "variance_kept": 0.8705, "seconds": {"fit": 200.0}}
    found = bench_measures.textbook(scripted(tmp_path, True, seconds=[20.0, 30.0], result=result))
    assert (found.ours, found.other, found.ratio, found.met) == (25.0, 270.0, 10.8, True)
    for wrong in ({"photos": 99}, {"variance_kept": 0.80}):
        found = bench_measures.textbook(scripted(tmp_path, seconds=[20.0], result=result | wrong))
        assert found.met is False and "NOT the same task" in found.detail


def test_a_pca_that_explains_other_variance_is_no_faster(tmp_path: Path) -> None:
    result = {"ours": [2.0, 1.0], "other": [25.0, 20.0], "difference": 1e-9}
    found = bench_measures.pca_fit(scripted(tmp_path, result=result))
    assert (found.ours, found.other, found.ratio, found.met) == (1.0, 20.0, 20.0, True)
    found = bench_measures.pca_fit(scripted(tmp_path, result=result | {"difference": 2e-6}))
    assert found.met is False and "more than" in found.detail


@pytest.mark.parametrize(("largest", "ratio"), [(47.5, 1.0), (52.5, 1.2), (22.0, None)])
def test_growth_compares_what_one_more_photo_costs_in_the_ceilings_time(
    largest: float, ratio: float | None, tmp_path: Path
) -> None:
    # On the way down the machine takes twice the time, for both sides; 2 s are not of the step featurize.
    spent = [total - 2 for total in (5, 15, largest, 30, 10)]
    found = bench_measures.growth(scripted(tmp_path, seconds=spent, plain=[2, 4, 11, 11, 8, 4]))
    if ratio is None:
        assert found.ratio is None and found.met is None and "noise" in found.detail
    else:
        assert found.other == pytest.approx((22.5 - 7.5) / (6 - 3))
        assert found.ours == pytest.approx((largest - 22.5) / (11 - 6))
        assert found.ratio == pytest.approx(ratio) and found.met is (ratio == 1.0)


def test_a_start_that_is_not_told_is_not_measured(tmp_path: Path) -> None:
    found = bench_measures.start(scripted(tmp_path, seconds=[3.0]))
    assert found.ours is None and found.met is None and "not measured" in found.detail
    ran = bench_run.Ran(9.0, 1_800_000_000.0, "", None)
    assert JobRun(ran, {"first_photo_at": "2027-01-15T08:00:06.5+00:00"}, []).first_photo() == 6.5
    sides = scripted(tmp_path)
    sides.starts = [5.0, 9.0, 8.5]
    found = bench_measures.start(sides)
    assert found.ours == 8.5 and found.met is False


@pytest.mark.skipif(sys.platform != "linux", reason="VmHWM is Linux's")
def test_memory_is_that_of_the_job_beside_the_textbook(tmp_path: Path) -> None:
    sides = scripted(tmp_path, seconds=[1.0], peak=150_000_000)
    assert bench_measures.memory(sides).ours == 150.0
    sides.peaks["textbook"] = 1_200_000_000
    found = bench_measures.memory(sides)
    assert (found.ours, found.other, found.ratio, found.met) == (150.0, 1200.0, 8.0, True)
    with pytest.raises(BenchError, match=r"pyspark\.daemon"):
        bench_measures.memory(scripted(tmp_path, seconds=[1.0]))


@pytest.fixture
def photos_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Put two servers in place that do nothing, and return what they say was read."""
    read = [f"photos/{number}.jpg" for number in range(600)]

    class Server(bench_s3.Server):
        def requests(self) -> list[tuple[str, str, str]]:
            told = [*(("GET", self.name, key) for key in read), ("GET", self.name, "")]
            return [*told, ("PUT", "tables", "1")]

        def forget(self) -> None:
            pass

        def cpu_seconds(self) -> float | None:
            return None

    @contextmanager
    def serving(name: str, photos: Path, latency_ms: float, *_: object) -> Iterator[Server]:
        assert photos.name == "600"
        yield Server(name, f"http://{name}:{latency_ms:g}", 0)

    monkeypatch.setattr(bench_s3, "serving", serving)
    return read


@pytest.mark.usefixtures("photos_read")
def test_latency_is_held_against_the_mean_of_before_and_after(tmp_path: Path) -> None:
    sides = scripted(tmp_path, seconds=[4.0, 5.0, 6.0], result=READ)
    found = bench_daily.latency(sides)
    assert sides.asked == ["http://near:0", "http://far:30", "http://near:0"]
    assert (found.ours, found.other, found.met) == (120.0, 120.0, True)
    assert "binaryFile only reads 10 photos/s with, 200 without" in found.detail
    absent = BenchError("bench_s3 ended with 1: no Ivy")
    found = bench_daily.latency(scripted(tmp_path, seconds=[4.0, 4.5, 4.0], result=absent))
    assert found.met is False and "binaryFile was not measured: bench_s3 ended with 1" in found.detail


def test_latency_of_photos_that_were_not_read_once_each_is_no_figure(
    photos_read: list[str], tmp_path: Path
) -> None:
    photos_read[0] = photos_read[1]
    with pytest.raises(BenchError, match="600 reads of 599 photos were seen, not one of each of 600"):
        bench_daily.latency(scripted(tmp_path, seconds=[4.0]))


def test_an_increment_is_that_onto_the_slowest_known_against_that_onto_none(tmp_path: Path) -> None:
    # Onto 0, 500 and 2,000, and back; the step pca, of 2 s, is in none of these.
    sides = scripted(tmp_path, seconds=[9.0, 10.0, 13.0, 11.0, 10.0, 11.0])
    found = bench_daily.increment(sides)
    assert (found.ours, found.other, found.ratio, found.met) == (12.0, 10.0, 1.2, False)
    assert sides.asked == [f"grown-{n}" for n in (0, 500, 2000, 2000, 500, 0)]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["grown-0"], "what is large is not left"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"counts": {"listed": 600, "unchanged": 499, "featurized": 101}}, "499 were known"),
        ({"model": {"fitted_now": True, "rows_projected": 100}}, "not kept"),
        ({"model": {"fitted_now": False, "rows_projected": 600}}, "not kept"),
    ],
)
def test_increments_that_do_other_work_are_not_compared(
    wrong: dict[str, Any], words: str, tmp_path: Path
) -> None:
    (tmp_path / "grown-500").mkdir()
    with pytest.raises(BenchError, match=words):
        bench_daily._increment(scripted(tmp_path, seconds=[1.0], record=wrong), 500)


def test_a_second_run_counts_only_if_it_did_nothing(tmp_path: Path) -> None:
    same = {"counts": {"listed": 900, "unchanged": 900}}
    found = bench_daily.nothing_new(scripted(tmp_path, seconds=[9.0, 2.0, 4.0], record=same))
    assert (found.ours, found.met) == (4.0, True)
    for wrong in (
        {"record": same | {"cores": 2}},
        {"record": same, "events": ["backbone_ready"]},
        {"record": {"counts": {"listed": 900, "unchanged": 899}}},
    ):
        found = bench_daily.nothing_new(scripted(tmp_path, seconds=[2.0, 2.0, 2.0], **wrong))
        assert found.met is False and "NOT" in found.detail


@pytest.mark.parametrize(
    ("told", "met"),
    [
        ({}, True),
        ({"seconds": 60.1}, False),
        ({"peak_bytes": 2_000_000_000}, False),
        ({"mistakes": 1}, False),
        ({"peak_bytes": None}, True),
    ],
)
def test_a_comparison_must_be_fast_and_small_and_right(told: dict[str, Any], met: bool) -> None:
    assert bench_daily.compared("k", 1_000_000, COMPARED | told).met is met


def test_opening_is_held_against_opening_without_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "compared").mkdir()
    told = {**COMPARED, "commits": 40, "files": 400, "opened": {"without": 4.0, "with": 0.5}}
    found = bench_daily.opening(scripted(tmp_path, result=told))
    assert (found.ours, found.other, found.ratio, found.met) == (0.5, 4.0, 8.0, True)
    (tmp_path / "compared").mkdir()
    assert bench_daily.opening(scripted(tmp_path, result=told | {"mistakes": 1})).met is False
