"""MinIO, a real S3 server, built from its Go module: once for each version of it and of Go.

``python -m tests.support.minio_build`` builds it ahead of the tests, with any Python 3.11, without packages.
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

# The module's sum covers its go.sum, and that has the sums of all that it is built from.
MODULE: Final = "github.com/minio/minio"
VERSION: Final = "v0.0.0-20260212201848-7aac2a2c5b7c"
SUM: Final = "h1:/qdoYujxF5MBLDMVLeiYJ/7fBa1HikX39Dvzb9Ji8pA="
BUILD_SECONDS: Final = 1800


class NoGoError(Exception):
    """There is no Go to build MinIO with."""


def program() -> Path:
    """Return MinIO's program. The first to ask builds it, in two or three minutes; others wait for that.

    Raises
    ------
    NoGoError
        If there is no ``go``.
    """
    if shutil.which("go") is None:
        raise NoGoError("MinIO is built from its Go module, and there is no go")
    go_version = re.sub(r"[^\w.-]", "_", _go("env", "GOVERSION", cwd="/").strip())
    # Not in the checkout: CI tests a fresh one each time.
    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fruits-minio"
    built = kept / f"minio-{VERSION}-{go_version}"
    if not built.exists():
        kept.mkdir(parents=True, exist_ok=True)
        with (kept / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not built.exists():
                _build(built)
    return built


def _build(built: Path) -> None:
    """Build the program beside its place, and then move it there."""
    with tempfile.TemporaryDirectory(prefix="building-", dir=built.parent) as folder:
        # Inside the module, Go holds every dependency against the module's own go.sum.
        _go(
            "install",
            "-mod=readonly",
            "-buildvcs=false",
            "-ldflags=-s -w",
            ".",
            cwd=_module(),
            GOBIN=folder,
            CGO_ENABLED="0",
            GOWORK="off",
        )
        Path(folder, "minio").rename(built)


def _module() -> str:
    """Fetch the module into the user's own cache of modules, check it, and return its folder."""
    words = ("mod", "download", "-json", f"{MODULE}@{VERSION}")
    # The sum stands above: no other authority need be asked.
    found: dict[str, Any] = json.loads(_go(*words, cwd="/", GONOSUMDB="*", GOFLAGS="-mod=mod"))
    assert found["Sum"] == SUM, f"{MODULE}@{VERSION} is not what it was"
    return str(found["Dir"])


def _go(*words: str, cwd: str, **environment: str) -> str:
    done = subprocess.run(
        ["go", *words],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_SECONDS,
    )
    if done.returncode:
        raise AssertionError(f"go {' '.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # which ends Go, too
    print(program())
