"""Run the job's image on this machine under the constraints of an EMR pod: see ``--help``.

Folders are shown in the container at their own paths, so that an output of run-local.sh may be taken up here,
and the other way round. Credentials for S3 go in by stdin: engines write a container's environment to disk.
"""

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final
from urllib.parse import unquote

if not __package__:  # run as a file: let it find the repository
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts import containers
from scripts.containers import ContainerError

MAIN: Final = "local:///opt/fruits/job/main.py"
# The image's own spark-submit means Kubernetes unless told otherwise. What Java is told, session.py explains.
JAVA: Final = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
SUBMIT: Final = (
    "spark-submit",
    "--master",
    "local[*]",
    "--deploy-mode",
    "client",
    "--driver-memory",
    "2g",
    "--conf",
    "spark.ui.showConsoleProgress=false",
    "--driver-java-options",
    f"{JAVA} -Dlog4j2.configurationFile=file:/opt/fruits/job/log4j2.properties",
    MAIN,
)
READ_CREDENTIALS: Final = 'while IFS= read -r line && [ -n "$line" ]; do export "$line"; done; exec "$@"'
LOCATIONS: Final = ("input", "output", "weights")
NOT_SECRET: Final = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION")
# A folder shown at one of these paths would hide what the image has there.
TREES: Final = re.compile("/(bin|boot|dev|etc|lib|lib64|proc|sbin|sys|usr|opt/fruits|var/log)(/.*)?")
PLACES: Final = ("/", "/home", "/home/hadoop", "/mnt", "/opt", "/run", "/tmp", "/var")  # noqa: S108
EPILOG: Final = """\
All other options are the job's, and so are FRUITS_* variables: ./scripts/run-docker.sh --job-help lists them.

  ./scripts/run-docker.sh --input photos --output build/out --variance 0.9
  ./scripts/run-docker.sh --input s3://my-photos/2026 --output build/out --profile my-profile
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the image and return the job's exit code; 2 if the arguments are wrong, 130 after Ctrl-C.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line without the program's name; the process's own by default.
    """
    try:
        given, rest = _parse(sys.argv[1:] if arguments is None else arguments, os.environ)
        containers.require_image(given.image)
        return _run(given, rest)
    except ContainerError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _run(given: argparse.Namespace, rest: Sequence[str]) -> int:
    mounts: list[str] = []
    for location in (*given.input, *given.weights):
        if isinstance(location, Path) and location.exists():  # else the job says that it does not
            mounts += containers.bind(location, read_only=True)
    output = given.output[-1] if given.output else None
    words = [
        word for name in LOCATIONS for value in getattr(given, name) for word in (f"--{name}", str(value))
    ]
    command = ["/bin/bash"] if given.shell else [*SUBMIT, *words, *rest]
    if not isinstance(output, Path):
        return _container(given, mounts, command)
    made = not output.exists()
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ContainerError(f"--output {output} cannot be made: {error.strerror}", 2) from None
    owner = containers.me()
    containers.hand_over(given.image, output, containers.USER)
    try:
        return _container(given, [*mounts, *containers.bind(output, read_only=False)], command)
    finally:
        containers.hand_over(given.image, output, owner)
        if made:
            with contextlib.suppress(OSError):  # something was written
                output.rmdir()


def _container(given: argparse.Namespace, mounts: Sequence[str], command: Sequence[str]) -> int:
    """Run a command in the image; whatever ends us, no container is left behind."""
    s3 = any(isinstance(location, str) for location in (*given.input, *given.output)) or given.profile
    said = containers.credentials(given.profile) if s3 else None
    network = given.network or ("bridge" if s3 else "none")
    flags = [*containers.pod(network), *mounts, *_limits(given), *_environment(os.environ, bool(s3))]
    terminal = said is None and sys.stdin.isatty() and sys.stdout.isatty()
    if said is not None:
        command = ["/bin/sh", "-c", READ_CREDENTIALS, "credentials", *command]
        flags += ["--interactive"]
    elif terminal or given.shell:
        flags += ["--interactive", "--tty"] if terminal else ["--interactive"]
    with tempfile.TemporaryDirectory() as folder:
        note = Path(folder) / "container"
        line = ["docker", "run", "--cidfile", str(note), *flags, given.image, *command]
        try:
            return _follow(line, said)
        finally:
            if note.exists():
                with contextlib.suppress(ContainerError):  # as a rule it is gone
                    containers.docker("rm", "--force", note.read_text())


