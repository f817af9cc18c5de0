"""Commands of Docker on this machine; it needs the standard library alone."""

import subprocess
from typing import Final

from job.errors import JobError, UsageError

DEFAULT_IMAGE: Final = "fruits:latest"


class ContainerError(JobError):
    """Docker is missing or refuses a command, or a container fails."""


def docker(*arguments: str, text: str | None = None) -> str:
    """Run a docker command, with `text` as its stdin, and return its stdout.

    Raises
    ------
    ContainerError
        If docker is missing, or fails: with the last line of its output.
    """
    try:
        result = subprocess.run(
            ["docker", *arguments], input=text, capture_output=True, text=True, check=False, process_group=0
        )
    except FileNotFoundError:
        raise ContainerError("docker was not found: install Docker Engine or Docker Desktop") from None
    if result.returncode:
        output = result.stderr.strip() or result.stdout.strip() or f"exit code {result.returncode}"
        raise ContainerError(f"docker {arguments[0]}: {output.splitlines()[-1]}")
    return result.stdout.strip()


def require_image(image: str) -> None:
    """Check that an engine answers and that it has an image.

    Raises
    ------
    ContainerError
        If no engine answers.
    UsageError
        If the engine lacks the image.
    """
    docker("version", "--format", "{{.Server.Version}}")
    try:
        docker("image", "inspect", "--format", "{{.Id}}", image)
    except ContainerError:
        build = "build it with ./scripts/build-image.sh"
        raise UsageError(f"there is no image {image} here: {build}") from None
