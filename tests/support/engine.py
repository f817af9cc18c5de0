"""A Docker engine for tests, and the stand-in for EMR's base image.

The engine that answers is used. Where none does, and we are root on a machine that has dockerd, one of our
own is started: without a bridge, so its containers use the machine's network or none.
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
# What an engine keeps from run to run: packages and layers, so that a second run need not fetch them.
KEPT: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fruits-engine"


class NoEngineError(Exception):
    """There is no engine here, and none can be started; the sentence says why."""


def docker(*words: str | Path, data: bytes | None = None, timeout: float = 900) -> str:
    """Run the docker client and return its output; an error of its is an error of ours, told in full."""
    command = ["docker", *map(str, words)]
    environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
    done = subprocess.run(
        command, input=data, capture_output=True, check=False, timeout=timeout, env=environment
    )
    if done.returncode:
        raise AssertionError(
            f"{' '.join(command)[:300]}\n{done.stdout.decode()}\n{done.stderr.decode()[-4000:]}"
        )
    return done.stdout.decode().strip()


def answers() -> bool:
    """Tell whether an engine answers."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        return (
            subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=20).returncode == 0
        )
    return False


@contextlib.contextmanager
def running() -> Iterator[None]:
    """Have an engine answer to ``docker``, and stop it in the end if it was started here.

    Raises
    ------
    NoEngineError
        If there is none and none can be started.
    """
    if answers():
        yield
        return
    if os.geteuid() != 0 or not Path("/usr/sbin/dockerd").exists():
        raise NoEngineError("no Docker engine answers, and starting one takes root and Debian's docker.io")
    KEPT.mkdir(parents=True, exist_ok=True)
    with (
        (KEPT / "lock").open("w") as lock,
        tempfile.TemporaryDirectory(prefix="engine-", ignore_cleanup_errors=True) as folder,
        contextlib.ExitStack() as stack,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)  # one engine at a time keeps its data there: others wait
        stack.callback(_unmount, folder)
        socket = f"unix://{folder}/docker.sock"
        places = ["--data-root", str(KEPT), "--exec-root", f"{folder}/exec"]
        places += ["-p", f"{folder}/pid", "-H", socket]
        offline = ["--iptables=false", "--ip6tables=false", "--bridge=none"]
        log = stack.enter_context(Path(folder, "log").open("wb"))
        process = subprocess.Popen(["/usr/sbin/dockerd", *offline, *places], stdout=log, stderr=log)
        stack.callback(_end, process)
        # Debian's own client: another one earlier on the PATH may lack what BuildKit needs.
        stack.enter_context(_environment(DOCKER_HOST=socket, PATH=f"/usr/bin:{os.environ['PATH']}"))
        deadline = time.monotonic() + START_SECONDS
        while not answers():
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(Path(folder, "log").read_text()[-4000:])
        yield
        # What this run has replaced is not kept, and of what builds keep only the latest.
        docker("image", "prune", "--force")
        docker("builder", "prune", "--force", "--keep-storage", "6GB")


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    process.wait(START_SECONDS)


def _unmount(folder: str) -> None:
    """Undo the mounts that an engine may leave in its folder, its containers' network among them."""
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
    done = subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False)
    return done.returncode == 0


def debian() -> str:
    """Return a Debian to build on: the public image, or one that debootstrap makes with our certificates."""
    trusted = hashlib.sha256(CERTIFICATES.read_bytes() if CERTIFICATES.exists() else b"").hexdigest()
    made = f"fruits-debian:bookworm-{trusted[:12]}"
    if has_image(made):
        return made
    public = "debian:bookworm-slim"
    if has_image(public) or not Path("/usr/sbin/debootstrap").exists():
        return public
    with tempfile.TemporaryDirectory(prefix="debian-") as folder:
        _run("debootstrap", "--variant=minbase", "bookworm", folder)
        # What this machine trusts: registries may be reached through a proxy of its own.
        shutil.copytree("/etc/ssl/certs", f"{folder}/etc/ssl/certs", symlinks=False, dirs_exist_ok=True)
        with subprocess.Popen(["tar", "-C", folder, "-c", "."], stdout=subprocess.PIPE) as tar:
            _run("docker", "import", "-", made, source=tar.stdout)
    return made


def _run(*command: str, source: IO[bytes] | None = None) -> None:
    done = subprocess.run(command, stdin=source, capture_output=True, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}\n{done.stderr.decode()[-4000:]}")


def emr_base() -> str:
    """Build the stand-in, from the Spark that is installed beside the tests; return its name."""
    spark = Path(str(distribution("pyspark").locate_file("pyspark")))
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tar.add(EMR_BASE, ".")
        for folder in ("bin", "jars", "python"):
            tar.add(spark / folder, f"spark/{folder}")
    name = f"{BASE}:{distribution('pyspark').version}"
    made_on = f"DEBIAN={debian()}"
    docker("build", "--network", "host", "--build-arg", made_on, "--tag", name, "-", data=sink.getvalue())
    return name
