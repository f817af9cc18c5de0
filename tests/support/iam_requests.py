"""Requests in one stage's account, one a line, answered by the policies of k8s/.

A line is ``who action resource [how ...] answer``. A resource is a bucket or an object in it, a name of
``NAMES``, or an ARN. It is an ordinary call in Ireland by TLS, unless `how` says something else.
"""

import importlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from tests.support.iam import ANONYMOUS, Decision, Principal, Request, decide
from tests.support.templates import (
    ACCOUNT,
    ACCOUNT_ID,
    KEY_ID,
    NETWORK,
    Stack,
    identity_policies,
    resource_policies,
)

OTHER: Final = "999988887777"  # an account that is not ours: AWS's own, or a thief's
OIDC: Final = "oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF"
SUBJECT: Final = "system:serviceaccount:fruits:emr-containers-sa-spark-driver-"
ANYTHING: Final = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
}
OPEN: Final = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}],
}
KEY: Final = f"arn:aws:kms:eu-west-1:{ACCOUNT_ID}:key/{KEY_ID}"
BUCKETS: Final = ("photos", "results", "logs", "audit")
# Who asks, with which policy of their own; those in pods come through the network's endpoints.
PEOPLE: Final[dict[str, tuple[Principal, str]]] = {
    "job": (Principal(f"arn:aws:iam::{ACCOUNT_ID}:role/fruits-dev-job", ACCOUNT_ID), "ExecutionRole.job"),
    "submitter": (Principal(f"arn:aws:iam::{ACCOUNT_ID}:role/analyst", ACCOUNT_ID), "SubmitPolicy"),
    "stranger": (Principal(f"arn:aws:iam::{ACCOUNT_ID}:role/website", ACCOUNT_ID), ""),
    "admin": (Principal(f"arn:aws:iam::{ACCOUNT_ID}:role/admin", ACCOUNT_ID), "anything"),
    "admin-in-pod": (Principal(f"arn:aws:iam::{ACCOUNT_ID}:role/admin", ACCOUNT_ID), "anything"),
    "outsider": (Principal(f"arn:aws:iam::{OTHER}:role/admin", OTHER), "anything"),
    "outsider-in-pod": (Principal(f"arn:aws:iam::{OTHER}:role/admin", OTHER), "anything"),
    "anybody": (ANONYMOUS, ""),
    "anybody-in-pod": (ANONYMOUS, ""),
    "pod": (Principal(federated=f"arn:aws:iam::{ACCOUNT_ID}:oidc-provider/{OIDC}"), ""),
    "node": (Principal(f"arn:aws:iam::{ACCOUNT_ID}:role/node", ACCOUNT_ID), "anything"),
    "cluster-role": (
        Principal(f"arn:aws:iam::{ACCOUNT_ID}:role/eksctl-fruits-dev-cluster-ServiceRole-A1b2", ACCOUNT_ID),
        "",
    ),
    "spot": (
        Principal(
            f"arn:aws:iam::{ACCOUNT_ID}:role/aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot",
            ACCOUNT_ID,
        ),
        "",
    ),
    "fleet": (
        Principal(
            f"arn:aws:iam::{ACCOUNT_ID}:role/aws-service-role/ec2fleet.amazonaws.com/AWSServiceRoleForEC2Fleet",
            ACCOUNT_ID,
        ),
        "",
    ),
    "ec2": (Principal(service="ec2.amazonaws.com"), ""),
    "cloudwatch": (Principal(service="logs.eu-west-1.amazonaws.com"), ""),
    "access-logs": (Principal(service="logging.s3.amazonaws.com"), ""),
    "flow-log": (Principal(f"arn:aws:iam::{ACCOUNT_ID}:role/flow", ACCOUNT_ID), "FlowLogRole.write"),
    "flow-log-service": (Principal(service="vpc-flow-logs.amazonaws.com"), ""),
}
IN_PODS: Final = ("job", "pod", "node", "admin-in-pod", "outsider-in-pod", "anybody-in-pod")
GROUP: Final = f"arn:aws:logs:eu-west-1:{ACCOUNT_ID}:log-group:"
RUNS: Final = f"arn:aws:emr-containers:eu-west-1:{ACCOUNT_ID}:/virtualclusters"
STACKS: Final = f"arn:aws:cloudformation:eu-west-1:{ACCOUNT_ID}:stack"
NAMES: Final = {
    "key": KEY,
    "another-key": KEY.replace(KEY_ID, "ffffffff-12ab-34cd-56ef-1234567890ab"),
    "group": f"{GROUP}/fruits/dev",
    "groups": f"{GROUP}:log-stream:",  # as CloudWatch Logs names what a listing asks for
    "stream": f"{GROUP}/fruits/dev:log-stream:run-1/driver",
    "stream-elsewhere": f"{GROUP}/website:log-stream:1",
    "flow-stream": f"{GROUP}FlowLogGroup:log-stream:eni-1",
    "flow-group": f"{GROUP}FlowLogGroup",
    "virtual-cluster": f"{RUNS}/abc123",
    "run": f"{RUNS}/abc123/jobruns/000000001",
    "stack": f"{STACKS}/fruits-dev/0a1b",
    "network-stack": f"{STACKS}/fruits-dev-network/0a1b",
    "stack-elsewhere": f"{STACKS}/website/0a1b",
    "repository": f"arn:aws:ecr:eu-west-1:{ACCOUNT_ID}:repository/fruits-dev",
    "role": f"arn:aws:iam::{ACCOUNT_ID}:role/fruits-dev-job",
    "flow-role": f"arn:aws:iam::{ACCOUNT_ID}:role/FlowLogRole",
    "node-role": f"arn:aws:iam::{ACCOUNT_ID}:role/fruits-dev-node",
    "another-role": f"arn:aws:iam::{ACCOUNT_ID}:role/admin",
    "cluster": f"arn:aws:eks:eu-west-1:{ACCOUNT_ID}:cluster/fruits-dev",
    "cluster-elsewhere": f"arn:aws:eks:eu-west-1:{ACCOUNT_ID}:cluster/website",
    "every": "*",
}
SSE: Final = "s3:x-amz-server-side-encryption"
WORDS: Final = {
    "region": "aws:RequestedRegion",
    "tls": "s3:TlsVersion",
    "via": "kms:ViaService",
    "sse": SSE,
    "kms-key": f"{SSE}-aws-kms-key-id",
    "their-own-key": f"{SSE}-customer-algorithm",
    "as": "emr-containers:ExecutionRoleArn",
    "project": "aws:ResourceTag/project",
    "stage": "aws:ResourceTag/stage",
    "new-project": "aws:RequestTag/project",
    "new-stage": "aws:RequestTag/stage",
    "for-group": "kms:EncryptionContext:aws:logs:arn",
    "source-account": "aws:SourceAccount",
    "source": "aws:SourceArn",
    "for-aws": "kms:GrantIsForAWSResource",
    "subject": f"{OIDC}:sub",
}
ENDPOINTS: Final = {"s3": "S3", "sts": "Sts", "logs": "Logs", "ecr": "EcrApi", "ec2": "Ec2", "eks": "Eks"}


