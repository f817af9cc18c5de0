"""The READMEs are true: their examples run, and the options, files and links that they name exist."""

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
    assert len(examples) == 6
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYSPARK")}
    for example in examples:
        process = subprocess.run(
            [sys.executable, "-c", example], capture_output=True, text=True, cwd=tmp_path,
            env=environment | {"PYSPARK_PYTHON": sys.executable}, timeout=240, check=False,
        )  # fmt: skip
        assert process.returncode == 0, process.stderr[-2000:]
        assert process.stdout.strip()


def test_the_options_are_printed_as_by_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "110")
    printed = next(block for block in blocks("console") if "--max-photo-pixels" in block)
    assert printed.split("\n", 1)[1].strip() == _parser().format_help().strip()


def test_the_named_files_exist() -> None:
    names = set(re.findall(r"`((?:job|scripts|tests|\.ci)/[\w./-]*)`", TEXT))
    assert len(names) >= 5
    for name in names:
        assert (ROOT / name).exists(), name


def test_the_targets_of_links_exist() -> None:
    for readme in READMES:
        for target, _, part in re.findall(r"\]\((?!http)([^)#]*)(#([^)]*))?\)", readme.read_text()):
            file = readme.parent / target if target else readme
            assert file.exists(), target
            headings = re.findall(r"^#+ (.*)$", file.read_text(), flags=re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
            assert not part or part in anchors, part


def test_no_placeholder_is_left() -> None:
    assert not re.findall(r"@[A-Z]+@", TEXT)
