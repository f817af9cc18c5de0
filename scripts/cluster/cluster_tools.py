"""The commands with which cluster.sh changes a stage: aws, eksctl and kubectl, printed before they run."""

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TypeVar

from job.errors import JobError, UsageError
from scripts.cloud.aws_session import ROOT, AwsRefusedError
from scripts.cloud.stage import Stage

T = TypeVar("T")
BUILD: Path = ROOT / "build"
INSTALL_PAGES: Final = {
    "aws": "https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html",
    "eksctl": "https://docs.aws.amazon.com/eks/latest/eksctl/installation.html",
    "kubectl": "https://kubernetes.io/docs/tasks/tools/",
}
MINIMUM_VERSIONS: Final = {
    "eksctl": (0, 222, 0),  # the first with Kubernetes 1.35
    "kubectl": (1, 34, 0),  # Kubernetes supports a client one minor version from its server: 1.35
}
# The newest client that Kubernetes supports, one minor version above its server ("Version Skew Policy").
NEWEST_KUBECTL: Final = (1, 36)
VERSION: Final = re.compile(r"(\d+)\.(\d+)\.(\d+)")
# Lines that give the reason of a failure. eksctl marks them with a cross; its last one has no reason.
EKSCTL_ERROR: Final = "[✖]"
ERROR_LINE: Final = re.compile(r"(?i:error: |an error occurred|error from server|unable to connect)")
LINE_PREFIX: Final = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d )?(\[.\] *)?((?i:error): )?")


class CommandResult(NamedTuple):
    """A command's exit code, stdout and stderr; stderr is part of ``text`` if the output was shown."""

    code: int
    text: str
    errors: str = ""


class RunCommand(Protocol):
    """A function that runs a command with some stdin, and prints its output while it runs if ``shown``."""

    def __call__(self, words: Sequence[str], stdin: str | None, *, shown: bool) -> CommandResult:
        """Run a command."""


def run_command(words: Sequence[str], stdin: str | None, *, shown: bool) -> CommandResult:
    """Run a command to its end; Ctrl-C interrupts the command first, then this program."""
    environment = {**os.environ, "AWS_PAGER": ""}  # version 2 of the CLI would open a pager and wait
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if shown else subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        cwd=ROOT,
        env=environment,
    )
    try:
        if not shown:
            text, errors = process.communicate(stdin)
            return CommandResult(process.returncode, text, errors)
        assert process.stdout is not None
        if stdin is not None and process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # the command has ended, and its output says why
                process.stdin.write(stdin)
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line)
            if line.strip():
                print(f"  {line}", end="" if line.endswith("\n") else "\n", flush=True)
        return CommandResult(process.wait(), "".join(lines))
    except BaseException:
        process.send_signal(signal.SIGINT)
        process.wait()
        raise


@dataclass(frozen=True)
class Tools:
    """Runs aws, eksctl and kubectl on a stage; in a dry run it only prints the commands."""

    stage: Stage
    region: str
    profile: str | None
    dry_run: bool
    run: RunCommand
    pause: Callable[[float], None]

    @property
    def kubeconfig(self) -> Path:
        """The stage's own kubeconfig file, not the user's."""
        return BUILD / f"kubeconfig-{self.stage.name}"

    def aws(self, *words: str) -> None:
        """Run the AWS CLI."""
        self._change(["aws", *words, "--region", self.region, *self._profile])

    def eksctl(self, *words: str, stdin: str | None = None) -> None:
        """Run eksctl; the caller gives the region, as an argument or in stdin."""
        self._change(["eksctl", *words, *self._profile], stdin)

    def kubectl(self, *words: str, stdin: str | None = None, source: str = "") -> None:
        """Run kubectl on the stage's cluster; ``source`` is the file that stdin is made of, shown instead."""
        self._change(self.kubectl_words(*words), stdin, source)

    def kubectl_words(self, *words: str) -> list[str]:
        """Return a command of kubectl on the stage's cluster."""
        return ["kubectl", "--kubeconfig", relative_path(self.kubeconfig), *words]

    def write_kubeconfig(self) -> None:
        """Write the stage's kubeconfig file, for the stage's cluster."""
        name, file = self.stage.cluster, relative_path(self.kubeconfig)
        self.kubeconfig.parent.mkdir(exist_ok=True)
        self.aws("eks", "update-kubeconfig", "--name", name, "--alias", name, "--kubeconfig", file)

    def query(self, *words: str) -> CommandResult:
        """Read from the stage's cluster with kubectl, without printing the command; also in a dry run."""
        return self.run(self.kubectl_words("--request-timeout=20s", *words), None, shown=False)

    def wait_until(
        self, check: Callable[[], T | None], what: str, *, minutes: float, interval: float = 15
    ) -> T:
        """Call ``check`` every ``interval`` seconds until it returns a value, and return that.

        Raises
        ------
        JobError
            If it still returns None after ``minutes``.
        """
        attempts = max(1, int(minutes * 60 / interval))
        for attempt in range(attempts):
            if (answer := check()) is not None:
                return answer
            if attempt * interval % 60 == 0:
                print(f"  waiting until {what} ({attempt * interval / 60:.0f} min)", flush=True)
            self.pause(interval)
        raise JobError(f"waited {minutes:g} minutes until {what}, in vain")

    @property
    def _profile(self) -> list[str]:
        return ["--profile", self.profile] if self.profile else []

    def _change(self, words: list[str], stdin: str | None = None, source: str = "") -> None:
        line = f"{shlex.join(words)}  # {source}" if source else shell_command(words, stdin)
        print(f"+ {line}", flush=True)
        if self.dry_run:
            return
        result = self.run(words, stdin, shown=True)
        if result.code:
            kind = JobError if words[0] == "kubectl" else AwsRefusedError
            raise kind(f"{words[0]} says: {failure_reason(result)}")


