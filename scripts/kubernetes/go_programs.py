"""Builds the programs of a local cluster from Go modules: Kubernetes's, `pause`, and MinIO, a real S3 server.

Each is built once for a version of it and of Go, and kept in the user's cache.
``python -m scripts.kubernetes.go_programs`` builds all ahead; Python 3.11 without packages is enough.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from job.errors import JobError

GO: Final = Path(__file__).parent / "go"
BUILD_SECONDS: Final = 1800


class Module(NamedTuple):
    """A version of a module. Its checksum covers its go.sum, which holds those of its dependencies."""

    path: str
    version: str
    checksum: str


MINIO: Final = Module(
    "github.com/minio/minio",
    "v0.0.0-20260212201848-7aac2a2c5b7c",
    "h1:/qdoYujxF5MBLDMVLeiYJ/7fBa1HikX39Dvzb9Ji8pA=",
)
# EKS Auto Mode's own version of Karpenter is not published; this is a recent release of the project.
KARPENTER: Final = Module(
    "sigs.k8s.io/karpenter", "v1.13.0", "h1:7/ZergHciATEZ/hubSe9S2fB4iYWcRZqrWIItupUjVM="
)


class NoGoError(JobError):
    """Go, which builds the programs, is missing."""


def cache() -> Path:
    """Return the folder of this project in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fruits"


def kubernetes() -> Path:
    """Return Kubernetes's programs, one binary (see go/kubernetes/main.go)."""
    return _program(
        "kubernetes",
        _own_key(),
        lambda folder: _build_own("kubernetes", folder),
        "6 minutes, 6 GB of Go's caches",
    )


def pause() -> Path:
    """Return the program that holds a pod's namespaces."""
    return _program("pause", _own_key(), lambda folder: _build_own("pause", folder), "some seconds")


def minio() -> Path:
    """Return MinIO's server."""
    return _program("minio", MINIO.version, _build_minio, "3 minutes, 2 GB of Go's caches")


def node_pool_definition() -> Path:
    """Return the file that defines Karpenter's NodePools for an API server."""
    return module_folder(KARPENTER) / "pkg/apis/crds/karpenter.sh_nodepools.yaml"


def module_folder(module: Module) -> Path:
    """Fetch a module into Go's own cache of modules, check it, and return its folder.

    Raises
    ------
    NoGoError
        If there is no ``go``.
    """
    words = ("mod", "download", "-json", f"{module.path}@{module.version}")
    # The module's checksum is known, so Go's database of checksums is not needed.
    fetched: dict[str, Any] = json.loads(_go(*words, cwd=Path("/"), GONOSUMDB="*", GOFLAGS="-mod=mod"))
    if fetched["Sum"] != module.checksum:
        raise JobError(f"{module.path}@{module.version} is not what it was: its checksum is {fetched['Sum']}")
    return Path(fetched["Dir"])


def _program(name: str, key: str, build: Callable[[Path], None], cost: str) -> Path:
    """Return a program of the cache; `build` makes it in a folder first, while other processes wait.

    Raises
    ------
    NoGoError
        If there is no ``go``.
    """
    go_version = re.sub(r"[^\w.-]", "_", _go("env", "GOVERSION", cwd=Path("/")).strip())
    programs = cache() / "programs"
    executable = programs / f"{name}-{key}-{go_version}"
    if not executable.exists():
        programs.mkdir(parents=True, exist_ok=True)
        with (programs / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not executable.exists():
                print(
                    f"building {name} with Go (once; on two cores about {cost})", file=sys.stderr, flush=True
                )
                with tempfile.TemporaryDirectory(prefix="building-", dir=programs) as folder:
                    build(Path(folder))
                    Path(folder, name).rename(executable)
    return executable


def _own_key() -> str:
    """Return a key of the sources and of the checksums of what they import."""
    files = sorted(file for pattern in ("go.*", "*/*.go") for file in GO.glob(pattern))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def _build_own(name: str, folder: Path) -> None:
    match = re.search(r"^\tk8s\.io/kubernetes (v1\.(\d+)\.\d+)$", (GO / "go.mod").read_text(), re.MULTILINE)
    assert match is not None
    # Without these, Kubernetes's programs would not know their version.
    versions = [("gitVersion", match[1]), ("gitMajor", "1"), ("gitMinor", match[2])]
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    flags = " ".join(f"-X {package}.{key}={value}" for package in packages for key, value in versions)
    words = ("build", "-mod=readonly", "-trimpath", "-buildvcs=false", f"-ldflags=-s -w {flags}")
    _go(*words, "-o", str(folder / name), f"./{name}", cwd=GO, CGO_ENABLED="0", GOWORK="off")


def _build_minio(folder: Path) -> None:
    # Inside the module, Go checks every dependency against the module's own go.sum.
    words = ("install", "-mod=readonly", "-buildvcs=false", "-ldflags=-s -w", ".")
    _go(*words, cwd=module_folder(MINIO), GOBIN=str(folder), CGO_ENABLED="0", GOWORK="off")


def _go(*words: str, cwd: Path, **environment: str) -> str:
    if shutil.which("go") is None:
        raise NoGoError("Go is needed to build Kubernetes, and was not found: install Go 1.26 or newer")
    process = subprocess.run(
        ["nice", "go", *words],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_SECONDS,
    )
    if process.returncode:
        raise JobError(f"go {words[0]} failed: {process.stderr.strip()[-2000:] or process.stdout[-2000:]}")
    return process.stdout


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends Go, too
    for program in (minio, kubernetes, pause):
        print(program())
