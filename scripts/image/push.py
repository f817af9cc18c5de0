"""Push the image of this revision to ECR: see ``--help``.

The last line on stdout is ``repository@sha256:…``, which names the image for ever. Docker gets the password
from a credential helper that asks ECR for it each time, so that it is never in a file.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from job.cli.parser import SentenceParser
from job.errors import JobError, ResidencyError, UsageError
from job.storage.residency import EU_REGIONS
from scripts.cloud.aws_session import default_region
from scripts.image.containers import ContainerError, docker

if TYPE_CHECKING:
    from mypy_boto3_ecr import ECRClient

ROOT: Final = Path(__file__).resolve().parents[2]
LABEL: Final = "org.opencontainers.image."
HELPER: Final = "fruits-ecr"
# What ECR's service model allows.
PART: Final = r"[a-z0-9]+((\.|__?|-+)[a-z0-9]+)*"
REPOSITORY: Final = re.compile(rf"(?=.{{2,256}}$){PART}(/{PART})*")


def main(arguments: Sequence[str] | None = None) -> int:
    """Push, and return the exit code: 2 for wrong arguments, 4 for a region outside the EU, 1 otherwise.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line without the program's name; the process's own by default.
    """
    try:
        given = _parse(arguments)
        return _push(given)
    except JobError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("error: interrupted; the same command goes on from there", file=sys.stderr)
        return 130
    except ClientError as error:
        said = error.response["Error"]
        reason = f"{error.operation_name}: {said['Code']}"
        print(f"error: ECR refuses {reason}: check the profile and its rights", file=sys.stderr)
        return 1
    except BotoCoreError as error:
        # The name alone: the text can quote what a credential process printed.
        name = type(error).__name__
        print(
            f"error: AWS could not be asked ({name}): log in, name a profile with --profile, "
            "or look at the network",
            file=sys.stderr,
        )
        return 1


def _push(given: argparse.Namespace) -> int:
    region = given.region
    if region not in EU_REGIONS:
        raise ResidencyError(f"region {region} is not one of the EU's: {', '.join(EU_REGIONS)}")
    if not REPOSITORY.fullmatch(given.repository):
        raise UsageError(
            f"--repository {given.repository}: ECR takes 2 to 256 lower-case letters and digits, "
            "with one of . _ - / between them"
        )
    revision = _revision()
    tag = revision[:12]
    image = f"{given.name}:{tag}"
    _require(image, revision)
    ecr: ECRClient = boto3.Session(profile_name=given.profile, region_name=region).client("ecr")
    uri = _repository(ecr, given.repository, dry_run=given.dry_run)
    digest = _pushed(ecr, given.repository, tag)
    if digest is not None:
        print(f"{uri}:{tag} is there already; nothing is pushed")
    elif given.dry_run:
        print(f"would push {image} to {uri}:{tag}")
        return 0
    else:
        _upload(image, f"{uri}:{tag}", region, given.profile)
        digest = _pushed(ecr, given.repository, tag)
        if digest is None:
            raise JobError(f"{uri}:{tag} was pushed, and ECR does not know it: look at the repository")
    print(f"{uri}@{digest}")
    return 0


def _revision() -> str:
    """Return the revision of this checkout; what nobody can build again is not pushed."""
    git = ["git", "-C", str(ROOT)]
    if shutil.which("git") is None:
        raise UsageError("git is needed, to know which revision this is")
    done = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UsageError("this is no git checkout, so an image of it has no revision")
    revision = done.stdout.strip()
    changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True)
    if changed.stdout:
        raise UsageError(
            f"files differ from revision {revision[:12]}: commit, build with --release, then push"
        )
    return revision


def _require(image: str, revision: str) -> None:
    """Refuse an image that is not there, is of other files, or does not say which base it was built on."""
    try:
        found: dict[str, Any] = json.loads(docker("image", "inspect", image))[0]
    except ContainerError as error:
        if "o such image" not in str(error):
            raise
        raise UsageError(
            f"there is no image {image}: build it with ./scripts/build-image.sh --release"
        ) from None
    labels = found["Config"].get("Labels") or {}  # without any, engines say null or nothing
    if labels.get(f"{LABEL}revision") != revision:
        raise UsageError(f"{image} is of revision {labels.get(f'{LABEL}revision')}: build it again")
    if "@sha256:" not in labels.get(f"{LABEL}base.name", ""):
        raise UsageError(f"{image} is built on a base without a digest: build it with --release")


def _repository(ecr: "ECRClient", name: str, *, dry_run: bool) -> str:
    """Return a repository's URI; one that is missing is made, with tags that never move and scans on push."""
    try:
        found = ecr.describe_repositories(repositoryNames=[name])["repositories"][0]
    except ecr.exceptions.RepositoryNotFoundException:
        if dry_run:
            print(f"would make repository {name}: immutable tags, scan on push")
            return name
        found = ecr.create_repository(
            repositoryName=name,
            imageTagMutability="IMMUTABLE",
            imageScanningConfiguration={"scanOnPush": True},
        )["repository"]
        print(f"made repository {name}: immutable tags, scan on push")
    if found["imageTagMutability"] != "IMMUTABLE":
        raise UsageError(
            f"the tags of repository {name} can be moved: make them immutable with "
            f"aws ecr put-image-tag-mutability --region {ecr.meta.region_name} --repository-name {name} "
            "--image-tag-mutability IMMUTABLE"
        )
    return str(found["repositoryUri"])


