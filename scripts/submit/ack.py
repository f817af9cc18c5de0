"""A run as a resource of ACK's EMR controller, for those who apply everything with kubectl (GitOps).

ACK's JobRun has neither a retry policy nor a client token: the resource's name is the token, and deleting it
cancels the run. Its ``configurationOverrides`` is YAML as a text, with the keys of EMR's API in PascalCase.
Source: aws-controllers-k8s/emrcontainers-controller v1.4.1, ``emrcontainers.services.k8s.aws_jobruns.yaml``.
"""

from collections.abc import Mapping
from typing import Any, Final

from scripts.cloud import manifests, run_request
from scripts.cloud.stage import NAMESPACE

API: Final = "emrcontainers.services.k8s.aws/v1alpha1"
# The mappings whose keys are names of settings, not members of the API.
VERBATIM: Final = ("properties",)


def job_run(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JobRun resource of a StartJobRun request."""
    driver = request["jobDriver"]["sparkSubmitJobDriver"]
    return {
        "apiVersion": API,
        "kind": "JobRun",
        "metadata": {"name": _resource_name(request["name"]), "namespace": NAMESPACE},
        "spec": {
            "name": request["name"],
            "virtualClusterID": request["virtualClusterId"],
            "executionRoleARN": request["executionRoleArn"],
            "releaseLabel": request["releaseLabel"],
            "jobDriver": {"sparkSubmitJobDriver": dict(driver)},
            "configurationOverrides": manifests.dump(_pascal_keys(request["configurationOverrides"])),
            "tags": dict(request["tags"]),
        },
    }


def _pascal_keys(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            key[0].upper() + key[1:]: member if key in VERBATIM else _pascal_keys(member)
            for key, member in value.items()
        }
    return [_pascal_keys(item) for item in value] if isinstance(value, list) else value


def _resource_name(name: str) -> str:
    """Return the resource's name for a run's; a template's name stays as it is."""
    return name if "${" in name else run_request.object_name(name)


HEADER: Final = """\
# A run for ACK's EMR controller, and as much a template as k8s/emr/job-run.yaml, of which
# `.venv/bin/python -m scripts.submit.ack` makes it. `./scripts/submit.sh --ack` fills it in. None of its
# fields can be changed later: one resource a run, and deleting it cancels the run.
# yamllint disable rule:line-length
"""


if __name__ == "__main__":
    print(HEADER + manifests.dump(job_run(manifests.load("emr/job-run.yaml"))), end="")
