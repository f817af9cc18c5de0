"""Programs of Go are built once, from sources whose checksums are known."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from scripts.kubernetes import go_programs
from tests.conftest import ROOT


class Go:
    """A stand-in for Go, which builds nothing and records its calls."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.cache = folder, folder / "cache" / "fruits" / "programs"
        (folder / "go").write_text(FAKE_GO)
        (folder / "go").chmod(0o755)

    def build(self, **changes: str) -> "subprocess.Popen[str]":
        """Start a build."""
        environment = {
            "PATH": f"{self.folder}:/usr/bin:/bin",
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "CALLS": str(self.folder / "calls"),
            "FAKE_VERSION": "go1.99 fake",
            "FAKE_SUM": go_programs.MINIO.checksum,
            "FAKE_INSTALL": "sleep 0.2; touch $GOBIN/minio",
        }
        return subprocess.Popen(
            [sys.executable, "-c", BUILD], cwd=ROOT, env=environment | changes,
            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def builds(self) -> int:
        """Return the number of builds."""
        return (self.folder / "calls").read_text().split().count("install")


BUILD: Final = "from scripts.kubernetes import go_programs; print(go_programs.minio())"
FAKE_GO: Final = """#!/bin/sh
echo "$1" >>"$CALLS"
case "$1" in
  env) echo "$FAKE_VERSION" ;;
  mod) echo '{"Sum": "'"$FAKE_SUM"'", "Dir": "/"}' ;;
  install) eval "$FAKE_INSTALL" ;;
esac
"""


@pytest.fixture
def go(tmp_path: Path) -> Go:
    return Go(tmp_path)


def test_two_processes_at_once_build_the_program_once_and_another_go_builds_it_anew(go: Go) -> None:
    processes = [go.build(), go.build()]
    assert {process.communicate()[0] for process in processes} == {
        f"{go.cache}/minio-{go_programs.MINIO.version}-go1.99_fake\n"
    }
    assert ([process.returncode for process in processes], go.builds()) == ([0, 0], 1)
    assert len(list(go.cache.iterdir())) == 2, "the program and a lock"
    assert (go.build().wait(), go.build(FAKE_VERSION="go2").wait(), go.builds()) == (0, 0, 2)


@pytest.mark.parametrize(
    ("changes", "message", "builds"),
    [
        ({"FAKE_INSTALL": "echo no space >&2; touch $GOBIN/minio; exit 1"}, "no space", 1),
        ({"FAKE_SUM": "h1:another"}, f"{go_programs.MINIO.version} is not what it was", 0),
    ],
)
def test_a_failed_build_or_an_unknown_module_leaves_a_message_and_no_file(
    go: Go, changes: dict[str, str], message: str, builds: int
) -> None:
    process = go.build(**changes)
    assert message in process.communicate()[1]
    assert (process.returncode, go.builds()) == (1, builds)
    assert [path.name for path in go.cache.iterdir()] == ["minio.lock"]


def test_without_go_there_is_no_program_and_one_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(go_programs.NoGoError, match="was not found"):
        go_programs.minio()
