"""The benchmark: that its figures are what it says, that both sides do the same, that it cleans up."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from job import backbone
from job.decode import decode
from job.errors import UsageError
from scripts import bench, bench_measures, bench_photos, bench_run, bench_textbook
from scripts.bench_ceiling import ceiling
from scripts.bench_figures import Measurement, Target, failure, measurement, table
from scripts.bench_run import BenchError, environment, run
from scripts.bench_sides import FULL, QUICK, Bench, JobRun, Sizes
from tests.network import real_weights
from tests.unprivileged import unprivileged

SIZES = replace(QUICK, photos=900, textbook=100, growth=(1000, 3000, 10_000))


@pytest.mark.parametrize(
    ("target", "ours", "ratio", "met"),
    [
        (Target("ratio", ">=", 0.9), 1.0, 0.9, True),
        (Target("ratio", ">=", 0.9), 1.0, 0.899, False),
        (Target("ours", "<=", 200), 200.0, 9.0, True),
        (Target("ours", "<=", 200), 200.1, 0.1, False),
        (Target("ratio", "within", 0.1), 5.0, 1.1, True),
        (Target("ratio", "within", 0.1), 5.0, 0.9, True),
        (Target("ratio", "within", 0.1), 1.0, 1.11, False),
        (Target("ratio", "within", 0.1), 1.0, 0.89, False),
        (Target("ratio", ">=", 0.9), 5.0, None, None),
        (Target("ours", "<=", 200), None, 5.0, None),
    ],
)
def test_a_target_is_met_by_its_own_figure(
    target: Target, ours: float | None, ratio: float | None, met: bool | None
) -> None:
    assert target.met(ours, ratio) is met


def test_a_figure_that_does_not_hold_meets_no_target() -> None:
    fast = measurement("d", "PCA", "s", Target("ratio", ">=", 10), ours=1, other=50, ratio=50, holds=False)
    assert fast.met is False


def test_the_table_shows_both_sides_the_ratio_the_target_and_what_became_of_it() -> None:
    target = Target("ratio", ">=", 0.9)
    rows = [
        measurement("a", "ceiling", "photos/s", None, other=240.6, detail="400 photos"),
        measurement("b", "featurization", "photos/s", target, ours=228.1, other=240.6, ratio=0.948),
        measurement("c", "textbook", "s", Target("ratio", ">=", 10), ours=30.0, other=271.0, ratio=9.03),
        measurement("e", "memory", "MB", Target("ours", "<=", 200), detail="not on this system"),
        failure("g", "start", Target("ours", "<=", 8), "the job ended with 1"),
    ]
    assert table(rows).splitlines() == [
        "   measure        ours  other  unit      ratio  target  met",
        "a  ceiling           -    241  photos/s      -  -       -",
        "   400 photos",
        "b  featurization   228    241  photos/s   0.95  >= 0.9  yes",
        "c  textbook       30.0    271  s          9.03  >= 10   NO",
        "e  memory            -      -  MB            -  <= 200  not measured",
        "   not on this system",
        "g  start             -      -                -  <= 8    failed",
        "   the job ended with 1",
    ]


def test_a_subset_takes_of_every_class_its_share_and_is_the_same_each_time() -> None:
    photos = [Path(f"/p/{label}/{number:03}.jpg") for label in "abcd" for number in range(250)]
    chosen = bench_photos.spread(photos, 100)
    assert chosen == bench_photos.spread(list(photos), 100)
    assert len(set(chosen)) == 100
    assert [sum(photo.parent.name == label for photo in chosen) for label in "abcd"] == [25] * 4
    first = [int(photo.stem) for photo in chosen if photo.parent.name == "a"]
    assert min(first) < 10 and max(first) >= 240, "a class is spread, too"
    assert bench_photos.spread(photos, 1000) == photos


def test_too_few_photos_are_laid_out_repeatedly_under_other_names(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in ("Training/kiwi/1.jpg", "Training/kiwi/2.JPG", "Test/fig/1.jpg", "Test/fig/notes.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    photos = bench_photos.find(root)
    bench_photos.lay_out(bench_photos.spread(photos, 7), root, tmp_path / "out")
    laid = bench_photos.find(tmp_path / "out")
    assert len(laid) == 7
    assert {photo.read_text() for photo in laid} == {
        "Training/kiwi/1.jpg",
        "Training/kiwi/2.JPG",
        "Test/fig/1.jpg",
    }
    assert tmp_path / "out/Test/fig/1-copy3.jpg" in laid


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--photos", "{tmp}/none"], "does not exist"),
        (["--photos", "{tmp}/file"], "is a file"),
        (["--photos", "{tmp}/empty"], "no photos in"),
        (["--only", "a,z"], "does not name measures"),
        (["--only", ","], "does not name measures"),
        (["--cores", "0"], "--cores 0"),
        (["--cores", "9999"], "--cores 9999"),
        (["--repeat", "0"], "--repeat 0"),
        (["--output", "{tmp}"], "is a folder"),
        (["--fast"], "--fast"),
    ],
)
def test_what_a_user_can_mend_is_one_sentence_and_2(
    options: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    taking(monkeypatch, "d", lambda _: None)  # it needs no photos, and a wrong folder is told all the same
    assert bench.main(["--only", "d", *(option.format(tmp=tmp_path) for option in options)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("bench: ") and said.err.count("\n") == 1 and words in said.err


def test_a_folder_that_may_not_be_read_is_one_sentence(tmp_path: Path) -> None:
    locked = tmp_path / "photos" / "locked"
    locked.mkdir(parents=True)
    (locked / "1.jpg").touch()
    for folder in (locked, tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    locked.chmod(0)
    with (
        unprivileged(),
        pytest.raises(UsageError, match=f"{locked} cannot be read .permission denied.") as told,
    ):
        bench_photos.find(tmp_path / "photos")
    assert "\n" not in str(told.value)
    with unprivileged(), pytest.raises(UsageError, match="cannot be read"):
        bench_photos.find(locked / "deeper")
    locked.chmod(0o755)


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

    def ceiling(self) -> float:
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


@pytest.mark.parametrize(("largest", "ratio"), [(50.0, 35 / 35), (60.0, 45 / 35), (14.0, None)])
def test_growth_compares_what_one_more_photo_costs(
    largest: float, ratio: float | None, tmp_path: Path
) -> None:
    sides = scripted(tmp_path, repeat=3, job_seconds=[5, 15, largest, 4, 14, 1, 9, 19, 999])
    found = bench_measures.growth(sides)
    if ratio is None:
        assert found.ratio is None and found.met is None and "noise" in found.detail
    else:
        assert found.other == pytest.approx(5.0)
        assert found.ratio == pytest.approx(ratio) and found.met is (ratio <= 1.1)


def test_a_start_that_is_not_told_is_not_measured(tmp_path: Path) -> None:
    found = bench_measures.start(scripted(tmp_path, job_seconds=[3.0]))
    assert found.ours is None and found.met is None and "not measured" in found.detail
    ran = bench_run.Ran(9.0, 1_800_000_000.0, "", None)
    assert JobRun(ran, {"first_photo_at": "2027-01-15T08:00:06.5+00:00"}, []).first_photo() == 6.5
    assert JobRun(ran, {}, [{"event": "first_photo", "seconds": 4.5}]).first_photo() == 4.5
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


WORKERS = """
import mmap, os, subprocess, sys, time
role, done = sys.argv[1], os.path.join(os.path.dirname(__file__), "done")
def hold(size):
    held = mmap.mmap(-1, size)
    held.write(bytes(size))
    held.close()  # a peak that is over