def _follow(line: Sequence[str], said: str | None) -> int:
    """Run docker in the foreground and hand it every sign to end that we are given."""
    interrupted: list[int] = []
    source: Any = subprocess.PIPE if said is not None else None
    # Beside a terminal, a group of its own: then a Ctrl-C reaches it once, through us.
    own = None if sys.stdin.isatty() else 0
    with subprocess.Popen(line, stdin=source, text=True, process_group=own) as process:

        def hand_on(signum: int, frame: FrameType | None) -> None:
            del frame
            interrupted.append(signum)
            process.send_signal(signum)

        before = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            if said is not None:
                assert process.stdin is not None
                with contextlib.suppress(BrokenPipeError), process.stdin as sink:
                    sink.write(f"{said}\n\n")
            code = process.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    if interrupted and code not in (0, 130):
        print("interrupted: this run is not committed; start it again", file=sys.stderr)
        return 130
    return code if code >= 0 else 128 - code


def _limits(given: argparse.Namespace) -> list[str]:
    chosen = {"--cpus": given.cpus, "--memory": given.memory}
    return [word for flag, value in chosen.items() if value for word in (flag, value)]


def _environment(environment: Mapping[str, str], s3: bool) -> list[str]:
    """Return the options that let settings in; locations are flags by now, and the cache is the image's."""
    kept = {f"FRUITS_{name.upper()}" for name in (*LOCATIONS, "cache", "image")}
    names = [name for name in sorted(environment) if name.startswith("FRUITS_") and name not in kept]
    names += [name for name in NOT_SECRET if s3 and name in environment]
    names.append("SPARK_LOCAL_IP=127.0.0.1")  # it works alone, so nothing of it listens beyond loopback
    names.append(f"SPARK_LAUNCHER_OPTS={JAVA}")
    return [word for name in names for word in ("--env", name)]


def _parse(words: Sequence[str], environment: Mapping[str, str]) -> tuple[argparse.Namespace, list[str]]:
    parser = _Parser(
        prog="./scripts/run-docker.sh",
        description="Run the image on this machine under the constraints of an EMR pod.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    for name in LOCATIONS:
        metavar = "FILE" if name == "weights" else "URI"
        text = {"input": "folder or s3:// prefix; repeatable", "output": "folder or s3:// prefix"}
        also = text.get(name, "Keras file of the network's weights")
        add(f"--{name}", action="append", default=[], metavar=metavar, help=also)
    named = environment.get("FRUITS_IMAGE") or containers.IMAGE
    add("--image", default=named, help=f"image to run (default {named})")
    add("--cpus", metavar="N", help="cores that it may use (default all)")
    add("--memory", metavar="SIZE", help="memory that it may use, as in 4g (default all)")
    add("--network", metavar="NAME", help="docker network (default none; bridge for s3://)")
    add(
        "--profile",
        metavar="NAME",
        help="AWS profile whose credentials s3:// takes (default the environment's)",
    )
    add("--shell", action="store_true", help="open a shell in it instead of running the job")
    add("--job-help", action="store_true", help="list the job's own options")
    given, rest = parser.parse_known_args(words)
    for name in LOCATIONS:
        asked = getattr(given, name) or [environment.get(f"FRUITS_{name.upper()}", "")]
        setattr(given, name, [_location(text, name) for text in asked if text])
    return given, [*(["--help"] if given.job_help else []), *rest]


def _location(text: str, name: str) -> Path | str:
    """Return the path of what is on this machine, and the URI of what is in S3."""
    match = re.fullmatch(r"(?i)(s3a?|file)://?(.*)", text, re.DOTALL)
    if match and match[1].lower() != "file":
        return text
    plain = unquote(re.sub("^(/|localhost)*", "/", match[2])) if match else text
    path = Path(os.path.abspath(Path(plain).expanduser()))  # noqa: PTH100 (`..` without following links)
    if TREES.fullmatch(str(path)) or str(path) in PLACES:
        sentence = f"--{name} {text}: the image has its own folder of that name; choose another"
        raise ContainerError(sentence, 2)
    return path


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence."""

    def error(self, message: str) -> Any:
        raise ContainerError(f"{message}; --help lists the options", 2)


if __name__ == "__main__":
    sys.exit(main())
