"""Builds MinIO, a real S3 server, from its Go module: once for each version of MinIO and of Go.

``python -m tests.support.minio_build`` builds it ahead of the tests; Python 3.11 without packages is enough.
"""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

# The module's checksum covers its go.sum, which holds the checksums of its dependencies.
MODULE: Final = "github.com/minio/minio"
VERSION: Final = "v0.0.0-20260212201848-7aac2a2c5b7c"
SUM: Final = "h1:/qdoYujxF5MBLDMVLeiYJ/7fBa1HikX39Dvzb9Ji8pA="
BUILD_SECONDS: Final = 1800


class NoGoError(Exception):
    """Go, which builds MinIO, is missing."""


def program() -> Path:
    """Return MinIO's program. The first call builds it, in two or three minutes; other processes wait.

    Raises
    ------
    NoGoError
        If there is no ``go``.
    """
    if shutil.which("go") is None:
        raise NoGoError("MinIO is built from its Go module, and there is no go")
    go_version = re.sub(r"[^\w.-]", "_", _go("env", "GOVERSION", cwd="/").strip())
    # Not in the checkout: CI tests a fresh one each time.
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fruits-minio"
    executable = cache / f"minio-{VERSION}-{go_version}"
    if not executable.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not executable.exists():
                _build(executable)
    return executable


def _build(executable: Path) -> None:
    """Build the program in a folder beside `executable`, and then move it there."""
    with tempfile.TemporaryDirectory(prefix="building-", dir=executable.parent) as folder:
        # Inside the module, Go checks every dependency against the module's own go.sum.
        words = ("install", "-mod=readonly", "-buildvcs=false", "-ldflags=-s -w", ".")
        _go(*words, cwd=_module(), GOBIN=folder, CGO_ENABLED="0", GOWORK="off")
        Path(folder, "minio").rename(executable)


def _module() -> str:
    """Fetch the module into the user's own cache of modules, check it, and return its folder."""
    words = ("mod", "download", "-json", f"{MODULE}@{VERSION}")
    # `SUM` checks the module, so Go's database of checksums is not needed.
    module: dict[str, Any] = json.loads(_go(*words, cwd="/", GONOSUMDB="*", GOFLAGS="-mod=mod"))
    assert module["Sum"] == SUM, f"{MODULE}@{VERSION} is not what it was"
    return str(module["Dir"])


def _go(*words: str, cwd: str, **environment: str) -> str:
    process = subprocess.run(
        ["go", *words],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_SECONDS,
    )
    if process.returncode:
        raise AssertionError(f"go {' '.join(words)}\n{process.stdout[-2000:]}\n{process.stderr[-4000:]}")
    return process.stdout


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends Go, too
    print(program())
