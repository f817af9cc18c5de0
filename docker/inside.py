"""Runs inside an image, on its Python, for docker/check.py, and prints facts as one JSON object.

It runs as a root that may read everything and change nothing, without a network. The argument names the
facts: ``base``, ``image``, or ``packages``, which reads the lock file from stdin.
"""

import base64
import csv
import hashlib
import json
import os
import re
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any, Final

FRUITS: Final = Path("/opt/fruits")
SITE_PACKAGES: Final = FRUITS / "venv/lib/python3.11/site-packages"
CACHE: Final = FRUITS / "cache"
# EMR mounts volumes over these folders, so a pod does not see an image's files there.
MOUNTED_OVER: Final = (
    "/home/hadoop",
    "/tmp",  # noqa: S108
    "/mnt",
    "/var/log/fluentd",
    "/var/log/spark/user",
    "/var/log/spark/apps",
)
SECRET_NAMES: Final = {".netrc", "pip.conf", "credentials", "config.json", ".pgpass", "id_rsa", "id_ed25519"}
SECRET_TEXT: Final = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY|\b(AKIA|ASIA)[0-9A-Z]{16}\b|(?i:aws_secret_access_key)\s*[=:]"
)
# The Dockerfile removes these parts of packages.
REMOVED_PARTS: Final = ("clang/", "pyarrow/include/", "pyarrow/tests/", "tensorflow/include/")
MATERIALS: Final = ("sbom.cdx.json", "licences.txt")


def normalised_name(name: str) -> str:
    """Return a distribution's name in the form that can be compared (PEP 503)."""
    return name.lower().replace("_", "-").replace(".", "-")


def locked_versions(lock: str) -> dict[str, str]:
    """Return name → version of the packages that a lock file has for this machine."""
    from packaging.requirements import Requirement  # noqa: PLC0415 (the base lacks it)

    lines = lock.replace("\\\n", " ").splitlines()
    every = [Requirement(line.split(" --hash")[0]) for line in lines if line and line[0].isalnum()]
    wanted = [package for package in every if package.marker is None or package.marker.evaluate()]
    return {normalised_name(package.name): next(iter(package.specifier)).version for package in wanted}


def recorded_digests(distributions: list[metadata.Distribution]) -> dict[Path, str]:
    """Return file → digest as the packages' wheels record them; a digest may be empty."""
    digests = {}
    for distribution in distributions:
        for name, digest, _ in csv.reader((distribution.read_text("RECORD") or "").splitlines()):
            if not name.startswith(("../", *REMOVED_PARTS)):  # pip rewrites scripts
                digests[Path(str(distribution.locate_file(name)))] = digest
    return digests


def unrecorded_files(digests: dict[Path, str]) -> list[str]:
    """Return files in site-packages that belong to no package: Python may run them when it starts."""
    paths = (Path(name) for name in files_below(str(SITE_PACKAGES)))
    return [str(path) for path in paths if path not in digests and path.parent.name != "__pycache__"]


def altered_files(digests: dict[Path, str]) -> list[str]:
    """Return files of packages that are missing or differ from their recorded digest."""

    def is_altered(file: Path) -> bool:
        if not file.is_file():
            return True
        with file.open("rb") as source:
            digest = hashlib.file_digest(source, "sha256").digest()
        return digests[file] != "sha256=" + base64.urlsafe_b64encode(digest).decode().rstrip("=")

    files = [file for file, digest in digests.items() if digest]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [str(file) for file, altered in zip(files, pool.map(is_altered, files)) if altered]  # noqa: B905


def files_below(*folders: str) -> list[str]:
    """Return all files below some folders, which need not exist."""
    return [
        str(Path(parent) / name)
        for folder in folders
        for parent, _, names in os.walk(folder)
        for name in names
    ]


