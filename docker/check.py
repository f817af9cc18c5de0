"""Check that an image keeps EMR's contract and ours, and run the job in it once.

Usage: ``python docker/check.py IMAGE [--base IMAGE] [--only PART]``. Exit code 0 if all holds, 1 if something
does not, 2 if it cannot be checked. Needs Docker and Python 3.11, and no package.

Sources of the contract: AWS's documentation of custom images for EMR on EKS, and AWS's own validator, which
lacks current releases.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.image.containers import RIGHTS, ContainerError, docker  # noqa: E402
from scripts.image.trial_run import trial_run  # noqa: E402

PYTHON: Final = "/opt/fruits/venv/bin/python"
WANTED_ENV: Final = {
    "SPARK_HOME": "/usr/lib/spark",
    "JAVA_HOME": "/etc/alternatives/jre",
    "PYSPARK_PYTHON": PYTHON,
    "PYSPARK_DRIVER_PYTHON": PYTHON,
    "FRUITS_CACHE": "/opt/fruits/cache",
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
}
OUR_ENV: Final = {"KERAS_HOME"} | WANTED_ENV.keys()
SPARKS: Final = (
    *(f"/usr/bin/{name}" for name in ("spark-submit", "spark-sql", "spark-class", "spark-shell")),
    *(f"/usr/bin/{name}" for name in ("pyspark", "find-spark-home", "hadoop", "entrypoint.sh")),
    "/usr/lib/hadoop",
    "/usr/lib/spark/jars",
)
LABELS: Final = ("created", "revision", "base.name", "base.digest")
FINGERPRINT: Final = "c009b1f1262c1f55420ed4f95d0f338acb97548930c6f6c8f3383b79544088a8"
SECRET: Final = re.compile(
    r"(AKIA|ASIA)[0-9A-Z]{16}|(SECRET|PASSWORD|TOKEN|_KEY)[A-Z_]*=\S|://[^/\s:]+:[^@/\s]+@", re.I
)


def inspect(image: str) -> dict[str, Any]:
    """Return what the engine knows of an image."""
    found: dict[str, Any] = json.loads(docker("image", "inspect", image))[0]
    return found


def look_inside(image: str, asked: str, python: str = PYTHON, lock: str = "") -> dict[str, Any]:
    """Ask inside.py in an image, as a root that may read everything and change nothing."""
    script = (ROOT / "docker" / "inside.py").read_text()
    flags = [*RIGHTS, "--cap-add=DAC_READ_SEARCH", "--user=0:0", "--interactive", f"--entrypoint={python}"]
    said = docker("run", *flags, image, "-B", "-c", script, asked, data=lock)
    try:
        found: dict[str, Any] = json.loads(said)
    except ValueError:
        raise ContainerError(f"its Python says more than it was asked: {said[:80]!r}") from None
    return found


class Check:
    """Checks one image; prints each requirement as a sentence with ok or FAILED."""

    def __init__(self, image: str, base: str, say: Callable[[str], None]) -> None:
        self.image, self.under, self.failed, self.say = image, base, 0, say
        self.about, self.below = inspect(image), inspect(base)
        self.config: dict[str, Any] = self.about["Config"]

    def holds(self, sentence: str, found: bool, detail: object = "") -> None:
        """Report whether a sentence holds, with `detail` if it does not."""
        self.say(f"{'ok    ' if found else 'FAILED'} {sentence}{'' if found else f': {detail}'}")
        self.failed += not found

    def contract(self) -> None:
        """Check what EMR asks of an image."""
        config, base = self.config, self.below["Config"]
        self.holds(
            "the last user is hadoop of group hadoop",
            config.get("User") == "hadoop:hadoop",
            config.get("User"),
        )
        who = docker("run", *RIGHTS, "--entrypoint", "/usr/bin/id", self.image).strip()
        self.holds("that is uid 999 and gid 1000", who.startswith("uid=999(hadoop) gid=1000(hadoop)"), who)
        self.holds(
            "the work directory is /home/hadoop",
            config.get("WorkingDir") == "/home/hadoop",
            config.get("WorkingDir"),
        )
        entry = config.get("Entrypoint")
        self.holds(
            "the entry point is the base's",
            entry == base.get("Entrypoint") == ["/usr/bin/entrypoint.sh"],
            entry,
        )
        self.holds(
            "the command is the base's",
            (config.get("Cmd") or []) == (base.get("Cmd") or []),
            config.get("Cmd"),
        )
        there = dict(line.split("=", 1) for line in config.get("Env") or [])
        before = dict(line.split("=", 1) for line in base.get("Env") or [])
        wrong = {name: there.get(name) for name, value in WANTED_ENV.items() if there.get(name) != value}
        self.holds("the environment names Spark, Java, our Python and our cache", not wrong, wrong)
        kept = {name: value for name, value in before.items() if name not in OUR_ENV}
        changed = sorted(
            name for name in kept | there if name not in OUR_ENV and kept.get(name) != there.get(name)
        )
        self.holds("the rest of the environment is the base's", not changed, changed)
        platform = f"{self.about['Os']}/{self.about['Architecture']}"
        self.holds(
            "it is for linux/amd64 or linux/arm64", platform in ("linux/amd64", "linux/arm64"), platform
        )
        labels = config.get("Labels") or {}
        missing = [
            name for name in LABELS if labels.get(f"org.opencontainers.image.{name}", "unknown") == "unknown"
        ]
        self.holds("its labels say what it is made of", not missing, f"missing {missing}")
        words = [
            *RIGHTS,
            "--entrypoint",
            "/bin/sh",
            self.image,
            "-c",
            'for f; do [ -e "$f" ] || echo "$f"; done',
            "-",
        ]
        gone = docker("run", *words, *SPARKS).split()
        self.holds("Spark's files are there", not gone, f"missing {gone}")
        told = sorted(self._texts(self.about, self.image) - self._texts(self.below, self.under))
        found = [line[:40] for line in told if SECRET.search(line)]
        self.holds("no secret is in its environment, labels or history", not found, found)

    @staticmethod
    def _texts(about: dict[str, Any], image: str) -> set[str]:
        """Return all that an image tells to whoever has it."""
        history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", image)
        config = about["Config"]
        labels = config.get("Labels") or {}
        return {*(config.get("Env") or []), *map("=".join, labels.items()), *history.splitlines()}

    def contents(self) -> None:
        """Check what we have put in, against what the base has."""
        which = docker(
            "run", *RIGHTS, "--entrypoint", "/bin/sh", self.under, "-c", "command -v python3.11 || echo"
        )
        base = look_inside(self.under, "base", which or "python3")
        try:
            found = look_inside(self.image, "contents")
        except ContainerError as error:
            self.holds("our Python runs in it", False, error)
            return
        job = ROOT / "job"
        wanted = {file.relative_to(job).as_posix() for file in job.rglob("*.py")}
        missing = sorted(wanted - set(found["job"]))
        self.holds("the job is in /opt/fruits/job", not missing, f"missing {missing}")
        self.holds("its SBOM and licences are in it", not found["immaterial"], found["immaterial"])
        self.holds("the job is compiled", not found["uncompiled"], found["uncompiled"])
        over = sorted(set(found["mounted"]) - set(base["mounted"]))
        self.holds("nothing of ours lies where EMR mounts over", not over, over[:5])
        special = sorted(set(found["special"]) - set(base["special"]))
        self.holds("no file of ours runs with another user's rights", not special, special)
        self.holds("only root could change our files", not found["writable"], found["writable"][:5])
        self.holds("no file of ours is a secret", not found["secrets"], found["secrets"])
        self.holds("the weights have their fingerprint", found["weights"] == FINGERPRINT, found["weights"])
        program = found["program"]
        self.holds("the network's program is the one it says", program == "right", program)

    def packages(self) -> None:
        """Check that the packages are the lock's."""
        lock = (ROOT / "requirements.lock").read_text()
        found = look_inside(self.image, "packages", lock=lock)
        right = found["python"] == ["/opt/fruits/venv", [3, 11]]
        self.holds("the interpreter is ours, Python 3.11", right, found["python"])
        wanted, installed = found["locked"], found["installed"]
        other = sorted(name for name in wanted | installed if wanted.get(name) != installed.get(name))
        self.holds("the packages are those of the lock, and no others", not other, other)
        altered = found["altered"]
        self.holds("the packages' files are as their wheels brought them", not altered, altered[:5])
        strange = found["strange"]
        self.holds("no other file is among the packages", not strange, strange[:5])
        self.holds("PySpark is the base's own", "pyspark" not in installed, installed.get("pyspark"))

    def run(self) -> None:
        """Run the job on drawn fruit, as a pod runs it."""
        code, said, counts = trial_run(self.image)
        self.holds("the job runs under a pod's constraints", code == 0, f"exit code {code}, {said}")
        if code == 0:
            drawn = counts["drawn"]
            right = [counts[name] for name in ("listed", "featurized", "rejected")] == [drawn, drawn, 0]
            self.holds(f"it has the features of {drawn} drawn photos", right, counts)


def main() -> int:
    """Check the image that the command line names."""
    parser = argparse.ArgumentParser(description="Check that an image keeps EMR's contract and ours.")
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument("--base", metavar="IMAGE", help="what it is built on (default: what its label says)")
    every = ("contract", "contents", "packages", "run")
    parser.add_argument("--only", choices=every, action="append", help="check this alone; repeatable")
    given = parser.parse_args()
    try:
        labels = inspect(given.image)["Config"].get("Labels") or {}
        base = given.base or labels.get("org.opencontainers.image.base.name")
        if not base:
            raise ContainerError("it does not say what it is built on: name that with --base")
        check = Check(given.image, str(base), print)
        for part in given.only or every:
            getattr(check, part)()
    except ContainerError as error:
        print(f"error: {given.image} cannot be checked: {error}", file=sys.stderr)
        return 2
    print(f"{given.image}: {'all holds' if not check.failed else f'{check.failed} not as it should be'}")
    return 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main())
