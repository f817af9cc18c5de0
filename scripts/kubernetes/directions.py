"""Where to look for a run on a cluster without EMR."""

from dataclasses import dataclass
from typing import Final

from scripts.cloud.failures import Advice
from scripts.cloud.stage import NAMESPACE

INSTRUCTION: Final = "look while the run is there (--keep keeps it):"


@dataclass(frozen=True)
class ClusterDirections:
    """The commands that show more of a run; ``kubectl`` is how a user calls it for this cluster."""

    kubectl: str
    run_name: str

    @property
    def instruction(self) -> str:
        """When to look."""
        return INSTRUCTION

    @property
    def commands(self) -> list[str]:
        """The commands that show the run's pods, why they wait, and the nodes."""
        return [
            f"{self.kubectl} -n {NAMESPACE} get pods",
            f"{self.kubectl} -n {NAMESPACE} describe pods -l fruits/run={self.run_name}",
            f"{self.kubectl} -n {NAMESPACE} get events",
            f"{self.kubectl} describe nodes",
        ]

    @property
    def fields(self) -> dict[str, object]:
        """The commands by name."""
        return {"commands": self.commands}

    @property
    def text(self) -> str:
        """The instruction and the commands, a line each."""
        return "\n".join([self.instruction, *self.commands])

    def remedy(self, advice: Advice) -> str:
        """Return an advice's remedy without EMR and stages."""
        return advice.remedy if advice.without_emr is None else advice.without_emr
