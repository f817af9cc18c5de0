"""Run the job's image on this machine under the constraints of an EMR pod: see ``--help``.

Folders keep their own paths in the container, so that run-local.sh and this command can continue each other's
outputs. Credentials for S3 go in through stdin, because engines write a container's environment to disk.
"""

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from job.cli.exits import INTERRUPTED
from job.cli.parser import SentenceParser
from job.errors import UsageError
from scripts.cloud.docker_engine import DEFAULT_IMAGE, require_image
from scripts.cloud.exits import exit_code_of
from scripts.image import containers
from scripts.image.containers import mount_options
from scripts.image.foreground import OUT_OF_MEMORY, ForwardedSignals, run_container, writable_output

MAIN: Final = "local:///opt/fruits/job/main.py"
# job/spark/jvm.py explains these options.
JAVA_OPTIONS: Final = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
# The master is named because the image's own spark-submit means Kubernetes by default.
SPARK_SUBMIT: Final = (
    "spark-submit",
    "--master",
    "local[*]",
    "--deploy-mode",
    "client",
    "--conf",
    "spark.driver.defaultJavaOptions=",  # EMR's choose another garbage collector, and Java accepts only one
    "--driver-memory",
    "2g",
    "--conf",
    "spark.ui.showConsoleProgress=false",
    "--driver-java-options",
    f"{JAVA_OPTIONS} -Dlog4j2.configurationFile=file:/opt/fruits/job/spark/log4j2.properties",
    MAIN,
)
READ_CREDENTIALS: Final = 'while IFS= read -r line && [ -n "$line" ]; do export "$line"; done; exec "$@"'
REPORT: Final = "report.html"
LOCATIONS: Final = ("input", "output", "weights")
AWS_SETTINGS: Final = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION")
# A folder mounted at one of these paths would hide the image's own.
IMAGE_TREES: Final = re.compile("/(bin|boot|dev|etc|lib|lib64|proc|sbin|sys|usr|opt/fruits|var/log)(/.*)?")
IMAGE_FOLDERS: Final = ("/", "/home", "/home/hadoop", "/mnt", "/opt", "/root", "/run", "/tmp", "/var")  # noqa: S108
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
    return exit_code_of(lambda: _run_image(sys.argv[1:] if arguments is None else arguments))


def _run_image(arguments: Sequence[str]) -> int:
    options, job_options = _parse(arguments, os.environ)
    require_image(options.image)
    output = options.output[-1] if options.output else None
    inputs = {location for location in (*options.input, *options.weights) if isinstance(location, Path)}
    if output in inputs:
        raise UsageError(f"--output {output} is also an input: choose another")
    # A missing path is not mounted: the job reports it.
    mounts = [
        option for path in sorted(inputs) if path.exists() for option in mount_options(path, read_only=True)
    ]
    if any(path.is_relative_to("/root") for path in (*inputs, output) if isinstance(path, Path)):
        mounts += ["--tmpfs", "/root:mode=755"]  # the job's user may not enter the image's own /root
    locations = [
        word for name in LOCATIONS for value in getattr(options, name) for word in (f"--{name}", str(value))
    ]
    command = ["/bin/bash"] if options.shell else [*SPARK_SUBMIT, *locations, *job_options]
    with ForwardedSignals() as signals:
        if not isinstance(output, Path):
            return _run_command(options, mounts, command, signals)
        with writable_output(options.image, output):
            if signals.received:
                return INTERRUPTED
            mounts += mount_options(output, read_only=False)
            report = output / REPORT
            before = _modified(report)
            exit_code = _run_command(options, mounts, command, signals)
        if exit_code == 0 and _modified(report) not in (None, before):
            print(f"report: {report.as_uri()}, to open in a browser", file=sys.stderr)
        return exit_code


