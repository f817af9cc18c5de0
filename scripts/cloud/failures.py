"""Advice about a failed run, chosen by words in the messages of EMR, Kubernetes and the driver.

Sources of the words: AWS's troubleshooting pages for EMR on EKS, and Kubernetes's and Spark's own messages.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple, Protocol


class Advice(NamedTuple):
    """The remedy for a failure, and the words that identify it, in upper or lower case.

    ``{stage}`` in the remedy stands for the name of the run's stage. ``without_emr`` is the remedy on a
    cluster without EMR and stages, where it differs.
    """

    remedy: str
    signs: tuple[str, ...]
    is_about_nodes: bool = False
    without_emr: str | None = None


class Directions(Protocol):
    """Where to look for one run, and what to do there."""

    @property
    def instruction(self) -> str:
        """Who can look, or how."""

    @property
    def fields(self) -> dict[str, object]:
        """The commands and places by name."""

    @property
    def text(self) -> str:
        """The instruction, the commands and the places, a line each."""

    def remedy(self, advice: Advice) -> str:
        """Return an advice's remedy there."""


# The first one with a sign in the messages applies. The job's sentences stand first: they are unambiguous.
ADVICE: Final = (
    Advice(
        "one command at a time writes to an output: ./scripts/submit.sh list --stage {stage} shows the runs; "
        "start this one again when the other has ended",
        ("is being written by", "has taken it over"),
        without_emr="one command at a time writes to an output: start this again when the other has ended",
    ),
    Advice(
        "nothing reads the earlier tables any more: give the job --overwrite, which reads every photo again, "
        "or another --output",
        ("was made by an earlier version of this job",),
    ),
    Advice(
        "the job's role does not trust this cluster: ./scripts/cluster.sh up --stage {stage} writes its "
        "trust policy again",
        ("AssumeRoleWithWebIdentity", "WebIdentityErr", "InvalidIdentityToken"),
        without_emr="the pods' credentials are refused: look at those that this command was given",
    ),
    Advice(
        "the image is for another processor than the nodes' amd64: make a new commit, because tags never "
        "move, then ./scripts/build-image.sh --release and ./scripts/push-image.sh --stage {stage}",
        ("no match for platform", "exec format error"),
        without_emr="the image is for another processor than the nodes': build it for theirs, as "
        "./scripts/build-image.sh --platform does",
    ),
    Advice(
        "the nodes cannot fetch the image: look whether it is still in ECR, in this region and account",
        ("ImagePullBackOff", "ErrImagePull", "manifest unknown", "no basic auth credentials"),
        without_emr="the nodes cannot fetch the image: look at the name after --image, and whether "
        "they may read its registry",
    ),
    Advice(
        "a pod is gone, because its node was lost or somebody deleted it: start the run again on the same "
        "output, and it continues",
        ("pod was deleted", "Evicted"),
    ),
    Advice(
        "a container ran out of memory: choose a larger --size for the driver's sake, or raise "
        "EXECUTOR_OVERHEAD in scripts/cloud/sizes.py for the executors'",
        (
            "exit code 137",
            "exitCode: 137",
            "exited with code 137",
            "OOMKilled",
            "OutOfMemoryError",
            "insufficient memory for the Java Runtime",
            "Python worker exited unexpectedly",
        ),
        without_emr="a container ran out of memory: raise it in scripts/kubernetes/job_run.py",
    ),
    Advice(
        "executors failed again and again: their logs in the logs bucket say why; large sizes keep none, so "
        "repeat it with --size medium and fewer photos",
        ("Max number of executor failures", "gave up after executors were lost"),
        without_emr="executors failed again and again: the warnings above say why",
    ),
    Advice(
        "a node's disk is full: look in the logs for what grows without end",
        ("No space left on device",),
    ),
    Advice(
        "the namespace's quota refuses the pods: choose a smaller --size, or raise it in k8s/overlays",
        ("exceeded quota", "failed quota", "must specify limits", "usage per Container is"),
        without_emr="the namespace's quota refuses the pods: give fewer --executors, wait for other "
        "runs, or raise it in k8s/overlays/dev",
    ),
    Advice(
        "the namespace's Pod Security refuses EMR's pods: it must enforce baseline, not restricted",
        ("violates PodSecurity",),
        without_emr="the namespace's Pod Security refuses the pods: it must enforce baseline, not restricted",
    ),
    Advice(
        "no node was found for a pod: EC2 refuses, or a pool is full",
        ("Insufficient cpu", "Insufficient memory", "FailedScheduling", "Unschedulable"),
        is_about_nodes=True,
        without_emr="no node has room for a pod: fewer --executors, or larger nodes",
    ),
    Advice(
        "the driver found no node in time",
        ("job-start-timeout", "start timeout"),
        is_about_nodes=True,
    ),
    Advice(
        "EMR could not use a pod template: the job's role must read submissions/ of the results bucket",
        ("podTemplateFile", "Could not load pod from template", "pod template"),
        without_emr="Spark could not use a pod template: look at k8s/emr",
    ),
    Advice(
        "EMR could not write logs: ./scripts/cluster.sh up --stage {stage} makes the log group and the "
        "role's rights again",
        ("log group", "PutLogEvents"),
        without_emr="CloudWatch has no part in this run: the driver's own last words say why",
    ),
    Advice(
        "EMR may not act in the namespace: ./scripts/cluster.sh up --stage {stage} makes its access entry",
        ("service account", "serviceaccounts", "is forbidden: User"),
        without_emr="the run's service accounts lack a right in the namespace: look at its roles",
    ),
    Advice(
        "the job's role may not use a bucket: it reads photos/ of the stage's photos bucket, and writes "
        "results/ of its results bucket",
        ("AccessDenied", "Access Denied", "status code: 403", "lack s3:ListBucket"),
        without_emr="the credentials may not use a bucket: they must read the input and write the output",
    ),
    Advice(
        "a bucket is not there: look at the names after --input and --output",
        ("NoSuchBucket", "there is no bucket"),
    ),
    Advice(
        "EMR could not reach the cluster: ./scripts/cluster.sh status --stage {stage}; a cluster that was "
        "made anew needs a new virtual cluster, which up makes",
        ("CLUSTER_UNAVAILABLE",),
        without_emr="the cluster could not be reached: look at it with kubectl",
    ),
)
NOTHING_WRITTEN: Final = Advice(
    "the driver wrote nothing: the events and the job-runner's log in the logs bucket tell what happened "
    "before it started",
    (),
    is_about_nodes=True,
    without_emr="the driver wrote nothing: the warnings above and the job-runner's last lines tell what "
    "happened before it started",
)
UNKNOWN_CAUSE: Final = Advice(
    "the driver's own last words say why; its whole log is in the logs bucket",
    (),
    without_emr="the driver's own last words say why",
)


def known(text: str) -> Advice | None:
    """Return the advice that has a sign in a text; None if there is none."""
    text = text.casefold()
    return next((entry for entry in ADVICE if any(sign.casefold() in text for sign in entry.signs)), None)


def advice(messages: Iterable[str], driver_wrote: bool, directions: Directions) -> str:
    """Return the advice for a failed run; where nodes may be missing, with the commands and the query.

    Parameters
    ----------
    messages : iterable of str
        The messages of EMR and the driver.
    driver_wrote : bool
        Whether the driver wrote to its log.
    directions : Directions
        Where to look, and what to do there.
    """
    entry = known("\n".join(messages)) or (UNKNOWN_CAUSE if driver_wrote else NOTHING_WRITTEN)
    remedy = directions.remedy(entry)
    return f"{remedy}; {directions.text}" if entry.is_about_nodes else remedy
