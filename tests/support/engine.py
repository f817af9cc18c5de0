"""A Docker engine for tests, and the stand-in for EMR's base image.

Tests use the engine that answers. If none does, root on a machine that has dockerd starts one. It has no
bridge, so its containers use the machine's network or none.
"""

import contextlib
import fcntl
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import IO, Final

EMR_BASE: Final = Path(__file__).parent / "emr-base"
CERTIFICATES: Final = Path("/etc/ssl/certs/ca-certificates.crt")
BASE: Final = "fruits-emr-base"
START_SECONDS: Final = 60.0
# The data of the started engine outlives a run: packages and layers need not be fetched again.
DATA_FOLDER: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fruits-engine"


class NoEngineError(Exception):
    """There is no engine, and none can be started, for the reason given."""


def docker(*words: str | Path, data: bytes | None = None, timeout: float = 900) -> str:
    """Run the docker client and return its output; if it fails, raise an AssertionError with all of it."""
    command = ["docker", *map(str, words)]
    environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
    result = subprocess.run(
        command, input=data, capture_output=True, check=False, timeout=timeout, env=environment
    )
    if result.returncode:
        raise AssertionError(
            f"{' '.join(command)[:300]}\n{result.stdout.decode()}\n{result.stderr.decode()[-4000:]}"
        )
    return result.stdout.decode().strip()


def is_answering() -> bool:
    """Tell whether an engine answers."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        return (
            subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=20).returncode == 0
        )
    return False


@contextlib.contextmanager
def running_engine() -> Iterator[None]:
    """Provide an engine for ``docker``; one that was started here is stopped in the end.

    Raises
    ------
    NoEngineError
        If there is none, and none can be started.
    """
    if is_answering():
        yield
        return
    if os.geteuid() != 0 or not Path("/usr/sbin/dockerd").exists():
        raise NoEngineError("no Docker engine answers, and starting one takes root and Debian's docker.io")
    DATA_FOLDER.mkdir(parents=True, exist_ok=True)
    with (
        (DATA_FOLDER / "lock").open("w") as lock,
        tempfile.TemporaryDirectory(prefix="engine-", ignore_cleanup_errors=True) as folder,
        contextlib.ExitStack() as stack,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)  # one engine at a time uses the folder; others wait
        stack.callback(_unmount, folder)
        socket = f"unix://{folder}/docker.sock"
        places = ["--data-root", str(DATA_FOLDER), "--exec-root", f"{folder}/exec"]
        places += ["-p", f"{folder}/pid", "-H", socket]
        offline = ["--iptables=false", "--ip6tables=false", "--bridge=none"]
        log = stack.enter_context(Path(folder, "log").open("wb"))
        process = subprocess.Popen(["/usr/sbin/dockerd", *offline, *places], stdout=log, stderr=log)
        stack.callback(_stop, process)
        # Debian's client comes first: another one on the PATH may lack BuildKit's plugin.
        stack.enter_context(_environment(DOCKER_HOST=socket, PATH=f"/usr/bin:{os.environ['PATH']}"))
        deadline = time.monotonic() + START_SECONDS
        while not is_answering():
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(Path(folder, "log").read_text()[-4000:])
        yield
        # Removes the images that this run replaced, and all but the latest of the build cache.
        docker("image", "prune", "--force")
        docker("builder", "prune", "--force", "--keep-storage", "6GB")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    process.wait(START_SECONDS)


def _unmount(folder: str) -> None:
    """Unmount whatever an engine leaves mounted in its folder, such as its containers' networks."""
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for place in reversed(mounted):
        if place.startswith(f"{folder}/"):
            subprocess.run(["umount", "--lazy", place], check=False)


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def has_image(image: str) -> bool:
    """Tell whether the engine has an image."""
    result = subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False)
    return result.returncode == 0


def debian_image() -> str:
    """Return a Debian image: the public one, or one that debootstrap makes with our certificates."""
    trusted = hashlib.sha256(CERTIFICATES.read_bytes() if CERTIFICATES.exists() else b"").hexdigest()
    image = f"fruits-debian:bookworm-{trusted[:12]}"
    if has_image(image):
        return image
    public = "debian:bookworm-slim"
    if has_image(public) or not Path("/usr/sbin/debootstrap").exists():
        return public
    with tempfile.TemporaryDirectory(prefix="debian-") as folder:
        _run("debootstrap", "--variant=minbase", "bookworm", folder)
        # This machine's certificates: it may reach registries through a proxy that has its own.
        shutil.copytree("/etc/ssl/certs", f"{folder}/etc/ssl/certs", symlinks=False, dirs_exist_ok=True)
        with subprocess.Popen(["tar", "-C", folder, "-c", "."], stdout=subprocess.PIPE) as tar:
            _run("docker", "import", "-", image, source=tar.stdout)
    return image


def _run(*command: str, source: IO[bytes] | None = None) -> None:
    result = subprocess.run(command, stdin=source, capture_output=True, check=False)
    if result.returncode:
        raise AssertionError(f"{' '.join(command)}\n{result.stderr.decode()[-4000:]}")


def emr_base() -> str:
    """Build the stand-in with the Spark that the tests use, and return its name."""
    spark = Path(str(distribution("pyspark").locate_file("pyspark")))
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tar.add(EMR_BASE, ".")
        for folder in ("bin", "jars", "python"):
            tar.add(spark / folder, f"spark/{folder}")
    name = f"{BASE}:{distribution('pyspark').version}"
    build_argument = f"DEBIAN={debian_image()}"
    docker(
        "build", "--network", "host", "--build-arg", build_argument, "--tag", name, "-", data=sink.getvalue()
    )
    return name