class Row(NamedTuple):
    """A line of the table."""

    who: str
    action: str
    resource: str
    how: tuple[str, ...]
    answer: Decision

    @classmethod
    def parse(cls, line: str) -> "Row":
        """Read a line."""
        who, action, resource, *how, answer = line.split()
        return cls(who, action, resource, tuple(how), Decision[answer.upper()])

    def __str__(self) -> str:
        return " ".join((*self[:3], *self.how))

    def with_(self, word: str) -> "Row":
        """Return the same request with one more circumstance."""
        return self._replace(how=(*self.how, word))

    def request(self) -> Request:
        """Return the request as AWS receives it."""
        resource = arn(self.resource)
        circumstances = dict(word.partition("=")[::2] for word in self.how)
        owner = circumstances.pop("owner", ACCOUNT_ID if ACCOUNT_ID in resource or resource == "*" else OTHER)
        principal = PEOPLE[self.who][0]
        context = {
            "aws:SecureTransport": str("http" not in circumstances).lower(),
            "aws:RequestedRegion": "eu-west-1",
            "aws:ResourceAccount": owner,
        }
        if principal.account:
            context |= {"aws:PrincipalAccount": principal.account, "aws:PrincipalArn": principal.arn}
        if circumstances.pop("http", None) is None:
            context["s3:TlsVersion"] = "1.3"
        context |= {WORDS[name]: NAMES.get(value, value) for name, value in circumstances.items()}
        return Request(principal, self.action, resource, owner, context)

    def policies(self) -> tuple[str, str, str]:
        """Return the names of the policies that decide: the caller's, the resource's, the endpoint's."""
        request = self.request()
        service = self.action.partition(":")[0]
        endpoint = f"{ENDPOINTS[service]}Endpoint" if self.who in IN_PODS and service in ENDPOINTS else ""
        on_resource = "open" if request.owner == OTHER else _on_resource(request.resource)
        return PEOPLE[self.who][1], on_resource, endpoint