def setuid_files() -> list[str]:
    """Return all setuid and setgid files of the image."""
    paths = []
    for parent, folders, names in os.walk("/"):
        if parent == "/":
            folders[:] = [name for name in folders if name not in ("proc", "sys", "dev")]
        for name in names:
            mode = os.lstat(Path(parent) / name).st_mode
            if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
                paths.append(str(Path(parent) / name))
    return paths


def weights_fingerprint() -> str:
    """Return the fingerprint of the weights."""
    import numpy as np  # noqa: PLC0415 (the base lacks it)

    digest = hashlib.sha256()
    try:
        (file,) = CACHE.glob("mobilenet_v2-*.npz")
        with np.load(file, allow_pickle=False) as arrays:
            for name in arrays.files:  # in the file's order, as the job does
                digest.update(arrays[name].astype("<f4").tobytes())
    except Exception as error:  # noqa: BLE001 (reported; a corrupt file makes NumPy raise almost anything)
        return f"unreadable: {error!r}"
    return digest.hexdigest()


def network_state() -> str:
    """Return ``right`` if the converted networks have the hashes in their names; ``altered``, ``missing``."""
    contents = {file.stem.rpartition("-")[2]: file.read_bytes() for file in CACHE.glob("*.tflite")}
    altered = any(hashlib.sha256(data).hexdigest() != name for name, data in contents.items())
    return "altered" if altered else "right" if contents else "missing"


def job_modules(folder: Path) -> dict[str, list[str]]:
    """Return all modules below a folder, and those without bytecode."""
    modules = sorted(folder.rglob("*.py"))
    compiled = {file: Path(cache_from_source(str(file))).is_file() for file in modules}
    return {
        "job": [file.relative_to(folder).as_posix() for file in modules],
        "uncompiled": [file.relative_to(folder).as_posix() for file in modules if not compiled[file]],
    }


def secret_files() -> list[str]:
    """Return files that we added and that look like secrets."""
    names = []
    for name in files_below(str(FRUITS), "/root", "/build", "/run"):
        path = Path(name)
        is_ours = "site-packages" not in name and path.is_file()
        if path.name in SECRET_NAMES or (is_ours and SECRET_TEXT.search(path.read_bytes())):
            names.append(name)
    return names


def writable_paths() -> list[str]:
    """Return files and folders in /opt/fruits that users other than root may change."""
    paths = []
    for parent, _, names in os.walk(FRUITS):
        for path in (Path(parent), *(Path(parent) / name for name in names)):
            status = path.lstat()
            if not stat.S_ISLNK(status.st_mode) and (status.st_uid != 0 or status.st_mode & 0o022):
                paths.append(str(path))
    return paths


def base_facts() -> dict[str, Any]:
    """Return facts of both images: check.py compares them to see what we added."""
    return {"mounted": sorted(files_below(*MOUNTED_OVER)), "setuid": sorted(setuid_files())}


def image_facts() -> dict[str, Any]:
    """Return facts of our image: those of the base's, and of what we put into it."""
    return {
        **base_facts(),
        **job_modules(FRUITS / "job"),
        "missing_materials": [name for name in MATERIALS if not (FRUITS / "materials" / name).is_file()],
        "secrets": secret_files(),
        "writable": writable_paths(),
        "weights": weights_fingerprint(),
        "network": network_state(),
    }


def package_facts() -> dict[str, Any]:
    """Return the installed packages, and those of the lock on stdin."""
    distributions = list(metadata.distributions(path=[str(SITE_PACKAGES)]))
    digests = recorded_digests(distributions)
    return {
        "python": [sys.prefix, list(sys.version_info[:2])],
        "locked": locked_versions(sys.stdin.read()),
        "installed": {
            normalised_name(package.metadata["Name"]): package.version for package in distributions
        },
        "altered": altered_files(digests),
        "unrecorded": unrecorded_files(digests),
    }


if __name__ == "__main__":
    facts = {"base": base_facts, "image": image_facts, "packages": package_facts}
    sys.stdout.write(json.dumps(facts[sys.argv[1]]()))
