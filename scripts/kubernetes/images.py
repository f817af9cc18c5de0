"""The images of a local cluster's nodes: unpacked once, and shared by all nodes and clusters."""

import fcntl
import hashlib
import io
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from job.errors import JobError, UsageError
from scripts.kubernetes import go_programs
from scripts.kubernetes.control_plane import wait_until
from scripts.kubernetes.machine import Machine

PAUSE: Final = "docker.io/library/fruits-pause:1"
# Unpacked images are large (4.6 GB for the job's), so few sets of them are kept.
KEPT_SETS: Final = 2
CONTAINERD: Final = """\
version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.opt"]
[grpc]
  address = "{folder}/containerd.sock"
"""


def unpacked(images: Sequence[str]) -> Path:
    """Return the folder of a containerd that holds images of the Docker engine, and `PAUSE`.

    Raises
    ------
    UsageError
        If the engine lacks an image.
    JobError
        If containerd fails.
    """
    sets = go_programs.cache() / "images"
    sets.mkdir(parents=True, exist_ok=True)
    with (sets / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _import_pause()
        identities = [_docker("image", "inspect", "--format", "{{.Id}}", image) for image in (*images, PAUSE)]
        folder = sets / hashlib.sha256("\n".join([*images, *identities]).encode()).hexdigest()[:16]
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _unpack([*images, PAUSE], folder)
        (folder / "complete").touch()
        by_age = sorted(sets.glob("*/complete"), key=lambda file: file.stat().st_mtime_ns, reverse=True)
        for file in by_age[KEPT_SETS:]:
            shutil.rmtree(file.parent)
    return folder


def share(folder: Path, root: Path) -> None:
    """Give a node's containerd, whose root does not exist yet, the images of a folder.

    Files of layers are never written to, so they are hard links. Databases are copies.
    """
    subprocess.run(["cp", "-al", folder / "root", root], check=True)
    for database in root.rglob("*.db"):
        content = database.read_bytes()
        database.unlink()
        database.write_bytes(content)


def _unpack(images: Sequence[str], folder: Path) -> None:
    folder.mkdir()
    (folder / "containerd.toml").write_text(CONTAINERD.format(folder=folder))
    machine = Machine("images", folder)
    try:
        containerd = machine.start("containerd", "containerd", "--config", folder / "containerd.toml")
        socket = folder / "containerd.sock"
        wait_until("containerd is ready", socket.exists, containerd)
        with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as archive:
            importing = machine.command("ctr", "--address", socket, "-n", "k8s.io", "images", "import", "-")
            result = subprocess.run(
                importing, stdin=archive.stdout, capture_output=True, text=True, check=False
            )
        if result.returncode or archive.returncode:
            raise JobError(f"the images could not be unpacked: {result.stderr.strip()[-500:]}")
    finally:
        machine.end()


def _import_pause() -> None:
    """Give the Docker engine the image that holds a pod's namespaces."""
    program = go_programs.pause()
    if (
        subprocess.run(["docker", "image", "inspect", PAUSE], capture_output=True, check=False).returncode
        == 0
    ):
        return
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        tar.add(program, "pause")
    _docker(
        "import",
        "--change",
        'ENTRYPOINT ["/pause"]',
        "--change",
        "USER 65535:65535",
        "-",
        PAUSE,
        data=sink.getvalue(),
    )


def _docker(*words: str, data: bytes | None = None) -> str:
    result = subprocess.run(["docker", *words], input=data, capture_output=True, check=False)
    if result.returncode:
        raise UsageError(f"docker {words[0]}: {result.stderr.decode().strip()[-300:]}")
    return result.stdout.decode().strip()