if role == "driver":
    daemon = os.path.join(os.path.dirname(__file__), "pyspark.daemon")
    for script, role in ((__file__, "java"), (daemon, "daemon")):
        subprocess.Popen([sys.executable, script, role])
    while not os.path.exists(done):
        time.sleep(0.1)
    time.sleep(2.5)
elif role == "java":
    hold(150_000_000)
    time.sleep(60)
elif role == "daemon":
    os.setpgid(0, 0)
    if not os.fork():
        hold(60_000_000)
        open(done, "w").close()
    time.sleep(60)
"""


def spark_like(folder: Path, seconds: str = "2.5") -> list[str]:
    """Return a command whose processes are a driver, a large child of it, a daemon, and a worker of that."""
    for name in ("driver.py", "pyspark.daemon"):  # workers are told by this name, and by a parent of the same
        (folder / name).write_text(WORKERS.replace("2.5", seconds))
    return [sys.executable, str(folder / "driver.py"), "driver"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_workers_peak_is_seen_and_nothing_of_a_run_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_run, "LAST_SECONDS", 1.0)
    ran = run(spark_like(tmp_path), environment(1), "it")
    assert ran.peak_bytes is not None and 60_000_000 <= ran.peak_bytes <= 100_000_000
    assert running(str(tmp_path)) == []


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_an_interrupt_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_run, "LAST_SECONDS", 1.0)
    threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(spark_like(tmp_path, seconds="60"), environment(1), "it")
    assert time.monotonic() - start < bench_run.GRACE_SECONDS, "it was asked to end before it was killed"
    assert running(str(tmp_path)) == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def running(word: str) -> list[str]:
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        found += [command] if word in command else []
    return found


def test_a_run_that_fails_tells_its_last_words() -> None:
    command = [sys.executable, "-c", "import sys; print('fine'); sys.exit('no such fruit')"]
    with pytest.raises(BenchError, match=r"the job ended with 1: .*(no such fruit|fine)"):
        run(command, environment(1), "the job")


def test_the_job_is_run_with_nothing_of_the_users_own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRUITS_LIMIT", "5")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    kept = environment(3)
    assert kept["PYSPARK_SUBMIT_ARGS"] == "--master local[3] pyspark-shell"
    assert not {"FRUITS_LIMIT", "PYTHONDONTWRITEBYTECODE"} & set(kept)


def test_the_textbook_and_the_job_give_the_same_features(sample: Path, cache: Path) -> None:
    files = bench_photos.spread(bench_photos.find(sample), 5)
    contents = [file.read_bytes() for file in files]
    book = bench_textbook.features(backbone.keras_model(real_weights()), contents)
    program = backbone.load("litert", None, cache)
    network = backbone.network(program.engine, program.key, lambda: program.payload)
    ours = np.stack([network(decode(content).pixels) for content in contents])
    assert book.shape == (5, 1280)
    assert np.abs(book - ours).max() < 1e-3
    assert np.abs(ours).max() > 1


def test_the_ceiling_runs_every_photo_once_in_as_many_processes(sample: Path, cache: Path) -> None:
    program = backbone.load("litert", None, cache)
    photos = [str(file) for file in bench_photos.spread(bench_photos.find(sample), 9)]
    assert 0 < ceiling(photos, program, 2) < 30
    assert ceiling(photos[:1], program, 2) > 0, "a process without a share must not keep the other waiting"
    with pytest.raises(FileNotFoundError):
        ceiling([*photos, "/none.jpg"], program, 2)


def test_photos_are_drawn_where_none_lie_beside_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "PHOTOS", tmp_path / "none")
    monkeypatch.setattr(bench, "DRAWN", tmp_path)
    monkeypatch.setattr(bench, "DRAWN_EACH", {False: 2, True: 1})
    counted: list[int] = []
    taking(monkeypatch, "b", lambda sides: counted.append(len(bench_photos.find(sides.folder(40)))))
    report = tmp_path / "report.json"
    assert bench.main(["--quick", "--only", "b", "--output", str(report)]) == 0
    assert counted == [40]
    assert any("16 drawn photos" in note for note in json.loads(report.read_text())["notes"])
    assert "16 drawn photos" in capsys.readouterr().out


def taking(monkeypatch: pytest.MonkeyPatch, letter: str, act: Callable[[Bench], object]) -> None:
    """Put in a measure's place one that does something and misses its target."""

    def measure(sides: Bench) -> Measurement:
        act(sides)
        return measurement(letter, "it", "s", Target("ours", "<=", 1), ours=2.0)

    monkeypatch.setitem(bench_measures.MEASURES, letter, measure)


