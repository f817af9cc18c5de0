"""A stand-in for kubectl, which answers with recorded moments of a run, one for each question."""

import json
import sys
from pathlib import Path
from typing import Any, Final

from scripts.kubernetes.kubectl import Kubectl

PROGRAM: Final = Path(__file__).with_name("kubectl_program.py")
# A recording has each moment with the number of times that it was seen. More than so many add nothing.
MOST_TIMES: Final = 15
RECORDED: Final = Path(__file__).parents[1] / "scripts" / "kubernetes" / "recorded"


def recorded_kubectl(folder: Path, moments: list[Any], log: list[str]) -> Kubectl:
    """Return a stand-in that answers with moments and a log."""
    (folder / "moments.json").write_text(json.dumps(moments))
    (folder / "logs.txt").write_text("".join(f"{line}\n" for line in log))
    (folder / "calls.txt").touch()
    return Kubectl((sys.executable, "-S", str(PROGRAM), str(folder)))


def recorded(name: str) -> tuple[list[Any], list[str]]:
    """Return the moments and the driver's log of a run that a real cluster had."""
    record = json.loads((RECORDED / f"{name}.json").read_text())
    moments = [
        moment["items"] for moment in record["moments"] for _ in range(min(moment["times"], MOST_TIMES))
    ]
    return moments, record["log"]


def calls(folder: Path) -> list[str]:
    """Return the words of all calls, a text each."""
    return (folder / "calls.txt").read_text().splitlines()
