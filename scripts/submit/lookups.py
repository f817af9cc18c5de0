"""What a submission finds out before it starts a run, and the start itself."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from job.cli.arguments import EU_REGIONS
from job.errors import ResidencyError, UsageError
from job.storage.s3 import split
from scripts.cloud.aws_session import RETRIES, AwsRefusedError
from scripts.cloud.stage import Stage
from scripts.submit import run_request
from scripts.submit.run_request import Plan

if TYPE_CHECKING:
    from boto3 import Session
    from mypy_boto3_ecr import ECRClient
    from mypy_boto3_ecr.type_defs import ImageDetailTypeDef
    from mypy_boto3_emr_containers import EMRContainersClient
    from mypy_boto3_s3 import S3Client

ECR: Final = re.compile(
    r"[0-9]{12}\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com/[a-z0-9._/-]+@sha256:[0-9a-f]{64}"
)
ARN: Final = re.compile(r"arn:aws[a-z-]*:[a-z0-9-]+:([a-z0-9-]*):.*")


def virtual_cluster(emr: "EMRContainersClient", stage: Stage, given: str | None) -> str:
    """Return the id of the stage's virtual cluster, or of the one that is given.

    Raises
    ------
    UsageError
        If there is none that runs, or more than one.
    """
    pages = emr.get_paginator("list_virtual_clusters").paginate(
        containerProviderId=stage.cluster, containerProviderType="EKS", states=["RUNNING"]
    )
    found = sorted((one["id"], one["name"]) for page in pages for one in page["virtualClusters"])
    if given is not None:
        if given not in {identity for identity, _ in found}:
            names = ", ".join(identity for identity, _ in found) or "none"
            raise UsageError(f"virtual cluster {given} does not run on {stage.cluster}: there is {names}")
        return given
    if not found:
        raise UsageError(f"no virtual cluster runs on EKS cluster {stage.cluster}: make it with {stage.up}")
    if len(found) > 1:
        names = ", ".join(f"{identity} ({name})" for identity, name in found)
        raise UsageError(f"{len(found)} virtual clusters run on {stage.cluster}: name one of {names} "
                         "with --virtual-cluster")  # fmt: skip
    return found[0][0]


def image(ecr: "ECRClient", repository: str, uri: str, wanted: str | None) -> str:
    """Return ``repository@sha256:…`` of the tag or digest that is wanted, by default of the newest tag.

    Raises
    ------
    UsageError
        If there is no such image.
    """
    if wanted is not None and "/" in wanted:
        return wanted
    if wanted == "":
        raise UsageError("--image is empty: give a tag or a digest, or leave it out")
    pages = ecr.get_paginator("describe_images").paginate(
        repositoryName=repository, filter={"tagStatus": "TAGGED"}
    )
    try:
        images: list[ImageDetailTypeDef] = [one for page in pages for one in page["imageDetails"]]
    except ecr.exceptions.RepositoryNotFoundException:
        images = []
    if wanted is not None:
        images = [one for one in images if wanted == one["imageDigest"] or wanted in one["imageTags"]]
    if not images:
        what = f"no image {wanted}" if wanted else "no image yet"
        raise UsageError(
            f"there is {what} in repository {repository}: push one with "
            f"./scripts/push-image.sh --repository {repository}"
        )
    newest = max(images, key=lambda one: one["imagePushedAt"])
    return f"{uri}@{newest['imageDigest']}"


def check_residency(
    session: "Session", plan: Plan, locations: Iterable[str], regions: tuple[str, ...]
) -> None:
    """Refuse a run any part of which would be outside the EU, as the job itself will.

    Raises
    ------
    ResidencyError
        With what is elsewhere: the region, a bucket, the image, the key.
    """
    if plan.region not in regions:
        raise ResidencyError(f"region {plan.region} is not among {', '.join(regions)}")
    registry = ECR.fullmatch(plan.image)
    if registry is None:
        raise ResidencyError(f"image {plan.image} is not one of ECR's by digest: push it to the EU")
    key = ARN.fullmatch(plan.made["KeyArn"])
    for what, region in (("image", registry[1]), ("key", key[1] if key else "an unknown region")):
        if region not in EU_REGIONS:
            raise ResidencyError(f"the {what} is in {region}, which is not among {', '.join(EU_REGIONS)}")
    s3: S3Client = session.client("s3", config=RETRIES)
    for bucket in sorted({split(one)[0] for one in locations} | {plan.made["LogsBucket"]}):
        if (region := _bucket_region(s3, bucket)) not in regions:
            raise ResidencyError(f"bucket {bucket!r} is in {region}, which is not among {', '.join(regions)}")


def _bucket_region(s3: "S3Client", bucket: str) -> str:
    """Ask S3 where a bucket is; it says so even to those who may not use the bucket."""
    try:
        answer: Any = s3.head_bucket(Bucket=bucket)["ResponseMetadata"]
    except ClientError as error:
        answer = error.response["ResponseMetadata"]
    if answer.get("HTTPStatusCode") == 404:
        raise UsageError(f"there is no bucket {bucket!r}: check the name")
    region = answer.get("HTTPHeaders", {}).get("x-amz-bucket-region")
    if not region:
        raise AwsRefusedError(f"S3 does not say where bucket {bucket!r} is: check the credentials")
    return str(region)


def beyond(plan: Plan, inputs: Iterable[str], output: str) -> list[str]:
    """Return the locations that the run's role, as the stack made it, may not use."""
    photos = f"s3://{plan.made['PhotosBucket']}/photos"
    results = f"s3://{plan.made['ResultsBucket']}/results"
    wrong = [one for one in inputs if not f"{one}/".startswith(f"{photos}/")]
    return wrong + ([] if f"{output}/".startswith(f"{results}/") else [output])