def shell_command(words: Sequence[str], stdin: str | None) -> str:
    """Return a command, quoted for the shell, with its stdin as a here-document."""
    line = shlex.join(words)
    return line if stdin is None else f"{line} <<'END'\n{stdin}END"


def failure_reason(result: CommandResult) -> str:
    """Return the line of a failed command's output that gives the reason."""
    lines = [text.strip() for text in (result.errors or result.text).splitlines() if text.strip()]
    eksctl_errors = [text for text in lines if EKSCTL_ERROR in text and "cancelled" not in text]
    line = next(
        (text for text in eksctl_errors if "_FAILED" in text), eksctl_errors[0] if eksctl_errors else ""
    )
    error_lines = [text for text in lines if ERROR_LINE.match(text)]
    line = line or (error_lines or lines or [f"nothing, and ends with {result.code}"])[-1]
    return " ".join(LINE_PREFIX.sub("", line).split())[:400].rstrip(".")


def relative_path(path: Path) -> str:
    """Return a path relative to the repository, where commands run."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def require_tools(names: Sequence[str], run: RunCommand) -> None:
    """Check that tools are installed and new enough.

    Raises
    ------
    UsageError
        If one is missing or too old, with the page that says how to install it.
    """
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        pages = "; ".join(f"{name}: {INSTALL_PAGES[name]}" for name in missing)
        raise UsageError(f"{' and '.join(missing)} not found, install it ({pages})")
    for name in names:
        if name in MINIMUM_VERSIONS:
            version = _version(name, run)
            if version < MINIMUM_VERSIONS[name]:
                installed, minimum = (
                    ".".join(map(str, numbers)) for numbers in (version, MINIMUM_VERSIONS[name])
                )
                raise UsageError(
                    f"{name} {installed} is too old, {minimum} or newer is needed: {INSTALL_PAGES[name]}"
                )
            if name == "kubectl" and version[:2] > NEWEST_KUBECTL:
                installed, newest = (".".join(map(str, numbers)) for numbers in (version, NEWEST_KUBECTL))
                print(
                    f"warning: kubectl {installed} is newer than Kubernetes supports with this cluster, "
                    f"{newest} is the newest: if one of its commands fails, install that",
                    file=sys.stderr,
                )


def _version(name: str, run: RunCommand) -> tuple[int, ...]:
    command = ["eksctl", "version"] if name == "eksctl" else ["kubectl", "version", "--client", "-o", "json"]
    result = run(command, None, shown=False)
    text = result.text
    if name == "kubectl" and not result.code:
        text = text.partition('"gitVersion"')[2]  # the client's version is the only one in this output
    numbers = VERSION.search(text)
    if result.code or numbers is None:
        raise UsageError(
            f"{shlex.join(command)} does not say its version: install {name} anew ({INSTALL_PAGES[name]})"
        )
    return tuple(int(number) for number in numbers.groups())
