"""The requests to AWS before a run starts: virtual cluster, image, regions, earlier runs, pod templates."""

import json
import re
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from job.errors import JobError, ResidencyError, UsageError
from job.storage import aws, residency
from job.storage.residency import EU_REGIONS
from job.storage.s3 import split
from scripts.cloud import run_request
from scripts.cloud.aws_session import RETRIES, AwsRefusedError
from scripts.cloud.run_request import Plan
from scripts.cloud.stage import ARCHITECTURE, Stage

if TYPE_CHECKING:
    from boto3 import Session
    from mypy_boto3_ecr import ECRClient
    from mypy_boto3_ecr.type_defs import ImageDetailTypeDef
    from mypy_boto3_emr_containers import EMRContainersClient
    from mypy_boto3_s3 import S3Client

ECR: Final = re.compile(
    r"(?P<registry>[0-9]{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com/"
    r"(?P<repository>[a-z0-9._/-]+)@(?P<digest>sha256:[0-9a-f]{64})"
)
# The seconds that ECR's storage has for an image's configuration.
CONFIGURATION_TIMEOUT: Final = 10
# What may go wrong on the way to an image's processor: AWS, its storage, or a manifest of another form.
PROCESSOR_ERRORS: Final = (
    BotoCoreError, ClientError, ResponseParserError, HTTPException,
    OSError, LookupError, TypeError, ValueError,
)  # fmt: skip
MANIFEST_TYPES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
ARN: Final = re.compile(r"arn:aws[a-z-]*:[a-z0-9-]+:([a-z0-9-]*):.*")


def virtual_cluster_id(emr: "EMRContainersClient", stage: Stage, chosen: str | None) -> str:
    """Return the id of the stage's virtual cluster, or of the chosen one if it runs.

    Raises
    ------
    UsageError
        If there is none that runs, or more than one.
    """
    pages = emr.get_paginator("list_virtual_clusters").paginate(
        containerProviderId=stage.cluster, containerProviderType="EKS", states=["RUNNING"]
    )
    running = sorted(
        (cluster["id"], cluster["name"]) for page in pages for cluster in page["virtualClusters"]
    )
    if chosen is not None:
        if chosen not in {cluster_id for cluster_id, _ in running}:
            names = ", ".join(cluster_id for cluster_id, _ in running) or "none"
            raise UsageError(f"virtual cluster {chosen} does not run on {stage.cluster}: there is {names}")
        return chosen
    if not running:
        raise UsageError(
            f"no virtual cluster runs on EKS cluster {stage.cluster}: make it with {stage.up_command}"
        )
    if len(running) > 1:
        names = ", ".join(f"{cluster_id} ({name})" for cluster_id, name in running)
        raise UsageError(f"{len(running)} virtual clusters run on {stage.cluster}: name one of {names} "
                         "with --virtual-cluster")  # fmt: skip
    return running[0][0]


def image_by_digest(
    ecr: "ECRClient", stage: Stage, stack_outputs: Mapping[str, str], reference: str | None
) -> str:
    """Return ``repository@sha256:…`` of a tag or digest, by default of the newest tag.

    Raises
    ------
    UsageError
        If there is no such image.
    """
    if reference is not None and "/" in reference:
        return reference
    if reference == "":
        raise UsageError("--image is empty: give a tag or a digest, or leave it out")
    repository = stack_outputs["RepositoryName"]
    pages = ecr.get_paginator("describe_images").paginate(
        repositoryName=repository, filter={"tagStatus": "TAGGED"}
    )
    try:
        images: list[ImageDetailTypeDef] = [detail for page in pages for detail in page["imageDetails"]]
    except ecr.exceptions.RepositoryNotFoundException:
        images = []
    if reference is not None:
        images = [image for image in images if reference in (image["imageDigest"], *image["imageTags"])]
    if not images:
        missing = f"no image {reference}" if reference else "no image yet"
        raise UsageError(f"there is {missing} in repository {repository}: push one with {stage.push_command}")
    newest = max(images, key=lambda detail: detail["imagePushedAt"])
    return f"{stack_outputs['RepositoryUri']}@{newest['imageDigest']}"


def check_residency(
    session: "Session", plan: Plan, locations: Iterable[str], regions: tuple[str, ...]
) -> None:
    """Refuse a run of which a part is outside the EU, before the job itself does.

    Raises
    ------
    ResidencyError
        If the region, a bucket, the image or the key is elsewhere.
    """
    if plan.region not in regions:
        raise ResidencyError(f"region {plan.region} is not among {', '.join(regions)}")
    image = ECR.fullmatch(plan.image)
    if image is None:
        raise ResidencyError(f"image {plan.image} is not one of ECR's by digest: push it to the EU")
    key = ARN.fullmatch(plan.stack_outputs["KeyArn"])
    for resource, region in (("image", image["region"]), ("key", key[1] if key else "an unknown region")):
        if region not in EU_REGIONS:
            raise ResidencyError(f"the {resource} is in {region}, which is not among {', '.join(EU_REGIONS)}")
    s3: S3Client = session.client("s3", config=RETRIES)
    buckets = sorted({split(location)[0] for location in locations} | {plan.stack_outputs["LogsBucket"]})
    check_buckets(s3, buckets, regions)


def check_buckets(s3: "S3Client", buckets: Sequence[str], regions: Sequence[str]) -> None:
    """Refuse buckets outside the accepted regions: raises ResidencyError."""
    residency.check_buckets(buckets, regions, lambda bucket: _bucket_region(s3, bucket))


