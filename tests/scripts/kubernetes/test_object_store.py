"""MinIO runs with secrets that stay in memory, and a folder goes there and back."""

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.kubernetes.object_store import ObjectStore, running


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_no_secret_of_a_server_is_on_disk_or_in_a_command(minio: ObjectStore, tmp_path: Path) -> None:
    with running(tmp_path) as server:
        assert server.url != minio.url
        server.make_bucket("photos")
        (process,) = processes_in(tmp_path)
        files = (*tmp_path.rglob("*"), process / "cmdline")
        contents = [file.read_bytes() for file in files if file.is_file()]
        for secret in (server.user, server.password):
            assert not any(secret.encode() in content for content in contents)
            assert secret not in repr(server)
    assert processes_in(tmp_path) == [], "it has ended"
    assert not (tmp_path / "data").exists()


def processes_in(folder: Path) -> list[Path]:
    """Return the folders in /proc of the processes with this folder in their command."""
    pids = subprocess.run(["pgrep", "-f", str(folder)], capture_output=True, text=True, check=False).stdout
    return [Path("/proc", pid) for pid in pids.split()]


def test_a_folder_is_the_same_after_an_upload_and_a_download(minio: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "photos" / "Kiwi é").mkdir(parents=True)
    files = {"a.jpg": b"a", "Kiwi é/b c.jpg": b"b", "Kiwi é/empty": b""}
    for name, content in files.items():
        (tmp_path / "photos" / name).write_bytes(content)
    minio.make_bucket("to-and-fro")
    minio.put("to-and-fro", "photos-of-others/c.jpg", b"c")
    assert minio.upload(tmp_path / "photos", "to-and-fro", "photos") == len(files)
    assert minio.download("to-and-fro", "photos", tmp_path / "back") == len(files)
    back = {
        str(f.relative_to(tmp_path / "back")): f.read_bytes()
        for f in (tmp_path / "back").rglob("*")
        if f.is_file()
    }
    assert back == files
