"""The benchmark: that its figures are what it says, that both sides do the same, that it cleans up."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from job.errors import UsageError
from scripts import bench, bench_measures, bench_photos, bench_targets
from scripts.bench_figures import Measurement, Target, failure, measurement, table
from scripts.bench_run import BenchError
from scripts.bench_sides import QUICK, Bench
from tests.unprivileged import unprivileged


@pytest.mark.parametrize(
    ("target", "ours", "ratio", "met"),
    [
        (Target("ratio", ">=", 0.9), 1.0, 0.9, True),
        (Target("ratio", ">=", 0.9), 1.0, 0.899, False),
        (Target("ours", "<=", 200), 200.0, 0.1, True),
        (Target("ours", "<=", 200), 200.1, 9.0, False),
        (Target("ratio", "within", 0.1), 5.0, 0.9, True),
        (Target("ratio", "within", 0.1), 1.0, 1.11, False),
        (Target("ours", "<=", 200), None, 5.0, None),
    ],
)
def test_a_target_is_met_by_its_own_figure_and_only_if_the_figure_holds(
    target: Target, ours: float | None, ratio: float | None, met: bool | None
) -> None:
    assert target.met(ours, ratio) is met
    found = measurement("d", "PCA", "s", target, ours=ours, ratio=ratio, holds=False)
    assert found.met is (False if met else met)


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


def taking(monkeypatch: pytest.MonkeyPatch, letter: str, act: Callable[[Bench], object]) -> None:
    """Put in a measure's place one that does something and misses its target."""

    def measure(sides: Bench) -> Measurement:
        act(sides)
        return measurement(letter, "it", "s", Target("ours", "<=", 1), ours=2.0)

    monkeypatch.setitem(bench_measures.MEASURES, letter, measure)


def test_every_measure_is_taken_unless_some_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for letter in bench_targets.NAMES:
        taking(monkeypatch, letter, lambda _: None)
    report = tmp_path / "report.json"
    for only, letters in (([], "abcdefghijklm"), (["--only", "g, B"], "bg")):
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


def test_a_quick_run_writes_its_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "QUICK", replace(QUICK, opened=4000))
    report = tmp_path / "report.json"
    assert bench.main(["--quick", "--only", "m", "--output", str(report)]) == 0
    whole = json.loads(report.read_text())
    assert whole["run"] == "quick" and any("full run" in note for note in whole["notes"])
    assert {"cpu", "cores", "python", "versions", "load"} <= set(whole["machine"])
    (found,) = whole["measurements"]
    assert set(found) >= {"name", "ours", "other", "ratio", "target", "met", "unit", "detail"}
    assert found["ratio"] == pytest.approx(found["other"] / found["ours"])
    assert found["detail"].startswith(
        "40 commits, 400 files; 4,000 listed: 2,000 new or changed, 1,000 missing, exactly the right ones, in"
    )


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