def architecture_warnings(session: "Session", plan: Plan) -> list[str]:
    """Return a warning if the processor of a run's image cannot be determined.

    Raises
    ------
    UsageError
        If the nodes cannot run the image.
    """
    try:
        architectures = image_architectures(session, plan.image)
    except PROCESSOR_ERRORS as error:
        code = error.response["Error"].get("Code") if isinstance(error, ClientError) else None
        reason = code or type(error).__name__
        return [f"ECR does not tell the image's processor ({reason}); the nodes are {ARCHITECTURE}"]
    if architectures and ARCHITECTURE not in architectures:
        raise UsageError(
            f"image {plan.image} is for {', '.join(sorted(architectures))}, and the nodes are "
            f"{ARCHITECTURE}: make a new commit, because tags never move, then "
            f"./scripts/build-image.sh --release and {Stage(plan.stage).push_command}"
        )
    return [] if architectures else [f"the image's index names no processor; the nodes are {ARCHITECTURE}"]


def image_architectures(session: "Session", image: str) -> set[str]:
    """Return the processors that ``repository@sha256:…`` is for, from its manifest or its configuration."""
    place = ECR.fullmatch(image)
    if place is None:
        raise ValueError(f"{image} is not in ECR")
    ecr: ECRClient = session.client("ecr", region_name=place["region"], config=RETRIES)
    answer = ecr.batch_get_image(
        registryId=place["registry"],
        repositoryName=place["repository"],
        imageIds=[{"imageDigest": place["digest"]}],
        acceptedMediaTypes=[*MANIFEST_TYPES],
    )
    manifest = json.loads(answer["images"][0]["imageManifest"])
    if "manifests" in manifest:  # of several processors; attestations are for "unknown"
        architectures = {str(entry["platform"]["architecture"]) for entry in manifest["manifests"]}
        return architectures - {"unknown"}
    configuration_url = ecr.get_download_url_for_layer(
        registryId=place["registry"],
        repositoryName=place["repository"],
        layerDigest=manifest["config"]["digest"],
    )["downloadUrl"]
    with urllib.request.urlopen(configuration_url, timeout=CONFIGURATION_TIMEOUT) as response:  # noqa: S310 (ECR's answer)
        return {str(json.load(response)["architecture"])}


def _bucket_region(s3: "S3Client", bucket: str) -> str:
    """Return a bucket's region; if S3 does not answer, the error has the exit code of submit.sh."""
    try:
        return aws.region_from_s3(s3, bucket)
    except UsageError:
        raise
    except JobError as error:
        raise AwsRefusedError(str(error)) from None


def inaccessible_locations(plan: Plan, inputs: Iterable[str], output: str) -> list[str]:
    """Return the locations that the job's role, as the stack defines it, may not use."""
    photos = f"s3://{plan.stack_outputs['PhotosBucket']}/photos"
    results = f"s3://{plan.stack_outputs['ResultsBucket']}/results"
    inaccessible = [location for location in inputs if not f"{location}/".startswith(f"{photos}/")]
    return inaccessible + ([] if f"{output}/".startswith(f"{results}/") else [output])


def upload_pod_templates(session: "Session", plan: Plan) -> None:
    """Upload a run's pod templates to S3, where EMR reads them as the job's role."""
    s3: S3Client = session.client("s3", config=RETRIES)
    bucket, _, prefix = plan.submission_prefix.removeprefix("s3://").partition("/")
    for name, text in run_request.pod_templates(plan).items():
        s3.put_object(
            Bucket=bucket,
            Key=f"{prefix}/{name}",
            Body=text.encode(),
            ContentType="application/yaml",
            ServerSideEncryption="aws:kms",
            SSEKMSKeyId=plan.stack_outputs["KeyArn"],
        )


def existing_run(
    emr: "EMRContainersClient", virtual_cluster: str, name: str, arguments: tuple[str, ...]
) -> dict[str, Any] | None:
    """Return the run that already has a name; None if there is none.

    Raises
    ------
    UsageError
        If it failed, was cancelled, or has other arguments.
    """
    run = newest_run(emr, virtual_cluster, name)
    if run is None:
        return None
    if run["state"] in ("FAILED", "CANCELLED"):
        raise UsageError(f"run {name} has ended, {run['state']}: choose another --run-id to try again")
    submitted = run.get("jobDriver", {}).get("sparkSubmitJobDriver", {}).get("entryPointArguments")
    if submitted is not None and tuple(submitted) != arguments:
        raise UsageError(f"run {name} is another one, with {' '.join(submitted)}: choose another --run-id")
    return run


def find_run(emr: "EMRContainersClient", virtual_cluster: str, name: str) -> dict[str, Any]:
    """Return a run by its name or EMR's id; of several with one name, the newest.

    Raises
    ------
    UsageError
        If there is no such run.
    """
    run = newest_run(emr, virtual_cluster, name)
    if run is None and re.fullmatch("[0-9a-z]{1,64}", name):
        try:
            return dict(emr.describe_job_run(virtualClusterId=virtual_cluster, id=name)["jobRun"])
        except (emr.exceptions.ResourceNotFoundException, emr.exceptions.ValidationException):
            pass
    if run is None:
        raise UsageError(
            f"there is no run {name} on virtual cluster {virtual_cluster}: ./scripts/submit.sh list"
        )
    return run


def newest_run(emr: "EMRContainersClient", virtual_cluster: str, name: str) -> dict[str, Any] | None:
    """Return the newest run with a name; None if there is none."""
    pages = emr.get_paginator("list_job_runs").paginate(virtualClusterId=virtual_cluster, name=name)
    runs: list[dict[str, Any]] = [
        dict(run) for page in pages for run in page["jobRuns"] if run.get("name") == name
    ]
    return max(runs, key=lambda run: run["createdAt"], default=None)
