"""The commands and the query that show why a run's pods do not start or do no work."""

from dataclasses import dataclass
from typing import Final

from scripts.cloud.stage import NAMESPACE, Stage

# The events in which Karpenter tells why it makes no node (EKS User Guide, "Troubleshoot EKS Auto Mode"). The
# cluster's audit log keeps them when the pods have gone; the two APIs of events name their text differently.
KARPENTER_QUERY: Final = """\
fields @timestamp, requestObject.reason, coalesce(requestObject.message, requestObject.note) as text
| filter @logStream like /kube-apiserver-audit/ and objectRef.resource = "events"
| filter requestObject.reason like /FailedScheduling|NoCompatibleInstanceTypes|InsufficientCapacity|NotReady/
| sort @timestamp desc | limit 20"""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Where to look for one run of a stage."""

    stage: Stage
    run_name: str

    @property
    def kubectl_commands(self) -> list[str]:
        """The commands that show the run's pods, their events and the nodes on order."""
        kubectl = f"kubectl --kubeconfig build/kubeconfig-{self.stage.name}"
        return [
            f"{kubectl} -n {NAMESPACE} get pods",
            f"{kubectl} -n {NAMESPACE} describe pods -l fruits/run={self.run_name}",
            f"{kubectl} get nodeclaims",
        ]

    @property
    def audit_log(self) -> str:
        """The log group of the cluster's audit log."""
        return f"/aws/eks/{self.stage.cluster}/cluster"

    @property
    def query_text(self) -> str:
        """The query with the sentence that says where to put it."""
        lines = KARPENTER_QUERY.splitlines()
        return "\n".join(
            [f"CloudWatch Logs Insights, log group {self.audit_log}:", *(f"  {x}" for x in lines)]
        )

    @property
    def text(self) -> str:
        """The commands and the query, a line each."""
        return "\n".join([*self.kubectl_commands, self.query_text])
