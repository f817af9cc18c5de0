"""The READMEs are true: their Python runs as it stands, the options and files that they name are there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from job.cli.settings import _parser
from tests.support.spark_session import ROOT, Run

READMES = [ROOT / "README.md", *sorted(ROOT.glob("*/README.md"))]
TEXT = "\n".join(file.read_text() for file in READMES)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.spark
def test_the_examples_run_as_they_stand(run: Run, sample: Path, tmp_path: Path) -> None:
    run("--input", sample, "--output", tmp_path / "build" / "output", "--limit", 60)
    examples = blocks("python")
    assert len(examples) == 4
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


def test_the_files_that_the_readmes_name_are_there() -> None:
    named = set(re.findall(r"`((?:job|scripts|tests|\.ci)/[\w./-]*)`", TEXT))
    assert len(named) >= 5
    for name in named:
        assert (ROOT / name).exists(), name


def test_the_links_lead_somewhere() -> None:
    for readme in READMES:
        for target, _, part in re.findall(r"\]\((?!http)([^)#]*)(#([^)]*))?\)", readme.read_text()):
            file = readme.parent / target if target else readme
            assert file.exists(), target
            headings = re.findall(r"^#+ (.*)$", file.read_text(), flags=re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
            assert not part or part in anchors, part


def test_nothing_is_left_to_fill_in() -> None:
    assert not re.findall(r"@[A-Z]+@", TEXT)
