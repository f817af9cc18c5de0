"""A worker reads the directories of zip files once, and not before each task."""

import importlib
import sys
import zipfile
import zipimport
from pathlib import Path
from unittest.mock import Mock

import pytest

from job.spark import imports


def test_a_zip_is_read_once_and_its_modules_are_still_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = str(tmp_path / "modules.zip")
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("pear_module.py", "kind = 'pear'\n")
        file.writestr("plum_module.py", "kind = 'plum'\n")
    monkeypatch.syspath_prepend(archive)
    assert importlib.import_module("pear_module").kind == "pear"
    read = Mock(wraps=zipimport._read_directory)  # type: ignore[attr-defined]
    monkeypatch.setattr(zipimport, "_read_directory", read)
    importlib.invalidate_caches()  # as Spark does before each task
    assert read.call_count > 0
    read.reset_mock()
    for _ in range(3):
        imports.keep_directories()
        importlib.invalidate_caches()
    assert importlib.import_module("plum_module").kind == "plum"
    assert read.call_count == 0
    assert any(isinstance(finder, zipimport.zipimporter) for finder in sys.path_importer_cache.values())
