"""The house keeps its own rules: small rooms, and imports that point down."""

import ast
import re
import shutil
import subprocess
import sys
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
# Where a worker begins, and what it must do without: the driver alone reads the log, joins and converts.
WORKERS: Final = ("job.run.featurize", "job.model.spark_passes")
DRIVERS: Final = {"deltalake", "duckdb", "tensorflow", "keras", "boto3", "pandas"}
# An import that breaks a contract: where it stands, and what is imported.
PLANTED: Final = {
    "upwards": ("job/table/commits.py", "job.run.pipeline"),
    "from a sibling": ("job/maths/pca.py", "job.storage.store"),
    "from a sibling command": ("scripts/submit/follow.py", "scripts.cluster.steps"),
    "of the scripts by the job": ("job/cli/log.py", "scripts.cloud.prices"),
    "of the network by a command": ("scripts/image/push.py", "job.network.weights"),
    "of Spark by arrays": ("job/maths/moments.py", "pyspark"),
}


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
def test_settings_are_handed_down(name: str) -> None:
    # Arguments are read from the environment at the top; the network sets what TensorFlow reads.
    if name not in ("job.main", "job.spark.session", "job.network.backbone"):
        assert "os.environ" not in MODULES[name].read_text()


def contracts(folder: Path) -> "subprocess.CompletedProcess[str]":
    """Check the contracts of pyproject.toml on the code in a folder."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_imports_point_down_the_layers() -> None:
    checked = contracts(ROOT)
    assert checked.returncode == 0, checked.stdout
    assert " 0 broken" in checked.stdout


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)
def test_an_import_that_breaks_a_contract_is_found(plant: tuple[str, str], tmp_path: Path) -> None:
    for folder in ("job", "scripts"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    file, module = plant
    with (tmp_path / file).open("a") as code:
        code.write(f"import {module}\n")
    checked = contracts(tmp_path)
    assert checked.returncode == 1
    assert re.search(rf"{file.removesuffix('.py').replace('/', '.')}\s+->\s+{module}", checked.stdout)


def test_workers_load_nothing_that_only_the_driver_needs() -> None:
    reached, ahead = set[str](), set(WORKERS)
    while ahead:
        name = ahead.pop()
        reached.add(name)
        modules = imported(MODULES[name])
        assert not packages(modules) & DRIVERS, name
        ahead |= (modules & MODULES.keys()) - reached
    assert {"job.photos.fetch", "job.table.files", "job.storage.s3"} <= reached, "imports are followed"
