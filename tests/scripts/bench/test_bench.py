"""The benchmark as a user runs it: one quick run and its figures, what it makes up, and how it ends."""

import json
import os
import sys
import tempfile
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq
import pytest

from job.inventory.folder_listing import folder_files
from scripts.bench import __main__ as bench
from scripts.bench import comparison, daily, growth, process, samples
from scripts.bench.figures import Measurement, Target, measurement
from scripts.bench.process import BenchError, environment, run
from scripts.bench.sides import QUICK, Bench
from scripts.bench.targets import NAMES
from tests.support.spark_session import Run
from tests.support.unprivileged import unprivileged

LETTERS: Final = "abdegjklm"  # the others run the job many times each, for minutes
SMALL: Final = replace(QUICK, photos=40, pca_rows=1500, compared=20_000, compared_long=30_000, opened=4000)
INTERRUPTING: Final = """
import os, signal, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", sys.argv[1]], process_group=0)
os.kill(os.getppid(), signal.SIGINT)
time.sleep(60)
"""


@dataclass(frozen=True, slots=True)
class Quick:
    said: str
    report: dict[str, Any]
    figures: dict[str, dict[str, Any]]
    scratch: Path


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Quick:
    """Run the benchmark once: at small sizes, where no photos lie, among a user's settings."""
    folder, said = tmp_path_factory.mktemp("quick"), StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said):
        patch.setattr(bench, "QUICK", SMALL)
        patch.setattr(bench, "PHOTOS", folder / "none")
        patch.setattr(bench, "DRAWN", folder)
        patch.setattr(bench, "DRAWN_EACH", {True: 1})
        patch.setattr(bench, "OUTPUT", folder / "build" / "bench.json")
        patch.setattr(tempfile, "tempdir", str(folder))
        patch.setenv("FRUITS_LIMIT", "5")
        assert bench.main(["--quick", "--cache", str(cache), "--only", ",".join(LETTERS)]) == 0, said
    report = json.loads((folder / "build" / "bench.json").read_text())
    return Quick(said.getvalue(), report, {one["letter"]: one for one in report["measurements"]}, folder)


def running(word: object) -> list[str]:
    """Return the commands that have a word in them."""
    commands = os.popen("ps -ww -eo args").read().splitlines()
    assert commands
    return [command for command in commands if str(word) in command]


@pytest.mark.spark
def test_a_quick_run_prints_and_writes_a_figure_for_each_letter(quick: Quick) -> None:
    assert "".join(quick.figures) == LETTERS and quick.report["run"] == "quick"
    assert {"cpu", "cores", "python", "versions", "load"} <= quick.report["machine"].keys()
    for letter, one in quick.figures.items():
        assert (one["other"] if letter == "a" else one["ours"]) > 0, one
        (line,) = (line for line in quick.said.splitlines() if line.startswith(f"{letter}  {NAMES[letter]}"))
        assert (one["target"] or "-") in line and f"\n   {one['detail']}\n" in quick.said
    for letter, faster, slower in ("b", "ours", "other"), ("d", "other", "ours"), ("m", "other", "ours"):
        one = quick.figures[letter]
        assert one["ratio"] == pytest.approx(one[faster] / one[slower])


@pytest.mark.spark
def test_a_quick_run_does_what_it_says_and_leaves_nothing(quick: Quick) -> None:
    details = {letter: one["detail"] for letter, one in quick.figures.items()}
    assert "16 drawn photos are used instead, repeatedly" in quick.said
    assert details["b"].startswith("40 photos") and "which is more than" not in details["d"]
    assert details["j"].endswith("neither Spark nor the network was started")
    for letter in "klm":
        assert "2,000 new or changed, 1,000 missing, exactly the right ones" in details[letter]
    if sys.platform == "linux":
        assert 50 < quick.figures["e"]["ours"] < 400, "a Python worker, and not Java"
    assert list(quick.scratch.glob("bench-*/")) == [quick.scratch / "bench-photos-1"]
    assert running(quick.scratch) == []