def upload(session: "Session", plan: Plan) -> None:
    """Put a run's pod templates where EMR, as the job's role, reads them."""
    s3: S3Client = session.client("s3", config=RETRIES)
    bucket, _, prefix = plan.submission.removeprefix("s3://").partition("/")
    for name, text in run_request.pod_templates(plan).items():
        s3.put_object(
            Bucket=bucket,
            Key=f"{prefix}/{name}",
            Body=text.encode(),
            ContentType="application/yaml",
            ServerSideEncryption="aws:kms",
            SSEKMSKeyId=plan.made["KeyArn"],
        )


def known(
    emr: "EMRContainersClient", cluster: str, name: str, arguments: tuple[str, ...]
) -> dict[str, Any] | None:
    """Return the run that a name already stands for, if there is one.

    Raises
    ------
    UsageError
        If it failed, was cancelled, or does something else.
    """
    found = named(emr, cluster, name)
    if found is None:
        return None
    if found["state"] in ("FAILED", "CANCELLED"):
        raise UsageError(f"run {name} has ended, {found['state']}: choose another --run-id to try again")
    theirs = found.get("jobDriver", {}).get("sparkSubmitJobDriver", {}).get("entryPointArguments")
    if theirs is not None and tuple(theirs) != arguments:
        raise UsageError(f"run {name} is another one, with {' '.join(theirs)}: choose another --run-id")
    return found


def find(emr: "EMRContainersClient", cluster: str, run: str) -> dict[str, Any]:
    """Return a run by its name or by EMR's id; of several of one name the newest.

    Raises
    ------
    UsageError
        If there is no such run.
    """
    found = named(emr, cluster, run)
    if found is None and re.fullmatch("[0-9a-z]{1,64}", run):
        try:
            return dict(emr.describe_job_run(virtualClusterId=cluster, id=run)["jobRun"])
        except (emr.exceptions.ResourceNotFoundException, emr.exceptions.ValidationException):
            pass
    if found is None:
        raise UsageError(f"there is no run {run} on virtual cluster {cluster}: ./scripts/submit.sh list")
    return found


def named(emr: "EMRContainersClient", cluster: str, name: str) -> dict[str, Any] | None:
    """Return the newest run of a name, if there is one."""
    pages = emr.get_paginator("list_job_runs").paginate(virtualClusterId=cluster, name=name)
    found: list[dict[str, Any]] = [
        dict(one) for page in pages for one in page["jobRuns"] if one.get("name") == name
    ]
    return max(found, key=lambda one: one["createdAt"], default=None)
