"""The house keeps its own rules: small rooms, and imports that point down."""

import ast
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
FILES: Final = sorted(
    path
    for folder in ("docker", "job", "scripts", "tests")
    for ending in ("py", "sh")
    for path in (ROOT / folder).rglob(f"*.{ending}")
)
JOB: Final = [path for path in FILES if path.is_relative_to(ROOT / "job")]
LINES: Final = 450
FUNCTION_LINES: Final = 60
# What a worker imports with its pure rooms; Spark and TensorFlow would cost it seconds and a gigabyte.
PURE: Final = ("job.photos.decode", "job.photos.formats", "job.maths.moments", "job.network.keras_files")
# Where a worker begins, and what it must do without: the driver alone reads the log, joins and converts.
WORKERS: Final = ("job.run.featurize", "job.model.passes")
DRIVERS: Final = {"deltalake", "duckdb", "tensorflow", "keras", "boto3", "pandas"}
# All that the table stands on.
BELOW_THE_TABLE: Final = {"job", "job.errors", "job.storage.store"}


def name_of(file: Path) -> str:
    """Return the name by which a module of the job is imported."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES: Final = {name_of(file): file for file in JOB if file.suffix == ".py"}


def imported(file: Path) -> set[str]:
    """Return the names of the modules that a file imports at its top."""
    found: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def packages(modules: set[str]) -> set[str]:
    return {name.split(".")[0] for name in modules}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_rooms_and_functions_are_small(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= LINES
    if file.suffix == ".py":
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno < FUNCTION_LINES, node.name


@pytest.mark.parametrize("name", MODULES)
def test_the_job_imports_downwards_only(name: str) -> None:
    modules = imported(MODULES[name])
    assert not packages(modules) & {"scripts", "tests"}
    if name not in ("job.main", "job.__main__"):
        assert not modules & {"job.main", "job.run.pipeline"}, "no step knows the pipeline"
    if name.startswith("job.table"):
        others = {other for other in modules & MODULES.keys() if not other.startswith("job.table")}
        assert others <= BELOW_THE_TABLE, "the table knows no step"
    if name in PURE:
        assert not packages(modules) & {"pyspark", *DRIVERS}
    if name not in (
        "job.main",
        "job.spark.session",
        "job.network.backbone",
    ):  # the last sets what TensorFlow reads
        assert "os.environ" not in MODULES[name].read_text(), "settings are handed down"


def test_workers_load_nothing_that_only_the_driver_needs() -> None:
    reached, ahead = set[str](), set(WORKERS)
    while ahead:
        name = ahead.pop()
        reached.add(name)
        modules = imported(MODULES[name])
        assert not packages(modules) & DRIVERS, name
        ahead |= (modules & MODULES.keys()) - reached
    assert {"job.photos.fetch", "job.table.files", "job.storage.s3"} <= reached, "imports are followed"
