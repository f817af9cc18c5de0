"""The commands and the query that show why a run's pods do not start or do no work."""

from dataclasses import dataclass
from typing import Final

from scripts.cloud.failures import Advice
from scripts.cloud.stage import NAMESPACE, Stage

# The policy for people who submit gives no access to the cluster or its logs.
INSTRUCTION: Final = "look with an administrator's rights, or ask an administrator to:"
# Karpenter tells why it makes no node in events, which the cluster's audit log keeps when the pods have gone,
# and in its own log, which EKS delivers if asked to (EKS User Guide, "Access AWS-Managed Component Logs For
# EKS Auto"). The query reads either: it looks for words in the whole message, whatever fields the log has.
KARPENTER_QUERY: Final = """\
fields @timestamp, coalesce(requestObject.message, requestObject.note, @message) as text
| filter @message like /FailedScheduling|NoCompatibleInstanceTypes|InsufficientCapacity/
    or @message like /NodeClassNotReady|LimitExceeded/
| sort @timestamp desc | limit 20"""
KARPENTER_LOG: Final = "AUTO_MODE_COMPUTE_LOGS"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Where to look for one run of a stage."""

    stage: Stage
    run_name: str

    @property
    def instruction(self) -> str:
        """Who can look."""
        return INSTRUCTION

    @property
    def fields(self) -> dict[str, object]:
        """The commands, the log and its query by name."""
        return {"commands": self.kubectl_commands, "log": self.audit_log, "query": KARPENTER_QUERY}

    def remedy(self, advice: Advice) -> str:
        """Return an advice's remedy for the run's stage."""
        return advice.remedy.format(stage=self.stage.name)

    @property
    def kubectl_commands(self) -> list[str]:
        """The commands that show the run's pods, their events and the nodes on order."""
        kubectl = f"kubectl --kubeconfig build/kubeconfig-{self.stage.name}"
        return [
            f"{kubectl} -n {NAMESPACE} get pods",
            f"{kubectl} -n {NAMESPACE} describe pods -l fruits/run={self.run_name}",
            f"{kubectl} -n {NAMESPACE} get events",
            f"{kubectl} get nodeclaims",
        ]

    @property
    def audit_log(self) -> str:
        """The log group of the cluster's audit log."""
        return f"/aws/eks/{self.stage.cluster}/cluster"

    @property
    def query_text(self) -> str:
        """The query with the sentence that says where to put it."""
        groups = f"{self.audit_log}, or that of the cluster's {KARPENTER_LOG} if EKS delivers them"
        lines = [f"CloudWatch Logs Insights, log group {groups}:", *KARPENTER_QUERY.splitlines()]
        return "\n  ".join(lines)

    @property
    def text(self) -> str:
        """The instruction, the commands and the query, a line each."""
        return "\n".join([INSTRUCTION, *self.kubectl_commands, self.query_text])
