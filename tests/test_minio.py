"""What the job relies on of S3, on a real server of it; and how the server comes about."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest
from botocore.exceptions import ClientError

from job import s3
from tests import minio_build
from tests.conftest import ROOT
from tests.minio import Minio, running

THREADS: Final = 16
ODD_KEYS: Final = ("two words.jpg", "é.jpg", "photos é/Training/Pomme d'été 1/0 %20+&.jpg", " x ", "🍎")
# As the kernel writes addresses: 127.0.0.1 and ::1, also in words of IPv6; and of no one, where one listens.
LOOPBACK: Final = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
NOBODY: Final = {"0" * 8, "0" * 32}


class Go:
    """A stand-in for Go, which builds nothing and notes its calls."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.kept = folder, folder / "cache" / "fruits-minio"
        (folder / "go").write_text(FAKE_GO)
        (folder / "go").chmod(0o755)

    def build(self, **changes: str) -> "subprocess.Popen[str]":
        """Start a build."""
        environment = {
            "PATH": f"{self.folder}:/usr/bin:/bin",
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "CALLS": str(self.folder / "calls"),
            "FAKE_VERSION": "go1.99 fake",
            "FAKE_SUM": minio_build.SUM,
            "FAKE_INSTALL": "sleep 0.2; touch $GOBIN/minio",
        }
        return subprocess.Popen(
            [sys.executable, "-m", "tests.minio_build"], cwd=ROOT, env=environment | changes, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def calls(self, word: str) -> int:
        """Return how often it was called with a first word."""
        return (self.folder / "calls").read_text().split().count(word)


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


def test_of_many_who_create_an_object_at_once_one_does(minio_bucket: str) -> None:
    start = threading.Barrier(THREADS)

    def create(key: str, number: int) -> bool:
        start.wait()
        return s3.write(f"s3://{minio_bucket}/{key}", f"of {number}".encode(), only_if_new=True)

    with ThreadPoolExecutor(THREADS) as pool:
        for key in (f"locks/{round_}" for round_ in range(20)):
            created = list(pool.map(create, [key] * THREADS, range(THREADS)))
            assert created.count(True) == 1
            assert s3.read(f"s3://{minio_bucket}/{key}") == f"of {created.index(True)}".encode()


def test_a_second_create_is_refused_with_412(minio_bucket: str) -> None:
    client = s3.client(minio_bucket)
    client.put_object(Bucket=minio_bucket, Key="x", Body=b"first", IfNoneMatch="*")
    with pytest.raises(ClientError) as refused:
        client.put_object(Bucket=minio_bucket, Key="x", Body=b"second", IfNoneMatch="*")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    assert refused.value.response["Error"]["Code"] == "PreconditionFailed"
    assert not s3.write(f"s3://{minio_bucket}/x", b"third", only_if_new=True)
    assert s3.read(f"s3://{minio_bucket}/x") == b"first"


def test_a_bucket_says_that_it_is_in_ireland(minio_bucket: str) -> None:
    answer = s3.client(minio_bucket).head_bucket(Bucket=minio_bucket)
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-amz-bucket-region"] == "eu-west-1"
    assert s3.bucket_region(minio_bucket) == "eu-west-1"


def test_a_listing_goes_on_after_its_first_page_and_1000_objects_are_deleted_at_once(
    minio_bucket: str,
) -> None:
    names = [f"s3://{minio_bucket}/many/{number:04}" for number in range(1100)]
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda name: s3.write(name, b"x", only_if_new=False), names))
    first = s3.client(minio_bucket).list_objects_v2(Bucket=minio_bucket)
    assert (first["KeyCount"], first["IsTruncated"]) == (1000, True)
    assert list(s3.list_sizes(f"s3://{minio_bucket}/many")) == [(name, 1) for name in names]
    asked: list[int] = []
    s3.client(minio_bucket).meta.events.register(
        "provide-client-params.s3.DeleteObjects",
        lambda params, **_: asked.append(len(params["Delete"]["Objects"])),
    )
    s3.delete_files(names[:1050])
    assert asked == [1000, 50]
    assert [name for name, _ in s3.list_sizes(f"s3://{minio_bucket}")] == names[1050:]


