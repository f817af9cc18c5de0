"""What a local cluster needs of this machine; each refusal is one sentence that says how to mend it."""

import os
import shutil
import sys
from pathlib import Path
from typing import Final

from job.errors import UsageError
from scripts.cloud import docker_engine
from scripts.kubernetes import go_programs

# The programs that a cluster runs, by Debian's package.
PROGRAMS: Final = {
    "containerd": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "ipset": "ipset",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "openssl": "openssl",
}
PLUGINS: Final = Path("/usr/lib/cni")
PLUGIN_PROGRAMS: Final = ("bridge", "host-local")
PLUGIN_PACKAGE: Final = "containernetworking-plugins"
# Go's caches and programs (6 GB), the unpacked image (5 GB), photos and results.
DISK_GB: Final = 12


def check(image: str) -> None:
    """Refuse a machine on which no local cluster can run, or that lacks the image.

    Raises
    ------
    UsageError, ContainerError
        With the first thing that is missing.
    """
    if sys.platform != "linux":
        raise UsageError("a local cluster needs Linux: run it in a virtual machine, or give a --context")
    if os.geteuid() != 0:
        raise UsageError(
            "a local cluster needs root for its networks and mounts: put sudo before the command, "
            "or give a --context"
        )
    if packages := missing_packages():
        raise UsageError(
            f"a local cluster needs what is not installed: apt-get install {' '.join(packages)} "
            "(Debian's names)"
        )
    if shutil.which("go") is None:
        raise UsageError("a local cluster is built with Go, which was not found: install Go 1.26 or newer")
    free = shutil.disk_usage(_existing(go_programs.cache())).free / 1e9
    if free < DISK_GB:
        raise UsageError(
            f"a local cluster needs about {DISK_GB} GB in {go_programs.cache()}, where {free:.1f} GB are "
            "free: make room, or set XDG_CACHE_HOME to a folder on another disk"
        )
    docker_engine.require_image(image)


def missing_packages() -> list[str]:
    """Return Debian's packages of the programs that are not there."""
    packages = {package for program, package in PROGRAMS.items() if shutil.which(program) is None}
    if not all(os.access(PLUGINS / name, os.X_OK) for name in PLUGIN_PROGRAMS):
        packages.add(PLUGIN_PACKAGE)
    return sorted(packages)


def _existing(folder: Path) -> Path:
    """Return a folder, or its nearest parent that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())