def test_every_measure_is_taken_unless_some_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for letter in bench_measures.NAMES:
        taking(monkeypatch, letter, lambda _: None)
    report = tmp_path / "report.json"
    for only, letters in (([], "abcdefg"), (["--only", "g, B"], "bg")):
        assert bench.main([*only, "--output", str(report)]) == 0
        whole = json.loads(report.read_text())
        assert "".join(one["letter"] for one in whole["measurements"]) == letters
        assert whole["run"] == "full"


def test_a_missed_target_is_an_error_only_if_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taking(monkeypatch, "f", lambda _: None)
    options = ["--quick", "--only", "f", "--output", str(tmp_path / "report.json")]
    assert bench.main(options) == 0
    assert bench.main([*options, "--check"]) == 1


def test_a_measure_that_breaks_down_does_not_keep_the_others_from_being_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: Bench) -> None:
        raise BenchError("the job ended with 3: nothing to read")

    taking(monkeypatch, "c", fail)
    taking(monkeypatch, "g", lambda _: None)
    report = tmp_path / "deep" / "report.json"
    assert bench.main(["--quick", "--only", "g,c", "--output", str(report)]) == 1
    found = json.loads(report.read_text())["measurements"]
    assert [(one["letter"], one["failed"]) for one in found] == [("c", True), ("g", False)]
    assert "nothing to read" in capsys.readouterr().out


def test_the_pca_measure_runs_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        bench, "QUICK", replace(QUICK, pca_rows=300, pca_files=4, pca_components=10, pca_times=1)
    )
    report = tmp_path / "report.json"
    assert bench.main(["--quick", "--only", "d", "--output", str(report)]) == 0
    whole = json.loads(report.read_text())
    assert whole["run"] == "quick" and any("full run" in note for note in whole["notes"])
    assert {"cpu", "cores", "python", "versions", "load"} <= set(whole["machine"])
    (found,) = whole["measurements"]
    assert set(found) >= {"name", "ours", "other", "ratio", "target", "met", "unit", "detail"}
    assert found["ratio"] == pytest.approx(found["other"] / found["ours"])
    assert "300 x 1280, k 10" in found["detail"] and "more than" not in found["detail"]


def test_the_full_run_has_the_sizes_that_the_targets_are_stated_for() -> None:
    assert Sizes(None, 2000, 100, 24, 20_000, 80, 100, 2, (1000, 3000, 10_000), 3, True) == FULL
