"""The benchmark's measures of daily use: what they make of their runs, and when a figure does not count."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest

from scripts import bench, bench_daily, bench_run, bench_s3, bench_sides
from scripts.bench_run import BenchError
from scripts.bench_sides import QUICK, Bench, JobRun

SIZES: Final = replace(QUICK, photos=900, latency=600, increment=100, known=(500, 2000), compared=5000)
READ: Final = {"photos": 600, "seconds": {"near": 3.0, "far": 60.0}}


@dataclass(slots=True)
class Scripted(Bench):
    """A bench whose commands take the seconds that a test says, and tell what it says."""

    seconds: list[float] = field(default_factory=list)
    record: dict[str, Any] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    spark_reads: dict[str, Any] | BenchError = field(default_factory=lambda: READ)
    asked: list[str] = field(default_factory=list)

    def warm_up(self) -> None:
        pass

    def folder(self, count: int) -> Path:
        return self.scratch / str(count)

    def known(self) -> Path:
        return self.scratch / "known"

    def command(self, *arguments: object, variables: dict[str, str] | None = None) -> JobRun:
        spent = self.seconds.pop(0)
        self.asked.append(variables["AWS_ENDPOINT_URL"] if variables else str(arguments[1]))
        Path(str(arguments[3])).mkdir(exist_ok=True) if not variables else None
        steps = dict.fromkeys(("inventory", "moments", "project"), 0.1)
        seconds = {**steps, "pca": 2.0, "featurize": spent, "total": spent + 2.0}
        counts = {"listed": 100, "unchanged": 0, "featurized": 100}
        for known in SIZES.known:
            if str(known) in Path(self.asked[-1]).stem.split("-"):
                counts = {"listed": 100 + known, "unchanged": known, "featurized": 100}
        record = {
            "counts": counts,
            "model": {"fitted_now": False, "rows_projected": 100},
            "cores": None,
            "seconds": seconds,
        }
        ran = bench_run.Ran(spent, 0.0, "", None)
        return JobRun(ran, record | self.record, [{"event": name} for name in self.events])

    def script(self, name: str, *arguments: object) -> Any:
        if name == "bench_growth":
            Path(str(arguments[0])).mkdir()
        if name == "bench_s3" and isinstance(self.spark_reads, BenchError):
            raise self.spark_reads
        return SimpleNamespace(result=lambda: self.spark_reads)


def scripted(tmp_path: Path, **told: Any) -> Scripted:
    return Scripted(lambda: ([], tmp_path), tmp_path, 2, SIZES, 1, tmp_path, lambda _: None, **told)


@pytest.fixture
def photos_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Put two servers in place that do nothing, and return what they say was read."""
    read = [f"photos/{number}.jpg" for number in range(600)]

    class Server(bench_s3.Server):
        def requests(self) -> list[tuple[str, str, str]]:
            return [
                *(("GET", self.name, key) for key in read),
                ("GET", self.name, ""),
                ("PUT", "tables", "1"),
            ]

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
    sides = scripted(tmp_path, seconds=[4.0, 5.0, 6.0])
    found = bench_daily.latency(sides)
    assert sides.asked == ["http://near:0", "http://far:30", "http://near:0"]
    assert (found.ours, found.other, found.met) == (120.0, 120.0, True)
    assert "binaryFile only reads 10 photos/s with, 200 without" in found.detail
    assert bench_daily.latency(scripted(tmp_path, seconds=[4.0, 4.5, 4.0])).met is False


@pytest.mark.usefixtures("photos_read")
@pytest.mark.parametrize("told", [BenchError("bench_s3 ended with 1: no Ivy"), {**READ, "photos": 599}])
def test_latency_is_told_even_if_sparks_reader_cannot_be_had(told: Any, tmp_path: Path) -> None:
    found = bench_daily.latency(scripted(tmp_path, seconds=[4.0, 4.0, 4.0], spark_reads=told))
    assert found.met and "binaryFile was not measured: " in found.detail
    assert ("no Ivy" if isinstance(told, BenchError) else "599 photos") in found.detail