def _modified(file: Path) -> int | None:
    """Return when a file was last written, in nanoseconds since 1970, or None if it is not there."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return None


def _run_command(
    options: argparse.Namespace, mounts: Sequence[str], command: Sequence[str], signals: ForwardedSignals
) -> int:
    """Run a command in a container and return its exit code."""
    uses_s3 = options.profile or any(isinstance(place, str) for place in (*options.input, *options.output))
    credentials = containers.aws_variables(options.profile) if uses_s3 else None
    network = options.network or ("bridge" if uses_s3 else "none")
    flags = [*containers.pod_options(network), *mounts, *_limits(options)]
    flags += _environment(os.environ, bool(uses_s3))
    has_terminal = credentials is None and sys.stdin.isatty() and sys.stdout.isatty()
    if credentials is not None:
        command = ["/bin/sh", "-c", READ_CREDENTIALS, "credentials", *command]
        flags += ["--interactive"]
    elif has_terminal or options.shell:
        flags += ["--interactive", "--tty"] if has_terminal else ["--interactive"]
    exit_code = run_container([*flags, options.image, *command], credentials, signals)
    if signals.received and exit_code != 0:
        print("interrupted: this run is not committed; start it again", file=sys.stderr)
        return INTERRUPTED
    if exit_code == OUT_OF_MEMORY:
        print("error: the container ran out of memory: raise --memory, or the engine's own", file=sys.stderr)
    return exit_code if exit_code >= 0 else 128 - exit_code


def _limits(options: argparse.Namespace) -> list[str]:
    limits = {"--cpus": options.cpus, "--memory": options.memory}
    return [word for flag, value in limits.items() if value for word in (flag, value)]


def _environment(environment: Mapping[str, str], uses_s3: bool) -> list[str]:
    """Return the options that pass settings on, except locations, which are flags, and the cache."""
    withheld = {f"FRUITS_{name.upper()}" for name in (*LOCATIONS, "cache", "image")}
    names = [name for name in sorted(environment) if name.startswith("FRUITS_") and name not in withheld]
    names += [name for name in AWS_SETTINGS if uses_s3 and name in environment]
    names.append("SPARK_LOCAL_IP=127.0.0.1")  # Spark runs in one container, so it listens on loopback only
    names.append(f"SPARK_LAUNCHER_OPTS={JAVA_OPTIONS}")
    return [word for name in names for word in ("--env", name)]


def _parse(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[argparse.Namespace, list[str]]:
    """Return this command's options and those of the job."""
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
        texts = {"input": "folder or s3:// prefix; repeatable", "output": "folder or s3:// prefix"}
        text = texts.get(name, "Keras file of the network's weights")
        add(f"--{name}", action="append", default=[], metavar=metavar, help=text)
    image = environment.get("FRUITS_IMAGE") or DEFAULT_IMAGE
    add("--image", default=image, help=f"image to run (default {image})")
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
    options, job_options = parser.parse_known_args(arguments)
    if any(word.split("=")[0] == "--cache" for word in job_options):
        raise UsageError("--cache: the image has its own cache; leave it out")
    for name in LOCATIONS:
        locations = getattr(options, name) or [environment.get(f"FRUITS_{name.upper()}", "")]
        setattr(options, name, [_location(text, name) for text in locations if text])
    return options, [*(["--help"] if options.job_help else []), *job_options]


def _location(text: str, name: str) -> Path | str:
    """Return the absolute path of a local location, and the URI of one in S3."""
    match = re.fullmatch(r"(?i)(s3a?|file)://?(.*)", text, re.DOTALL)
    if match and match[1].lower() != "file":
        return text
    local = unquote(re.sub("^(/|localhost)*", "/", match[2])) if match else text
    try:
        path = Path(os.path.abspath(Path(local).expanduser()))  # noqa: PTH100 (`..` without following links)
    except RuntimeError:
        raise UsageError(f"--{name} {text}: nobody here has that home") from None
    if IMAGE_TREES.fullmatch(str(path)) or str(path) in IMAGE_FOLDERS:
        raise UsageError(f"--{name} {text}: the image has its own folder of that name; choose another")
    return path


if __name__ == "__main__":
    sys.exit(main())
