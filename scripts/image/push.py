"""Push the image of this revision to ECR: see ``--help``.

The last line on stdout is the image's permanent name, ``repository@sha256:…``. Docker gets the password from
a credential helper that asks ECR for it each time, so no file holds it.
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

from job.cli.parser import SentenceParser
from job.errors import JobError, UsageError
from scripts.cloud import aws_session
from scripts.cloud.docker_engine import ContainerError, docker
from scripts.cloud.exits import exit_code_of
from scripts.cloud.stage import ARCHITECTURE, STAGES, Stage, default_stage

if TYPE_CHECKING:
    from mypy_boto3_ecr import ECRClient

ROOT: Final = Path(__file__).resolve().parents[2]
LABEL: Final = "org.opencontainers.image."
CREDENTIAL_HELPER: Final = "fruits-ecr"
# The pattern of names in ECR's service model.
PART: Final = r"[a-z0-9]+((\.|__?|-+)[a-z0-9]+)*"
REPOSITORY_NAME: Final = re.compile(rf"(?=.{{2,256}}$){PART}(/{PART})*")


def main(arguments: Sequence[str] | None = None) -> int:
    """Push the image and return the exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line without the program's name; the process's own by default.
    """
    return exit_code_of(lambda: _push(_parse(arguments)), "interrupted; the same command goes on from there")


def _push(options: argparse.Namespace) -> int:
    """Push the image of this checkout's revision, unless ECR has it, and print its name by digest."""
    session = aws_session.session(options.profile, options.region)
    repository = options.repository or Stage(options.stage).repository
    if not REPOSITORY_NAME.fullmatch(repository):
        raise UsageError(
            f"--repository {repository}: ECR takes 2 to 256 lower-case letters and digits, "
            "with one of . _ - / between them"
        )
    revision = _revision()
    tag = revision[:12]
    image = f"{options.name}:{tag}"
    _check_image(image, revision)
    ecr: ECRClient = session.client("ecr")
    uri = _repository_uri(ecr, repository)
    digest = _digest(ecr, repository, tag)
    if digest is not None:
        print(f"{uri}:{tag} is there already; nothing is pushed")
    elif options.dry_run:
        print(f"would push {image} to {uri}:{tag}")
        return 0
    else:
        _docker_push(image, f"{uri}:{tag}", options.region, options.profile)
        digest = _digest(ecr, repository, tag)
        if digest is None:
            raise JobError(f"{uri}:{tag} was pushed, and ECR does not know it: look at the repository")
    print(f"{uri}@{digest}")
    return 0


def _revision() -> str:
    """Return the revision of this checkout.

    Raises
    ------
    UsageError
        If there is none, or files differ from it: nobody could build such an image again.
    """
    git = ["git", "-C", str(ROOT)]
    if shutil.which("git") is None:
        raise UsageError("git is needed, to know which revision this is")
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    if head.returncode:
        raise UsageError("this is no git checkout, so an image of it has no revision")
    revision = head.stdout.strip()
    changes = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True)
    if changes.stdout:
        raise UsageError(
            f"files differ from revision {revision[:12]}: commit, build with --release, then push"
        )
    return revision


def _check_image(image: str, revision: str) -> None:
    """Check that an image exists, is of a revision, names its base by digest, and fits the cluster's nodes.

    Raises
    ------
    UsageError
        If it does not.
    """
    try:
        facts: dict[str, Any] = json.loads(docker("image", "inspect", image))[0]
    except ContainerError as error:
        if "o such image" not in str(error):
            raise
        raise UsageError(
            f"there is no image {image}: build it with ./scripts/build-image.sh --release"
        ) from None
    labels = facts["Config"].get("Labels") or {}  # without labels, engines write null or nothing
    if labels.get(f"{LABEL}revision") != revision:
        raise UsageError(f"{image} is of revision {labels.get(f'{LABEL}revision')}: build it again")
    if "@sha256:" not in labels.get(f"{LABEL}base.name", ""):
        raise UsageError(f"{image} is built on a base without a digest: build it with --release")
    if facts["Architecture"] != ARCHITECTURE:
        raise UsageError(
            f"{image} is for {facts['Architecture']}, and the cluster's nodes are {ARCHITECTURE}: "
            "build it with ./scripts/build-image.sh --release"
        )