@pytest.mark.parametrize(
    "change", [lambda read: read.append(read[0]), lambda read: read.__setitem__(0, read[1])]
)
def test_latency_of_photos_that_were_not_read_once_each_is_no_figure(
    change: Any, photos_read: list[str], tmp_path: Path
) -> None:
    change(photos_read)
    with pytest.raises(BenchError, match="not one of each of 600"):
        bench_daily.latency(scripted(tmp_path, seconds=[4.0]))


def test_an_increment_is_that_onto_the_slowest_known_against_that_onto_none(tmp_path: Path) -> None:
    # Onto 0, 500 and 2,000, and back; the step pca, of 2 s, is in none of these.
    sides = scripted(tmp_path, seconds=[9.0, 10.0, 13.0, 11.0, 10.0, 11.0])
    found = bench_daily.increment(sides)
    assert (found.ours, found.other, found.ratio, found.met) == (12.0, 10.0, 1.2, False)
    assert [Path(one).stem for one in sides.asked] == [f"grown-{n}" for n in (0, 500, 2000, 2000, 500, 0)]
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
    sides = scripted(tmp_path, seconds=[1.0], record=wrong)
    (tmp_path / "grown-500").mkdir()
    with pytest.raises(BenchError, match=words):
        bench_daily._increment(sides, 500)


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
    found = {"new_or_changed": 2000, "removed": 1000, "mistakes": 0, "seconds": 9.0, "peak_bytes": 4e8}
    assert bench_daily.compared(1_000_000, found | told).met is met


def test_the_comparison_runs_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "QUICK", SIZES)
    report = tmp_path / "report.json"
    assert bench.main(["--quick", "--only", "k", "--output", str(report)]) == 0
    (found,) = json.loads(report.read_text())["measurements"]
    assert found["ours"] > 0 and "5,000 listed: 2,000 new or changed, 1,000 removed" in found["detail"]
    assert "exactly the right ones" in found["detail"]


def job_that_says(words: str, commands: list[list[str]]) -> Any:
    def run(command: list[str], environment: dict[str, str], what: str) -> bench_run.Ran:
        del environment, what
        commands.append(command)
        output = Path(command[command.index("--output") + 1])
        output.mkdir(exist_ok=True)
        (output / str(len(commands))).touch()
        return bench_run.Ran(1.0, 0.0, words, None)

    return run


def test_the_first_run_on_all_photos_leaves_what_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []
    summary = json.dumps({"event": "summary", "counts": {"listed": 60}})
    monkeypatch.setattr(bench_sides, "run", job_that_says(f"{{}}\n{summary}\n", commands))
    photo = tmp_path / "1.jpg"
    photo.touch()
    sizes = replace(QUICK, photos=60)
    sides = Bench(
        lambda: ([photo], tmp_path), tmp_path / "s", 2, sizes, 1, tmp_path, lambda _: None, warm=True
    )
    sides.job(60, "--components", "3")
    assert not (tmp_path / "s" / "known").exists(), "it is not of the job's defaults"
    assert [one.name for one in sides.known().iterdir()] == ["2"]
    sides.job(60)
    assert [one.name for one in sides.known().iterdir()] == ["2"]
    assert len(commands) == 3 and not (tmp_path / "s" / "output").exists()


@pytest.mark.parametrize("words", ["", '{"event": "photos_listed"}\n'])
def test_a_job_without_a_summary_is_an_error(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_sides, "run", job_that_says(words, []))
    sides = Bench(lambda: ([], tmp_path), tmp_path, 2, QUICK, 1, tmp_path, lambda _: None, warm=True)
    with pytest.raises(BenchError, match="without its summary"):
        sides.command("--input", tmp_path, "--output", tmp_path / "output")
