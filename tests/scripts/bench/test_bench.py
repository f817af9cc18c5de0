"""The benchmark as a user runs it: a quick run and its figures, targets, and how it ends."""

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
import pytest

from job.inventory.folder_listing import folder_files
from scripts.bench import __main__ as bench
from scripts.bench import known_output, process, samples
from scripts.bench.figures import Measurement
from scripts.bench.process import BenchError, environment, run
from scripts.bench.runs import Bench
from scripts.bench.sizes import QUICK
from scripts.bench.targets import MEASURES, measurement
from tests.support.spark_session import Run

LETTERS: Final = "abdegjklmno"  # the others run the job many times each, for minutes
SMALL: Final = replace(
    QUICK,
    photos=60,
    pca_rows=1500,
    comparison_rows=20_000,
    long_comparison_rows=30_000,
    opening_rows=4000,
    driver_photos=(3000, 6000),
)
INTERRUPTING: Final = """
import os, signal, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", sys.argv[1]], process_group=0)
os.kill(os.getppid(), signal.SIGINT)
time.sleep(60)
"""


@dataclass(frozen=True, slots=True)
class Quick:
    printed: str
    report: dict[str, Any]
    figures: dict[str, dict[str, Any]]
    scratch: Path


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Quick:
    """Run the benchmark once: at small sizes, where no photos lie, among a user's settings."""
    folder, printed = tmp_path_factory.mktemp("quick"), StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.setattr(bench, "QUICK", SMALL)
        patch.setattr(bench, "PHOTOS", folder / "none")
        patch.setattr(bench, "DRAWN", folder)
        patch.setattr(bench, "DRAWN_PER_KIND", {True: 6})
        patch.setattr(bench, "OUTPUT", folder / "build" / "bench.json")
        patch.setattr(tempfile, "tempdir", str(folder))
        patch.setenv("FRUITS_LIMIT", "5")
        assert bench.main(["--quick", "--cache", str(cache), "--only", ",".join(LETTERS)]) == 0, printed
    report = json.loads((folder / "build" / "bench.json").read_text())
    figures = {measure["letter"]: measure for measure in report["measurements"]}
    return Quick(printed.getvalue(), report, figures, folder)


def indented(detail: str) -> str:
    """Return the details of a measurement as they are printed below its row."""
    return "".join(f"\n   {line}" for line in detail.splitlines())


def running(word: object) -> list[str]:
    """Return the commands of the running processes that contain a word."""
    commands = os.popen("ps -ww -eo args").read().splitlines()
    assert commands
    return [command for command in commands if str(word) in command]


@pytest.mark.spark
def test_a_quick_run_prints_and_writes_a_figure_for_each_letter(quick: Quick) -> None:
    assert "".join(quick.figures) == LETTERS and quick.report["run"] == "quick"
    assert {"cpu", "cores", "python", "versions", "load"} <= quick.report["machine"].keys()
    for letter, (name, _) in MEASURES.items():
        if measure := quick.figures.get(letter):
            assert (measure["other"] if letter == "a" else measure["ours"]) > 0, measure
            (line,) = (line for line in quick.printed.splitlines() if line.startswith(f"{letter}  {name}"))
            assert (measure["target"] or "-") in line and indented(measure["detail"]) in quick.printed
    for letter, faster, slower in ("b", "ours", "other"), ("d", "other", "ours"), ("m", "other", "ours"):
        measure = quick.figures[letter]
        assert measure["ratio"] == pytest.approx(measure[faster] / measure[slower])


@pytest.mark.spark
def test_a_quick_run_is_correct_and_leaves_no_process_and_no_file(quick: Quick) -> None:
    details = {letter: measure["detail"] for letter, measure in quick.figures.items()}
    assert "96 drawn photos are used instead, repeatedly" in quick.printed
    assert details["b"].startswith("60 photos") and "which is more than" not in details["d"]
    assert details["j"].endswith("neither Spark nor the network was started")
    for letter in "klm":
        assert "2,000 new or changed, 1,000 missing, exactly the right ones" in details[letter]
    for drivers_part in quick.figures["o"]["figures"]["runs"]:
        assert drivers_part["steps"]["end"]["files"] == 2 * drivers_part["tasks"] > 0
    if sys.platform == "linux":
        assert 50 < quick.figures["e"]["ours"] < 400, "a Python worker, and not Java"
    assert list(quick.scratch.glob("bench-*/")) == [quick.scratch / "bench-photos-6"]
    assert running(quick.scratch) == []


@pytest.mark.spark
def test_the_job_extends_a_synthetic_output(sample: Path, tmp_path: Path, run: Run) -> None:
    photos, output, listed = tmp_path / "photos", str(tmp_path / "output"), tmp_path / "list.parquet"
    samples.copy_photos(samples.evenly_spaced(samples.photos_in(sample), 5), sample, photos)
    new = list(folder_files(str(photos), output, set()))
    known_output.write_list(listed, new, 1100)
    known_output.write_output(output, new, 1100, np.random.default_rng(1).random((400, 1280), np.float32))
    record = run("--manifest", listed, "--output", output, "--max-variance-loss", "1")
    assert [record["counts"][name] for name in ("unchanged", "featurized", "rows")] == [1100, 5, 1105]
    assert not record["model"]["fitted_now"] and record["model"]["rows_projected"] == 5


def test_an_interrupt_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LAST_SECONDS", 0.5)
    with pytest.raises(KeyboardInterrupt):
        run([sys.executable, "-c", INTERRUPTING, str(tmp_path)], environment(1), "the job")
    assert running(tmp_path) == []


def test_a_missed_target_fails_only_with_check_and_a_broken_measure_always(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missed(letter: str, _: Bench) -> Measurement:
        return measurement(letter, "s", ours=1e9, ratio=0.0, detail="")

    def failed(_: Bench) -> Measurement:
        raise BenchError("the job ended with 3: nothing to read")

    functions = {letter: partial(missed, letter) for letter in MEASURES} | {"c": failed}
    monkeypatch.setattr(bench, "MEASURE_FUNCTIONS", functions)
    report = tmp_path / "deep" / "report.json"
    for options, code, letters in ("--only g,B", 0, "bg"), ("--only g --check", 1, "g"), ("", 1, [*MEASURES]):
        assert bench.main([*options.split(), "--output", str(report)]) == code
        measures = json.loads(report.read_text())["measurements"]
        assert [measure["letter"] for measure in measures] == [*letters]
        assert all(measure["failed"] is (measure["letter"] == "c") for measure in measures)
    assert "failed\n   the job ended with 3: nothing to read\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--photos {tmp}", "no photos in"),
        ("--only a,z", "does not name measures"),
        ("--cores 9999", "--cores 9999"),
        ("--repeat 0", "--repeat 0"),
        ("--output {tmp}", "is a folder"),
        ("--fast", "--fast"),
    ],
)
def test_wrong_arguments_end_with_2_and_one_sentence(
    options: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.main(options.format(tmp=tmp_path).split()) == 2
    streams = capsys.readouterr()
    assert (streams.out, streams.err[:7], streams.err.count("\n")) == ("", "bench: ", 1)
    assert words in streams.err