def _pushed(ecr: "ECRClient", name: str, tag: str) -> str | None:
    """Return the digest of a tag in ECR, if it is there."""
    missing = (ecr.exceptions.ImageNotFoundException, ecr.exceptions.RepositoryNotFoundException)
    try:
        found = ecr.describe_images(repositoryName=name, imageIds=[{"imageTag": tag}])
        return str(found["imageDetails"][0]["imageDigest"])
    except missing:
        return None


def _upload(image: str, target: str, region: str, profile: str | None) -> None:
    docker("tag", image, target)
    try:
        with _login(target.partition("/")[0], region, profile) as environment:
            done = subprocess.run(["docker", "push", target], env=environment, stdout=sys.stderr, check=False)
    finally:
        if target != image:
            docker("rmi", "--no-prune", target)  # the name alone: the image keeps its own
    if done.returncode:
        raise JobError(f"docker could not push {target}: see above")


@contextmanager
def _login(registry: str, region: str, profile: str | None) -> Iterator[dict[str, str]]:
    """Give the environment of a docker that asks ecr_login.py, and nobody else, for the password."""
    host = os.environ.get("DOCKER_HOST") or docker(
        "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"
    )
    with tempfile.TemporaryDirectory(prefix="ecr-") as folder:
        helper = Path(folder, f"docker-credential-{HELPER}")
        program = str(Path(__file__).with_name("ecr_login.py"))
        command = [sys.executable, "-B", program, region, profile or ""]
        helper.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
        helper.chmod(0o700)
        Path(folder, "config.json").write_text(json.dumps({"credHelpers": {registry: HELPER}}))
        path = f"{folder}{os.pathsep}{os.environ['PATH']}"
        yield {**os.environ, "PATH": path, "DOCKER_CONFIG": folder, "DOCKER_HOST": host}


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    region = default_region()
    parser = SentenceParser(
        prog="./scripts/push-image.sh",
        description="Push the image of this revision to ECR and print its name by digest.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--name",
        default="fruits",
        help="local name of the image; its tag is the git revision (default fruits)",
    )
    add("--repository", default="fruits", help="ECR repository, made if it is missing (default fruits)")
    add("--region", default=region, help=f"one of the EU's (default {region})")
    add("--profile", metavar="NAME", help="AWS profile (default the environment's)")
    add("--dry-run", action="store_true", help="look, and say what would be done")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