@pytest.mark.spark
def test_the_job_takes_a_made_up_output_for_its_own(sample: Path, tmp_path: Path, run: Run) -> None:
    photos, output, listed = tmp_path / "photos", str(tmp_path / "output"), tmp_path / "list.parquet"
    samples.copy_photos(samples.evenly_spaced(samples.photos_in(sample), 5), sample, photos)
    new = list(folder_files(str(photos), output, set()))
    growth.write_list(listed, new, 1100)
    growth.write_output(output, new, 1100, np.random.default_rng(1).random((400, 1280), np.float32))
    found = run("--manifest", listed, "--output", output, "--max-variance-loss", "1")
    assert [found["counts"][name] for name in ("unchanged", "featurized", "rows")] == [1100, 5, 1105]
    assert not found["model"]["fitted_now"] and found["model"]["rows_projected"] == 5


def test_a_comparison_that_errs_is_seen_and_meets_no_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "EACH", 20)
    comparison.make(tmp_path / "made", 1000, 30, 7)
    first = min((tmp_path / "made/output/photos").rglob("*.parquet"))
    pq.write_table(pq.read_table(first, partitioning=None).slice(1), first)  # a known photo is taken for new
    found = comparison.compare(tmp_path / "made", 1000, 2)
    assert found["mistakes"] == 1
    judged = daily.compared("k", 1000, found)
    assert judged.met is False and "1 of them WRONG" in judged.detail


def test_an_interrupt_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LAST_SECONDS", 0.5)
    with pytest.raises(KeyboardInterrupt):
        run([sys.executable, "-c", INTERRUPTING, str(tmp_path)], environment(1), "it")
    assert running(tmp_path) == []


def test_a_run_that_fails_tells_its_last_words() -> None:
    with pytest.raises(BenchError, match=r"the job ended with 1: no such fruit"):
        run([sys.executable, "-c", "import sys; sys.exit('no such fruit')"], environment(1), "the job")


def test_a_missed_target_is_an_error_only_if_asked_and_a_measure_that_breaks_down_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missed(letter: str, _: Bench) -> Measurement:
        return measurement(letter, "it", "s", Target("ours", "<=", 1), ours=2.0)

    def failed(_: Bench) -> Measurement:
        raise BenchError("the job ended with 3: nothing to read")

    monkeypatch.setattr(bench, "MEASURES", {one: partial(missed, one) for one in NAMES} | {"c": failed})
    report = tmp_path / "deep" / "report.json"
    for options, code, letters in ("--only g,B", 0, "bg"), ("--only g --check", 1, "g"), ("", 1, [*NAMES]):
        assert bench.main([*options.split(), "--output", str(report)]) == code
        found = json.loads(report.read_text())["measurements"]
        assert [one["letter"] for one in found] == [*letters]
        assert all(one["failed"] is (one["letter"] == "c") for one in found)
    assert "failed\n   the job ended with 3: nothing to read\n" in capsys.readouterr().out


def test_help_names_every_measure_and_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        bench.main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    flags = ("--photos", "--quick", "--only", "--cores", "--repeat", "--output", "--cache", "--check")
    assert left.value.code == 0 and all(word in said for word in (*NAMES.values(), *flags))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--photos", "{tmp}/none"], "does not exist"),
        (["--photos", "{tmp}/file"], "is a file"),
        (["--photos", "{tmp}/empty"], "no photos in"),
        (["--photos", "{tmp}/locked"], "cannot be read (permission denied)"),
        (["--only", "a,z"], "does not name measures"),
        (["--cores", "0"], "--cores 0"),
        (["--cores", "9999"], "--cores 9999"),
        (["--repeat", "0"], "--repeat 0"),
        (["--output", "{tmp}"], "is a folder"),
        (["--fast"], "--fast"),
    ],
)
def test_what_a_user_can_mend_is_one_sentence_and_2(
    options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    (tmp_path / "empty").mkdir()
    (tmp_path / "locked").mkdir(0o000)
    (tmp_path / "file").touch()
    with unprivileged():
        assert bench.main([option.format(tmp=tmp_path) for option in options]) == 2
    (tmp_path / "locked").chmod(0o755)
    said = capsys.readouterr()
    assert (said.out, said.err[:7], said.err.count("\n")) == ("", "bench: ", 1) and words in said.err
