"""Advice about a failed run, chosen by words in the messages of EMR, Kubernetes and the driver.

Sources of the words: AWS's troubleshooting pages for EMR on EKS, and Kubernetes's and Spark's own messages.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from scripts.submit.diagnosis import Diagnosis


class Advice(NamedTuple):
    """The remedy for a failure, and the words that identify it, in upper or lower case.

    ``{stage}`` in the remedy stands for the name of the run's stage.
    """

    remedy: str
    signs: tuple[str, ...]
    is_about_nodes: bool = False


# The first one with a sign in the messages applies. The job's sentences stand first: they are unambiguous.
ADVICE: Final = (
    Advice(
        "one command at a time writes to an output: ./scripts/submit.sh list --stage {stage} shows the runs; "
        "start this one again when the other has ended",
        ("is being written by", "has taken it over"),
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
    ),
    Advice(
        "the image is for another processor than the nodes' amd64: make a new commit, because tags never "
        "move, then ./scripts/build-image.sh --release and ./scripts/push-image.sh --stage {stage}",
        ("no match for platform", "exec format error"),
    ),
    Advice(
        "the nodes cannot fetch the image: look whether it is still in ECR, in this region and account",
        ("ImagePullBackOff", "ErrImagePull", "manifest unknown", "no basic auth credentials"),
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
    ),
    Advice(
        "executors failed again and again: their logs in the logs bucket say why; large sizes keep none, so "
        "repeat it with --size medium and fewer photos",
        ("Max number of executor failures",),
    ),
    Advice(
        "a node's disk is full: look in the logs for what grows without end",
        ("No space left on device",),
    ),
    Advice(
        "the namespace's quota refuses the pods: choose a smaller --size, or raise it in k8s/overlays",
        ("exceeded quota", "failed quota", "must specify limits", "LimitRange"),
    ),
    Advice(
        "the namespace's Pod Security refuses EMR's pods: it must enforce baseline, not restricted",
        ("violates PodSecurity",),
    ),
    Advice(
        "no node was found for a pod: EC2 refuses, or a pool is full",
        ("Insufficient cpu", "Insufficient memory", "FailedScheduling", "Unschedulable"),
        is_about_nodes=True,
    ),
    Advice(
        "the driver found no node in time",
        ("job-start-timeout", "start timeout"),
        is_about_nodes=True,
    ),
    Advice(
        "EMR could not use a pod template: the job's role must read submissions/ of the results bucket",
        ("podTemplateFile", "Could not load pod from template", "pod template"),
    ),
    Advice(
        "EMR could not write logs: ./scripts/cluster.sh up --stage {stage} makes the log group and the "
        "role's rights again",
        ("log group", "PutLogEvents"),
    ),
    Advice(
        "EMR may not act in the namespace: ./scripts/cluster.sh up --stage {stage} makes its access entry",
        ("service account", "serviceaccounts", "is forbidden: User"),
    ),
    Advice(
        "the job's role may not use a bucket: it reads photos/ of the stage's photos bucket, and writes "
        "results/ of its results bucket",
        ("AccessDenied", "Access Denied", "status code: 403", "lack s3:ListBucket"),
    ),
    Advice(
        "a bucket is not there: look at the names after --input and --output",
        ("NoSuchBucket", "there is no bucket"),
    ),
    Advice(
        "EMR could not reach the cluster: ./scripts/cluster.sh status --stage {stage}; a cluster that was "
        "made anew needs a new virtual cluster, which up makes",
        ("CLUSTER_UNAVAILABLE",),
    ),
)
NOTHING_WRITTEN: Final = (
    "the driver wrote nothing: the events and the job-runner's log in the logs bucket tell what happened "
    "before it started"
)
UNKNOWN_CAUSE: Final = "the driver's own last words say why; its whole log is in the logs bucket"


def advice(messages: Iterable[str], driver_wrote: bool, diagnosis: Diagnosis) -> str:
    """Return the advice for a failed run; where nodes may be missing, with the commands and the query.

    Parameters
    ----------
    messages : iterable of str
        The messages of EMR and the driver.
    driver_wrote : bool
        Whether the driver wrote to its log.
    diagnosis : Diagnosis
        Where to look.
    """
    text = "\n".join(messages).casefold()
    unknown = Advice(UNKNOWN_CAUSE, ()) if driver_wrote else Advice(NOTHING_WRITTEN, (), is_about_nodes=True)
    matches = (entry for entry in ADVICE if any(sign.casefold() in text for sign in entry.signs))
    entry = next(matches, unknown)
    remedy = entry.remedy.format(stage=diagnosis.stage.name)
    return f"{remedy}; {diagnosis.text}" if entry.is_about_nodes else remedy
