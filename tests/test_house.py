"""The house keeps its own rules: small rooms, and imports that point down."""

import ast
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
FILES: Final = sorted(
    path
    for folder in ("docker", "job", "scripts", "tests", "tests/checked", "tests/recorders")
    for ending in ("py", "sh")
    for path in (ROOT / folder).glob(f"*.{ending}")
)
LINES: Final = 250
FUNCTION_LINES: Final = 60
# What a worker imports with its pure rooms; Spark and TensorFlow would cost it seconds and a gigabyte.
PURE: Final = ("decode", "sniff", "moments", "checkpoint")
HEAVY: Final = {"pyspark", "tensorflow", "keras", "boto3", "pandas"}


def imported(file: Path) -> set[str]:
    """Return the names of the modules that a file imports at its top."""
    found: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_rooms_and_functions_are_small(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= LINES
    if file.suffix == ".py":
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno < FUNCTION_LINES, node.name


@pytest.mark.parametrize("file", sorted((ROOT / "job").glob("*.py")), ids=lambda file: file.stem)
def test_the_job_imports_downwards_only(file: Path) -> None:
    modules = imported(file)
    assert not {name for name in modules if name.split(".")[0] in ("scripts", "tests")}
    if file.stem not in ("main", "__main__"):
        assert not modules & {"job.main", "job.pipeline"}, "no step knows the pipeline"
    if file.stem in PURE:
        assert not {name.split(".")[0] for name in modules} & HEAVY
    if file.stem not in ("main", "session", "backbone"):  # the last sets what TensorFlow reads
        assert "os.environ" not in file.read_text(), "settings are handed down"
