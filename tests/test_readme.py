"""The README is true: its Python runs as it stands, its options are the job's, and what it names is there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from job.settings import _parser
from tests.spark_session import ROOT, Run

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.spark
def test_the_examples_run_as_they_stand(run: Run, sample: Path, tmp_path: Path) -> None:
    run("--input", sample, "--output", tmp_path / "build" / "output", "--limit", 60)
    examples = blocks("python")
    assert len(examples) == 3
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYSPARK")}
    for example in examples:
        done = subprocess.run(
            [sys.executable, "-c", example], capture_output=True, text=True, cwd=tmp_path,
            env=environment | {"PYSPARK_PYTHON": sys.executable}, timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.strip()


def test_all_options_are_shown_as_help_shows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "110")
    shown = next(block for block in blocks("console") if "--max-photo-pixels" in block)
    assert shown.split("\n", 1)[1].strip() == _parser().format_help().strip()


def test_the_files_that_the_readme_names_are_there() -> None:
    named = set(re.findall(r"`((?:job|scripts|tests|\.ci)/[\w./-]*)`", README))
    assert len(named) >= 5
    for name in named:
        assert (ROOT / name).exists(), name


def test_nothing_is_left_to_fill_in() -> None:
    assert not re.findall(r"@[A-Z]+@", README)