def _repository_uri(ecr: "ECRClient", name: str) -> str:
    """Return a repository's URI.

    Raises
    ------
    UsageError
        If there is no such repository, or its tags can be moved.
    """
    region = ecr.meta.region_name
    try:
        repository = ecr.describe_repositories(repositoryNames=[name])["repositories"][0]
    except ecr.exceptions.RepositoryNotFoundException:
        command = (
            f"aws ecr create-repository --region {region} --repository-name {name} "
            "--image-tag-mutability IMMUTABLE --image-scanning-configuration scanOnPush=true"
        )
        for stage in map(Stage, STAGES):
            if name == stage.repository:
                command = stage.up_command
        raise UsageError(f"there is no repository {name} in {region}: make it with {command}") from None
    if repository["imageTagMutability"] != "IMMUTABLE":
        raise UsageError(
            f"the tags of repository {name} can be moved: make them immutable with "
            f"aws ecr put-image-tag-mutability --region {region} --repository-name {name} "
            "--image-tag-mutability IMMUTABLE"
        )
    return str(repository["repositoryUri"])


def _digest(ecr: "ECRClient", repository: str, tag: str) -> str | None:
    """Return the digest of a tag in ECR, or None if the tag is not there."""
    missing = (ecr.exceptions.ImageNotFoundException, ecr.exceptions.RepositoryNotFoundException)
    try:
        response = ecr.describe_images(repositoryName=repository, imageIds=[{"imageTag": tag}])
        return str(response["imageDetails"][0]["imageDigest"])
    except missing:
        return None


def _docker_push(image: str, target: str, region: str, profile: str | None) -> None:
    """Push an image under the name `target`, which the engine has only meanwhile."""
    docker("tag", image, target)
    command = ["docker", "push", target]
    try:
        with _docker_environment(target.partition("/")[0], region, profile) as environment:
            result = subprocess.run(command, env=environment, stdout=sys.stderr, check=False)
    finally:
        if target != image:
            docker("rmi", "--no-prune", target)  # removes the name only
    if result.returncode:
        raise JobError(f"docker could not push {target}: see above")


@contextmanager
def _docker_environment(registry: str, region: str, profile: str | None) -> Iterator[dict[str, str]]:
    """Yield an environment in which docker gets a registry's password from ecr_login.py alone."""
    host = os.environ.get("DOCKER_HOST") or docker(
        "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"
    )
    with tempfile.TemporaryDirectory(prefix="ecr-") as folder:
        helper = Path(folder, f"docker-credential-{CREDENTIAL_HELPER}")
        script = str(Path(__file__).with_name("ecr_login.py"))
        command = [sys.executable, "-B", script, region, profile or ""]
        helper.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
        helper.chmod(0o700)
        Path(folder, "config.json").write_text(json.dumps({"credHelpers": {registry: CREDENTIAL_HELPER}}))
        path = f"{folder}{os.pathsep}{os.environ['PATH']}"
        yield {**os.environ, "PATH": path, "DOCKER_CONFIG": folder, "DOCKER_HOST": host}


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    region = aws_session.default_region()
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
    stage = default_stage()
    add("--stage", choices=STAGES, default=stage, help=f"stage whose repository to use (default {stage})")
    add("--repository", metavar="NAME", help="another ECR repository")
    add("--region", default=region, help=f"one of the EU's (default {region})")
    add("--profile", metavar="NAME", help="AWS profile (default the environment's)")
    add("--dry-run", action="store_true", help="look, and say what would be done")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
