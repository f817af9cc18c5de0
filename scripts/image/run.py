"""Run the job's image on this machine under the constraints of an EMR pod: see ``--help``.

Folders are shown in the container at their own paths, so that an output of run-local.sh may be taken up here,
and the other way round. Credentials for S3 go in by stdin: engines write a container's environment to disk.
"""

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from job.cli.parser import SentenceParser
from job.errors import JobError
from scripts.image import containers
from scripts.image.containers import ContainerError, bind
from scripts.image.foreground import INTERRUPTED, KILLED, Signs, foreground, handed_over

MAIN: Final = "local:///opt/fruits/job/main.py"
# The image's own spark-submit means Kubernetes unless told otherwise. What Java is told, session.py explains.
JAVA: Final = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
SUBMIT: Final = (
    "spark-submit",
    "--master",
    "local[*]",
    "--deploy-mode",
    "client",
    "--conf",
    "spark.driver.defaultJavaOptions=",  # EMR's choose another garbage collector, and Java takes only one
    "--driver-memory",
    "2g",
    "--conf",
    "spark.ui.showConsoleProgress=false",
    "--driver-java-options",
    f"{JAVA} -Dlog4j2.configurationFile=file:/opt/fruits/job/spark/log4j2.properties",
    MAIN,
)
READ_CREDENTIALS: Final = 'while IFS= read -r line && [ -n "$line" ]; do export "$line"; done; exec "$@"'
LOCATIONS: Final = ("input", "output", "weights")
NOT_SECRET: Final = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION")
# A folder shown at one of these paths would hide what the image has there.
TREES: Final = re.compile("/(bin|boot|dev|etc|lib|lib64|proc|sbin|sys|usr|opt/fruits|var/log)(/.*)?")
PLACES: Final = ("/", "/home", "/home/hadoop", "/mnt", "/opt", "/root", "/run", "/tmp", "/var")  # noqa: S108
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
    except JobError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _run(given: argparse.Namespace, rest: Sequence[str]) -> int:
    output = given.output[-1] if given.output else None
    shown = {location for location in (*given.input, *given.weights) if isinstance(location, Path)}
    if output in shown:
        raise ContainerError(f"--output {output} is also an input: choose another", 2)
    # What does not exist is not shown: the job says so.
    mounts = [word for path in sorted(shown) if path.exists() for word in bind(path, read_only=True)]
    if any(path.is_relative_to("/root") for path in (*shown, output) if isinstance(path, Path)):
        mounts += ["--tmpfs", "/root:mode=755"]  # the image's own, which the job may not pass
    words = [
        word for name in LOCATIONS for value in getattr(given, name) for word in (f"--{name}", str(value))
    ]
    command = ["/bin/bash"] if given.shell else [*SUBMIT, *words, *rest]
    with Signs() as signs:
        if not isinstance(output, Path):
            return _container(given, mounts, command, signs)
        with handed_over(given.image, output):
            if signs.came:
                return INTERRUPTED
            return _container(given, [*mounts, *bind(output, read_only=False)], command, signs)


def _container(given: argparse.Namespace, mounts: Sequence[str], command: Sequence[str], signs: Signs) -> int:
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
    code = foreground([*flags, given.image, *command], said, signs)
    if signs.came and code != 0:
        print("interrupted: this run is not committed; start it again", file=sys.stderr)
        return INTERRUPTED
    if code == KILLED:
        print("error: the container ran out of memory: raise --memory, or the engine's own", file=sys.stderr)
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
    parser = SentenceParser(
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
    if any(word.split("=")[0] == "--cache" for word in rest):
        raise ContainerError("--cache: the image has its own cache; leave it out", 2)
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
    try:
        path = Path(os.path.abspath(Path(plain).expanduser()))  # noqa: PTH100 (`..` without following links)
    except RuntimeError:
        raise ContainerError(f"--{name} {text}: nobody here has that home", 2) from None
    if TREES.fullmatch(str(path)) or str(path) in PLACES:
        sentence = f"--{name} {text}: the image has its own folder of that name; choose another"
        raise ContainerError(sentence, 2)
    return path


if __name__ == "__main__":
    sys.exit(main())
