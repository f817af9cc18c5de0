"""Check that an image keeps EMR's contract and ours, and run the job in it once.

Usage: ``python docker/check.py IMAGE [--base IMAGE] [--only PART]``. Exit code 0 if every requirement holds,
1 if one does not, 2 if the image cannot be checked. Needs Docker and Python 3.11, and no package.

The contract is from AWS's documentation of custom images for EMR on EKS, and from AWS's own validator, which
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

from scripts.cloud.docker_engine import ContainerError, docker  # noqa: E402
from scripts.image.containers import RESTRICTIONS  # noqa: E402
from scripts.image.trial_run import trial_run  # noqa: E402

PYTHON: Final = "/opt/fruits/venv/bin/python"
REQUIRED_ENV: Final = {
    "SPARK_HOME": "/usr/lib/spark",
    "JAVA_HOME": "/etc/alternatives/jre",
    "PYSPARK_PYTHON": PYTHON,
    "PYSPARK_DRIVER_PYTHON": PYTHON,
    "FRUITS_CACHE": "/opt/fruits/cache",
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
}
ADDED_ENV: Final = {"KERAS_HOME"} | REQUIRED_ENV.keys()
SPARK_FILES: Final = (
    *(f"/usr/bin/{name}" for name in ("spark-submit", "spark-sql", "spark-class", "spark-shell")),
    *(f"/usr/bin/{name}" for name in ("pyspark", "find-spark-home", "hadoop", "entrypoint.sh", "decom.sh")),
    "/usr/lib/hadoop",
    "/usr/lib/spark/jars",
)
ASK_EXECUTOR: Final = "/usr/bin/entrypoint.sh executor 2>&1 || true"
LABELS: Final = ("created", "revision", "base.name", "base.digest")
FINGERPRINT: Final = "c009b1f1262c1f55420ed4f95d0f338acb97548930c6f6c8f3383b79544088a8"
SECRET: Final = re.compile(
    r"(AKIA|ASIA)[0-9A-Z]{16}|(SECRET|PASSWORD|TOKEN|_KEY)[A-Z_]*=\S|://[^/\s:]+:[^@/\s]+@", re.I
)


def inspect(image: str) -> dict[str, Any]:
    """Return the engine's facts of an image."""
    facts: dict[str, Any] = json.loads(docker("image", "inspect", image))[0]
    return facts


def inside_facts(image: str, part: str, python: str = PYTHON, lock: str = "") -> dict[str, Any]:
    """Return what inside.py prints in an image, as a root that may read everything and change nothing."""
    script = (ROOT / "docker" / "inside.py").read_text()
    options = [*RESTRICTIONS, "--cap-add=DAC_READ_SEARCH", "--user=0:0", "--interactive"]
    output = docker("run", *options, f"--entrypoint={python}", image, "-B", "-c", script, part, text=lock)
    try:
        facts: dict[str, Any] = json.loads(output)
    except ValueError:
        raise ContainerError(f"its Python says more than it was asked: {output[:80]!r}") from None
    return facts


