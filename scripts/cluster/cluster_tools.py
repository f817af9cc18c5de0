"""The commands by which cluster.sh changes anything: aws, eksctl and kubectl, shown before they run."""

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TypeVar

from job.errors import JobError, UsageError
from scripts.cloud.aws_session import ROOT, AwsRefusedError
from scripts.cloud.stage import Stage

T = TypeVar("T")
BUILD: Path = ROOT / "build"
GET: Final = {
    "aws": "https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html",
    "eksctl": "https://docs.aws.amazon.com/eks/latest/eksctl/installation.html",
    "kubectl": "https://kubernetes.io/docs/tasks/tools/",
}
LEAST: Final = {
    "eksctl": (0, 195, 0),  # the first with EKS Auto Mode
    "kubectl": (1, 34, 0),  # Kubernetes supports a client one minor version from its server: 1.35
}
NUMBERS: Final = re.compile(r"(\d+)\.(\d+)\.(\d+)")
# Lines in which a tool says why. eksctl's have a cross, and the last of them only repeats that it failed.
CROSS: Final = "[✖]"
WHY: Final = re.compile(r"(?i:error: |an error occurred|error from server|unable to connect)")
STAMP: Final = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d )?(\[.\] *)?((?i:error): )?")


class Done(NamedTuple):
    """What became of a command: its exit code, what it printed, and what it said beside."""

    code: int
    text: str
    errors: str = ""


class Run(Protocol):
    """How a command is run: its words, what it reads, and whether its lines are shown as they come."""

    def __call__(self, words: Sequence[str], said: str | None, *, shown: bool) -> Done:
        """Run a command."""


def run(words: Sequence[str], said: str | None, *, shown: bool) -> Done:
    """Run a command to its end; a sign to end is handed on to it and then followed."""
    environment = {**os.environ, "AWS_PAGER": ""}  # version 2 of the CLI would wait for somebody to read
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL if said is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if shown else subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        cwd=ROOT,
        env=environment,
    )
    try:
        if not shown:
            text, errors = process.communicate(said)
            return Done(process.returncode, text, errors)
        assert process.stdout is not None
        if said is not None and process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # it has ended, and says why
                process.stdin.write(said)
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line)
            if line.strip():
                print(f"  {line}", end="" if line.endswith("\n") else "\n", flush=True)
        return Done(process.wait(), "".join(lines))
    except BaseException:
        process.send_signal(signal.SIGINT)
        process.wait()
        raise


@dataclass(frozen=True)
class Hands:
    """What acts on a stage; in a dry run it only says what it would do."""

    stage: Stage
    region: str
    profile: str | None
    dry_run: bool
    run: Run
    pause: Callable[[float], None]

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig file of the stage: never the user's own."""
        return BUILD / f"kubeconfig-{self.stage.name}"

    def aws(self, *words: str) -> None:
        """Run the AWS CLI."""
        self._do(["aws", *words, "--region", self.region, *self._profile])

    def eksctl(self, *words: str, said: str | None = None) -> None:
        """Run eksctl; its region is an argument or in what it reads."""
        self._do(["eksctl", *words, *self._profile], said)

    def kubectl(self, *words: str) -> None:
        """Run kubectl on the stage's cluster."""
        self._do(["kubectl", "--kubeconfig", relative(self.kubeconfig), *words])

    def look(self, *words: str) -> Done:
        """Ask the stage's cluster something by kubectl, without a word."""
        asked = ["kubectl", "--kubeconfig", relative(self.kubeconfig), "--request-timeout=20s", *words]
        return self.run(asked, None, shown=False)

    def until(self, check: Callable[[], T | None], what: str, *, minutes: float, every: float = 15) -> T:
        """Ask again and again until there is an answer, and return it.

        Raises
        ------
        JobError
            If there is none after so many minutes.
        """
        tries = max(1, int(minutes * 60 / every))
        for number in range(tries):
            if (found := check()) is not None:
                return found
            if number * every % 60 == 0:
                print(f"  waiting until {what} ({number * every / 60:.0f} min)", flush=True)
            self.pause(every)
        raise JobError(f"waited {minutes:g} minutes until {what}, in vain")

    @property
    def _profile(self) -> list[str]:
        return ["--profile", self.profile] if self.profile else []

    def _do(self, words: list[str], said: str | None = None) -> None:
        print(f"+ {shown(words, said)}", flush=True)
        if self.dry_run:
            return
        done = self.run(words, said, shown=True)
        if done.code:
            kind = JobError if words[0] == "kubectl" else AwsRefusedError
            raise kind(f"{words[0]} says: {reason(done)}")


def shown(words: Sequence[str], said: str | None) -> str:
    """Write a command so that a shell reads it as it was meant."""
    line = shlex.join(words)
    return line if said is None else f"{line} <<'END'\n{said}END"


def reason(done: Done) -> str:
    """Return the line in which a command says why it failed."""
    lines = [line.strip() for line in (done.errors or done.text).splitlines() if line.strip()]
    crosses = [line for line in lines if CROSS in line and "cancelled" not in line]
    said = next((line for line in crosses if "_FAILED" in line), crosses[0] if crosses else "")
    telling = [line for line in lines if WHY.match(line)]
    said = said or (telling or lines or [f"nothing, and ends with {done.code}"])[-1]
    return " ".join(STAMP.sub("", said).split())[:400].rstrip(".")


def relative(path: Path) -> str:
    """Write a path as seen from the repository, where commands are run."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def require(names: Sequence[str], run: Run) -> None:
    """Refuse to begin without the tools, or with one that is too old.

    Raises
    ------
    UsageError
        With what is missing and where to get it.
    """
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        where = "; ".join(f"{name}: {GET[name]}" for name in missing)
        raise UsageError(f"{' and '.join(missing)} not found, install it ({where})")
    for name in names:
        if name in LEAST:
            found = _version(name, run)
            if found < LEAST[name]:
                have, want = (".".join(map(str, version)) for version in (found, LEAST[name]))
                raise UsageError(f"{name} {have} is too old, {want} or newer is needed: {GET[name]}")


def _version(name: str, run: Run) -> tuple[int, ...]:
    asked = ["eksctl", "version"] if name == "eksctl" else ["kubectl", "version", "--client", "-o", "json"]
    done = run(asked, None, shown=False)
    text = done.text
    if name == "kubectl" and not done.code:
        text = text.partition('"gitVersion"')[2]  # of the client, the only one that was asked for
    numbers = NUMBERS.search(text)
    if done.code or numbers is None:
        raise UsageError(f"{shlex.join(asked)} does not say its version: install {name} anew ({GET[name]})")
    return tuple(int(number) for number in numbers.groups())