def test_keys_with_spaces_and_accents_come_back_as_they_are(minio: Minio, minio_bucket: str) -> None:
    for key in ODD_KEYS:
        assert s3.write(f"s3://{minio_bucket}/{key}", key.encode(), only_if_new=True)
    assert [name for name, _ in s3.list_sizes(f"s3://{minio_bucket}")] == sorted(
        f"s3://{minio_bucket}/{key}" for key in ODD_KEYS
    )
    assert [s3.read(f"s3://{minio_bucket}/{key}") for key in ODD_KEYS] == [key.encode() for key in ODD_KEYS]
    assert minio.contents(minio_bucket) == {key: key.encode() for key in ODD_KEYS}
    s3.delete_files([f"s3://{minio_bucket}/{key}" for key in ODD_KEYS])
    assert minio.keys(minio_bucket) == []


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_server_is_on_loopback_only_and_no_secret_is_on_disk_or_in_a_command(
    minio: Minio, tmp_path: Path
) -> None:
    with running(minio_build.program(), tmp_path) as server:
        assert server.url != minio.url
        server.client.create_bucket(
            Bucket="photos", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )
        (pid,) = processes_in(tmp_path)
        assert {address for address, _ in sockets(pid)} <= LOOPBACK
        assert {peer for _, peer in sockets(pid)} <= LOOPBACK | NOBODY
        files = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
        for secret in (server.user, server.password):
            assert not any(secret.encode() in text for text in [(pid / "cmdline").read_bytes(), *files])
            assert secret not in repr(server)
    assert processes_in(tmp_path) == [], "it has ended"
    assert not (tmp_path / "data").exists()


def processes_in(folder: Path) -> list[Path]:
    """Return where in /proc the processes are that have a folder in their command."""
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if str(folder).encode() in command.read_bytes():
                found.append(command.parent)
    return found


def sockets(process: Path) -> list[tuple[str, str]]:
    """Return the own and the other address of each of a process's sockets, as the kernel writes them."""
    own = {str(file.readlink()) for file in (process / "fd").iterdir()}
    lines = [
        line.split() for name in ("tcp", "tcp6", "udp", "udp6")
        for line in (process / "net" / name).read_text().splitlines()[1:]
    ]  # fmt: skip
    found = [(one[1], one[2]) for one in lines if f"socket:[{one[9]}]" in own]
    assert found
    return [(address.split(":")[0], peer.split(":")[0]) for address, peer in found]


def test_two_processes_at_once_build_the_program_once(go: Go) -> None:
    both = [go.build(), go.build()]
    printed = {process.communicate()[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert printed == {f"{go.kept}/minio-{minio_build.VERSION}-go1.99_fake\n"}
    assert go.calls("install") == 1
    assert sorted(path.name for path in go.kept.iterdir()) == ["lock", Path(printed.pop().strip()).name]


def test_a_program_is_built_anew_for_another_go(go: Go) -> None:
    assert go.build().wait() == go.build().wait() == go.build(FAKE_VERSION="go2").wait() == 0
    assert go.calls("install") == 2


def test_a_build_that_fails_leaves_nothing_and_its_message(go: Go) -> None:
    failing = go.build(FAKE_INSTALL="echo no space >&2; touch $GOBIN/minio; exit 1")
    assert "no space" in failing.communicate()[1]
    assert failing.returncode == 1
    assert [path.name for path in go.kept.iterdir()] == ["lock"]
    assert go.build().wait() == 0


def test_a_module_that_is_not_the_known_one_is_not_built(go: Go) -> None:
    changed = go.build(FAKE_SUM="h1:another")
    assert f"{minio_build.VERSION} is not what it was" in changed.communicate()[1]
    assert go.calls("install") == 0


def test_without_go_there_is_no_program_and_one_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(minio_build.NoGoError, match="and there is no go"):
        minio_build.program()


def test_a_failed_tests_report_has_the_end_of_the_log(minio: Minio, request: pytest.FixtureRequest) -> None:
    assert minio.url in minio.log.read_text()
    failed = pytest.CallInfo.from_call(lambda: pytest.fail("no"), "call")
    report = request.node.ihook.pytest_runtest_makereport(item=request.node, call=failed)
    assert f"API: {minio.url}" in dict(report.sections)["MinIO's log"]