class Check:
    """Checks one image; prints each requirement as a sentence with ok or FAILED."""

    def __init__(self, image: str, base: str, print_line: Callable[[str], None]) -> None:
        self.image, self.base, self.failures, self.print_line = image, base, 0, print_line
        self.image_facts, self.base_facts = inspect(image), inspect(base)
        self.config: dict[str, Any] = self.image_facts["Config"]

    def require(self, sentence: str, holds: bool, detail: object = "") -> None:
        """Print a requirement and whether it holds; `detail` follows if it does not."""
        self.print_line(f"{'ok    ' if holds else 'FAILED'} {sentence}{'' if holds else f': {detail}'}")
        self.failures += not holds

    def contract(self) -> None:
        """Check EMR's requirements of an image."""
        config, base = self.config, self.base_facts["Config"]
        user, folder, entry = (config.get(name) for name in ("User", "WorkingDir", "Entrypoint"))
        self.require("the last user is hadoop of group hadoop", user == "hadoop:hadoop", user)
        ids = docker("run", *RESTRICTIONS, "--entrypoint", "/usr/bin/id", self.image)
        self.require("that is uid 999 and gid 1000", ids.startswith("uid=999(hadoop) gid=1000(hadoop)"), ids)
        self.require("the work directory is /home/hadoop", folder == "/home/hadoop", folder)
        same_entry = entry == base.get("Entrypoint") == ["/usr/bin/entrypoint.sh"]
        self.require("the entry point is the base's", same_entry, entry)
        same_command = (config.get("Cmd") or []) == (base.get("Cmd") or [])
        self.require("the command is the base's", same_command, config.get("Cmd"))
        self._environment(config, base)
        platform = f"{self.image_facts['Os']}/{self.image_facts['Architecture']}"
        is_supported = platform in ("linux/amd64", "linux/arm64")
        self.require("it is for linux/amd64 or linux/arm64", is_supported, platform)
        labels = config.get("Labels") or {}
        missing = [
            name for name in LABELS if labels.get(f"org.opencontainers.image.{name}", "unknown") == "unknown"
        ]
        self.require("its labels say what it is made of", not missing, f"missing {missing}")
        script = 'for file; do [ -x "$file" ] || echo "$file"; done'
        command = ["--entrypoint", "/bin/sh", self.image, "-c", script, "-", *SPARK_FILES]
        missing = docker("run", *RESTRICTIONS, *command).split()
        self.require("Spark's files are there", not missing, f"missing {missing}")
        # Java that gets -version says its version and ends.
        option = ["--env", "SPARK_JAVA_OPT_0=-version", "--env", "SPARK_EXECUTOR_MEMORY=64m"]
        says = docker(
            "run", *RESTRICTIONS, *option, "--entrypoint", "/bin/sh", self.image, "-c", ASK_EXECUTOR
        )
        has_options = 'version "17.' in says
        self.require("the entry point gives an executor's Java its options", has_options, says[-200:])
        added = sorted(self._texts(self.image_facts, self.image) - self._texts(self.base_facts, self.base))
        secrets = [text[:40] for text in added if SECRET.search(text)]
        self.require("no secret is in its environment, labels or history", not secrets, secrets)

    def _environment(self, config: dict[str, Any], base: dict[str, Any]) -> None:
        variables, base_variables = (
            dict(line.split("=", 1) for line in settings.get("Env") or []) for settings in (config, base)
        )
        wrong = {
            name: variables.get(name) for name, value in REQUIRED_ENV.items() if variables.get(name) != value
        }
        self.require("the environment names Spark, Java, our Python and our cache", not wrong, wrong)
        others = (variables | base_variables).keys() - ADDED_ENV
        changed = sorted(name for name in others if base_variables.get(name) != variables.get(name))
        self.require("the rest of the environment is the base's", not changed, changed)

    @staticmethod
    def _texts(facts: dict[str, Any], image: str) -> set[str]:
        """Return the texts that everybody who has an image can read."""
        history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", image)
        config = facts["Config"]
        labels = config.get("Labels") or {}
        return {*(config.get("Env") or []), *map("=".join, labels.items()), *history.splitlines()}

    def contents(self) -> None:
        """Check the files that we added, against those of the base."""
        command = ["--entrypoint", "/bin/sh", self.base, "-c", "command -v python3.11 || echo"]
        base = inside_facts(self.base, "base", docker("run", *RESTRICTIONS, *command) or "python3")
        try:
            facts = inside_facts(self.image, "image")
        except ContainerError as error:
            self.require("our Python runs in it", False, error)
            return
        job = ROOT / "job"
        modules = {file.relative_to(job).as_posix() for file in job.rglob("*.py")}
        missing = sorted(modules - set(facts["job"]))
        self.require("the job is in /opt/fruits/job", not missing, f"missing {missing}")
        materials = facts["missing_materials"]
        self.require("its SBOM and licences are in it", not materials, materials)
        self.require("the job is compiled", not facts["uncompiled"], facts["uncompiled"])
        hidden = sorted(set(facts["mounted"]) - set(base["mounted"]))
        self.require("nothing of ours lies where EMR mounts over", not hidden, hidden[:5])
        setuid = sorted(set(facts["setuid"]) - set(base["setuid"]))
        self.require("no file of ours runs with another user's rights", not setuid, setuid)
        self.require("only root could change our files", not facts["writable"], facts["writable"][:5])
        self.require("no file of ours is a secret", not facts["secrets"], facts["secrets"])
        weights, network = facts["weights"], facts["network"]
        self.require("the weights have their fingerprint", weights == FINGERPRINT, weights)
        self.require("the network's program is the one it says", network == "right", network)

    def packages(self) -> None:
        """Check that the packages are those of the lock."""
        lock = (ROOT / "requirements.lock").read_text()
        facts = inside_facts(self.image, "packages", lock=lock)
        is_ours = facts["python"] == ["/opt/fruits/venv", [3, 11]]
        self.require("the interpreter is ours, Python 3.11", is_ours, facts["python"])
        locked, installed = facts["locked"], facts["installed"]
        different = sorted(name for name in locked | installed if locked.get(name) != installed.get(name))
        self.require("the packages are those of the lock, and no others", not different, different)
        altered, unrecorded = facts["altered"], facts["unrecorded"]
        self.require("the packages' files are as their wheels brought them", not altered, altered[:5])
        self.require("no other file is among the packages", not unrecorded, unrecorded[:5])
        self.require("PySpark is the base's own", "pyspark" not in installed, installed.get("pyspark"))

    def run(self) -> None:
        """Run the job on drawn fruit, as a pod runs it."""
        exit_code, last_line, counts = trial_run(self.image)
        detail = f"exit code {exit_code}, {last_line}"
        self.require("the job runs under a pod's constraints", exit_code == 0, detail)
        if exit_code == 0:
            drawn = counts["drawn"]
            complete = [counts[name] for name in ("listed", "featurized", "rejected")] == [drawn, drawn, 0]
            self.require(f"it has the features of {drawn} drawn photos", complete, counts)


def main() -> int:
    """Check the image that the command line names."""
    parser = argparse.ArgumentParser(description="Check that an image keeps EMR's contract and ours.")
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument("--base", metavar="IMAGE", help="what it is built on (default: what its label says)")
    parts = ("contract", "contents", "packages", "run")
    parser.add_argument("--only", choices=parts, action="append", help="check this alone; repeatable")
    options = parser.parse_args()
    try:
        labels = inspect(options.image)["Config"].get("Labels") or {}
        base = options.base or labels.get("org.opencontainers.image.base.name")
        if not base:
            raise ContainerError("it does not say what it is built on: name that with --base")
        check = Check(options.image, str(base), print)
        for part in options.only or parts:
            getattr(check, part)()
    except ContainerError as error:
        print(f"error: {options.image} cannot be checked: {error}", file=sys.stderr)
        return 2
    print(
        f"{options.image}: {'all holds' if not check.failures else f'{check.failures} not as it should be'}"
    )
    return 1 if check.failures else 0


if __name__ == "__main__":
    sys.exit(main())
