"""The rules of the code: small modules and functions, and imports that point down."""

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
# The modules that a worker imports first, and the packages that only the driver may load.
WORKERS: Final = ("job.run.featurize", "job.model.spark_passes")
DRIVER_PACKAGES: Final = {"deltalake", "duckdb", "tensorflow", "keras", "boto3", "pandas"}
# Imports that break a contract: the importing file, and the imported module.
PLANTED: Final = {
    "upwards": ("job/table/commits.py", "job.run.pipeline"),
    "from a sibling": ("job/maths/pca.py", "job.storage.store"),
    "from a sibling command": ("scripts/submit/follow.py", "scripts.cluster.steps"),
    "of the scripts by the job": ("job/cli/log.py", "scripts.cloud.prices"),
    "of the network by a command": ("scripts/image/push.py", "job.network.weights"),
    "of Spark by arrays": ("job/maths/moments.py", "pyspark"),
}


def name_of(file: Path) -> str:
    """Return the import name of a module of the job."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES: Final = {name_of(file): file for file in JOB if file.suffix == ".py"}


def imported(file: Path) -> set[str]:
    """Return the names of the modules that a file imports at its top."""
    names: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def packages(modules: set[str]) -> set[str]:
    return {name.split(".")[0] for name in modules}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_modules_and_functions_are_small(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= LINES
    if file.suffix == ".py":
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno < FUNCTION_LINES, node.name


@pytest.mark.parametrize("name", MODULES)
def test_only_the_top_reads_the_environment(name: str) -> None:
    # `main` reads the job's options, Spark's start Spark's, and the network sets TensorFlow's.
    if name not in ("job.main", "job.spark.session", "job.spark.jvm", "job.network.backbone"):
        assert "os.environ" not in MODULES[name].read_text()


def contracts(folder: Path) -> "subprocess.CompletedProcess[str]":
    """Check the contracts of pyproject.toml on the code in a folder."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_imports_point_down_the_layers() -> None:
    lint = contracts(ROOT)
    assert lint.returncode == 0, lint.stdout
    assert " 0 broken" in lint.stdout


@pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED)
def test_an_import_that_breaks_a_contract_is_found(planted: tuple[str, str], tmp_path: Path) -> None:
    for folder in ("job", "scripts"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    file, module = planted
    with (tmp_path / file).open("a") as code:
        code.write(f"import {module}\n")
    lint = contracts(tmp_path)
    assert lint.returncode == 1
    assert re.search(rf"{file.removesuffix('.py').replace('/', '.')}\s+->\s+{module}", lint.stdout)


def test_workers_load_nothing_that_only_the_driver_needs() -> None:
    loaded, waiting = set[str](), set(WORKERS)
    while waiting:
        name = waiting.pop()
        loaded.add(name)
        modules = imported(MODULES[name])
        assert not packages(modules) & DRIVER_PACKAGES, name
        waiting |= (modules & MODULES.keys()) - loaded
    assert {"job.photos.fetch", "job.table.files", "job.storage.s3"} <= loaded, "imports are followed"
