"""kubectl with the words that choose a cluster; its refusals are errors that a user can mend."""

import json
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from job.errors import JobError

# A cluster that does not answer is an error after this time, not a wait without end.
REQUEST_TIMEOUT: Final = "--request-timeout=30s"
FIELD_MANAGER: Final = "fruits"

Object = Mapping[str, Any]


class KubectlError(JobError):
    """kubectl is missing or refuses; the sentence is kubectl's own."""


@dataclass(frozen=True)
class Kubectl:
    """A cluster's kubectl; ``command`` is for example ``("kubectl", "--context", "kind")``."""

    command: tuple[str, ...]

    def run(self, *words: str, data: str | None = None) -> str:
        """Run kubectl with `data` as its stdin, and return its stdout.

        Raises
        ------
        KubectlError
            If it is missing or fails: with the last line that it wrote.
        """
        try:
            result = subprocess.run(
                [*self.command, *words], input=data, capture_output=True, text=True, check=False,
                process_group=0,  # Ctrl-C is for this command, which ends what it started with kubectl
            )  # fmt: skip
        except FileNotFoundError:
            raise KubectlError(f"{self.command[0]} was not found: install kubectl") from None
        if result.returncode:
            output = result.stderr.strip() or result.stdout.strip() or f"exit code {result.returncode}"
            raise KubectlError(f"kubectl {words[0]}: {output.splitlines()[-1].removeprefix('error: ')}")
        return result.stdout

    def items(self, kinds: str, *words: str) -> list[dict[str, Any]]:
        """Return the objects of kinds such as ``pods`` or ``pods,events``, of one namespace or none."""
        answer = self.run("get", kinds, "-o", "json", REQUEST_TIMEOUT, *words)
        objects: list[dict[str, Any]] = json.loads(answer)["items"]
        return objects

    def get(self, kind: str, name: str, namespace: str | None = None) -> dict[str, Any] | None:
        """Return an object, or None if there is none of that name."""
        place = ("-n", namespace) if namespace else ()
        answer = self.run("get", kind, name, "-o", "json", "--ignore-not-found", REQUEST_TIMEOUT, *place)
        return json.loads(answer) if answer.strip() else None

    def apply(self, objects: Iterable[Object]) -> None:
        """Apply objects on the server, in their order."""
        manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        flags = ("--server-side", "--force-conflicts", f"--field-manager={FIELD_MANAGER}")
        self.run("apply", *flags, "-f", "-", data=manifest)

    def start(self, *words: str) -> "subprocess.Popen[bytes]":
        """Start kubectl and return its process, whose stdout can be read while it runs."""
        return subprocess.Popen(
            [*self.command, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, process_group=0,
        )  # fmt: skip