def arn(resource: str) -> str:
    """Return the ARN of a resource in a line."""
    bucket, slash, key = resource.partition("/")
    if bucket in BUCKETS:
        return f"arn:aws:s3:::fruits-dev-{bucket}-{ACCOUNT_ID}{slash}{key}"
    return NAMES.get(resource, resource)


def policies() -> dict[str, Any]:
    """Return every policy of a stage's two stacks, by its name; the job's pods have joined its role."""
    documents: dict[str, Any] = {"anything": ANYTHING, "open": OPEN}  # whoever is not ours is open to all
    for stack in (Stack(ACCOUNT), Stack(NETWORK)):
        documents |= dict(identity_policies(stack)) | dict(resource_policies(stack))
    documents["ExecutionRole.trust"]["Statement"].append(pods_trust())
    return documents


def pods_trust() -> dict[str, Any]:
    """Return the statement that ``aws emr-containers update-role-trust-policy`` adds, by its own template."""
    of_cli = "awscli.customizations.emrcontainers"
    base36 = importlib.import_module(f"{of_cli}.base36").Base36()
    text = importlib.import_module(f"{of_cli}.constants").TRUST_POLICY_STATEMENT_FORMAT % {
        "AWS_PARTITION": "aws",
        "AWS_ACCOUNT_ID": ACCOUNT_ID,
        "OIDC_PROVIDER": OIDC,
        "NAMESPACE": "fruits",
        "BASE36_ENCODED_ROLE_NAME": base36.encode("fruits-dev-job"),
    }
    return {"Sid": "Pods", **json.loads(text)}


def answer(row: Row, documents: Mapping[str, Any]) -> Decision:
    """Return AWS's answer."""
    own, on_resource, endpoint = row.policies()
    return decide(
        row.request(),
        [documents[own]] if own else [],
        documents.get(on_resource),
        documents[endpoint] if endpoint else None,
    )


def _on_resource(resource: str) -> str:
    """Return the name of a resource's policy."""
    for bucket in BUCKETS:
        if resource.split("/", maxsplit=1)[0] == arn(bucket):
            return f"{bucket.capitalize()}Policy"
    special = {
        KEY: "Key",
        NAMES["role"]: "ExecutionRole.trust",
        NAMES["flow-role"]: "FlowLogRole.trust",
        NAMES["node-role"]: "NodeRole.trust",
    }
    return special.get(resource, "")


def rows(text: str) -> Iterator[Row]:
    """Read the lines of a table, without its comments."""
    for line in text.splitlines():
        if line.strip() and not line.strip().startswith("#"):
            yield Row.parse(line)
