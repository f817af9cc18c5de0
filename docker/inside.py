"""Runs inside an image for docker/check.py, on the image's Python, and prints facts as one JSON object.

As root in a container without rights or network: nothing is hidden from it, and it can change nothing. Its
argument is what is asked: ``base``, ``contents``, or ``packages``, with the lock file on stdin.
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

OURS: Final = Path("/opt/fruits")
SITE: Final = OURS / "venv/lib/python3.11/site-packages"
CACHE: Final = OURS / "cache"
# EMR mounts over these, so whatever an image has there is not there in a pod.
MOUNTED_OVER: Final = (
    "/home/hadoop",
    "/tmp",  # noqa: S108
    "/mnt",
    "/var/log/fluentd",
    "/var/log/spark/user",
    "/var/log/spark/apps",
)
SECRET_FILES: Final = {".netrc", "pip.conf", "credentials", "config.json", ".pgpass", "id_rsa", "id_ed25519"}
SECRET_TEXT: Final = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY|\b(AKIA|ASIA)[0-9A-Z]{16}\b|(?i:aws_secret_access_key)\s*[=:]"
)
# Parts of packages that the image leaves out.
LEFT_OUT: Final = ("clang/", "pyarrow/include/", "pyarrow/tests/", "tensorflow/include/")
MATERIALS: Final = ("sbom.cdx.json", "licences.txt")


def normal(name: str) -> str:
    """Return a distribution's name as comparisons want it (PEP 503)."""
    return name.lower().replace("_", "-").replace(".", "-")


def locked(lock: str) -> dict[str, str]:
    """Return name → version of what a lock file names for this machine."""
    from packaging.requirements import Requirement  # noqa: PLC0415 (not in the base)

    lines = lock.replace("\\\n", " ").splitlines()
    wanted = [Requirement(line.split(" --hash")[0]) for line in lines if line and line[0].isalnum()]
    here = [one for one in wanted if one.marker is None or one.marker.evaluate()]
    return {normal(one.name): next(iter(one.specifier)).version for one in here}


def recorded(distributions: list[metadata.Distribution]) -> dict[Path, str]:
    """Return file → digest of what packages' wheels brought; a file without a digest has an empty one."""
    found = {}
    for one in distributions:
        for name, digest, _ in csv.reader((one.read_text("RECORD") or "").splitlines()):
            if not name.startswith(("../", *LEFT_OUT)):  # scripts are rewritten at installation
                found[Path(str(one.locate_file(name)))] = digest
    return found


def strange(known: dict[Path, str]) -> list[str]:
    """Return files in site-packages that no package installed: Python may run them at start."""
    there = (Path(name) for name in files(str(SITE)))
    return [str(path) for path in there if path not in known and path.parent.name != "__pycache__"]


def altered(known: dict[Path, str]) -> list[str]:
    """Return the files of packages that are not, or no longer, as their wheels brought them."""

    def is_altered(file: Path) -> bool:
        if not file.is_file():
            return True
        with file.open("rb") as source:
            found = hashlib.file_digest(source, "sha256").digest()
        return known[file] != "sha256=" + base64.urlsafe_b64encode(found).decode().rstrip("=")

    hashed = [file for file, digest in known.items() if digest]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [str(file) for file, wrong in zip(hashed, pool.map(is_altered, hashed)) if wrong]  # noqa: B905


def files(*folders: str) -> list[str]:
    """Return every file below some folders, which need not exist."""
    return [
        str(Path(where) / name) for folder in folders for where, _, names in os.walk(folder) for name in names
    ]


def special() -> list[str]:
    """Return all setuid and setgid files of the image."""
    found = []
    for where, folders, names in os.walk("/"):
        if where == "/":
            folders[:] = [name for name in folders if name not in ("proc", "sys", "dev")]
        for name in names:
            mode = os.lstat(Path(where) / name).st_mode
            if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
                found.append(str(Path(where) / name))
    return found


def weights() -> str:
    """Return the fingerprint of the weights."""
    import numpy as np  # noqa: PLC0415 (not in the base)

    digest = hashlib.sha256()
    try:
        (file,) = CACHE.glob("mobilenet_v2-*.npz")
        with np.load(file, allow_pickle=False) as arrays:
            for name in arrays.files:  # in their order, as the job reads them
                digest.update(arrays[name].astype("<f4").tobytes())
    except Exception as error:  # noqa: BLE001 (a finding: on a corrupt file NumPy raises most of what there is)
        return f"unreadable: {error!r}"
    return digest.hexdigest()


def program() -> str:
    """Return whether the network's programs have the hashes that are their names."""
    found = {file.stem.rpartition("-")[2]: file.read_bytes() for file in CACHE.glob("*.tflite")}
    wrong = [name for name, data in found.items() if hashlib.sha256(data).hexdigest() != name]
    return "altered" if wrong else "right" if found else "missing"


def code(folder: Path) -> dict[str, list[str]]:
    """Return all modules below a folder, and those without bytecode."""
    modules = sorted(folder.rglob("*.py"))
    compiled = {file: Path(cache_from_source(str(file))).is_file() for file in modules}
    return {
        "job": [file.relative_to(folder).as_posix() for file in modules],
        "uncompiled": [file.relative_to(folder).as_posix() for file in modules if not compiled[file]],
    }


def secrets() -> list[str]:
    """Return files of ours that look like somebody's secrets."""
    found = []
    for name in files(str(OURS), "/root", "/build", "/run"):
        path = Path(name)
        ours = "site-packages" not in name and path.is_file()
        if path.name in SECRET_FILES or (ours and SECRET_TEXT.search(path.read_bytes())):
            found.append(name)
    return found


def writable() -> list[str]:
    """Return what users other than root have permission to change in our folder."""
    found = []
    for where, _, names in os.walk(OURS):
        for path in (Path(where), *(Path(where) / name for name in names)):
            state = path.lstat()
            if not stat.S_ISLNK(state.st_mode) and (state.st_uid != 0 or state.st_mode & 0o022):
                found.append(str(path))
    return found


def base() -> dict[str, Any]:
    """Return the facts asked of both images: whatever only ours has, we added."""
    return {"mounted": sorted(files(*MOUNTED_OVER)), "special": sorted(special())}


def contents() -> dict[str, Any]:
    """Return what is asked of our image alone."""
    return {
        **base(),
        **code(OURS / "job"),
        "immaterial": [name for name in MATERIALS if not (OURS / "materials" / name).is_file()],
        "secrets": secrets(),
        "writable": writable(),
        "weights": weights(),
        "program": program(),
    }


def packages() -> dict[str, Any]:
    """Return what is installed, and what the lock on stdin names."""
    there = list(metadata.distributions(path=[str(SITE)]))
    known = recorded(there)
    return {
        "python": [sys.prefix, list(sys.version_info[:2])],
        "locked": locked(sys.stdin.read()),
        "installed": {normal(one.metadata["Name"]): one.version for one in there},
        "altered": altered(known),
        "strange": strange(known),
    }


if __name__ == "__main__":
    asked = {"base": base, "contents": contents, "packages": packages}
    sys.stdout.write(json.dumps(asked[sys.argv[1]]()))
