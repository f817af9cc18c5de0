"""Docker options that make a container like an EMR on EKS pod, and ownership of the results.

The standard library only, but for S3: whoever has Docker and Python can use it. What a pod may do is what EMR
6.8 and later gave its pods when they were looked at: uid 999, gid 1000, a read-only root, no capability, no
new privilege, and its own volumes over the folders below.
"""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from job.errors import JobError

IMAGE: Final = "fruits:latest"
USER: Final = "999:1000"
# EMR mounts volumes over these; Spark unpacks native libraries in /tmp and runs them.
WRITABLE: Final = {
    "/tmp": "rw,exec,nosuid,nodev,mode=1777",  # noqa: S108 (the container's own)
    "/mnt": "rw,nosuid,nodev,uid=999,gid=1000,mode=755",
    "/home/hadoop": "rw,nosuid,nodev,uid=999,gid=1000,mode=755",
    "/var/log/fluentd": "rw,nosuid,nodev,uid=999,gid=1000,mode=755",
    "/var/log/spark/user": "rw,nosuid,nodev,uid=999,gid=1000,mode=755",
    "/var/log/spark/apps": "rw,nosuid,nodev,uid=999,gid=1000,mode=755",
}
# What every container is refused, whatever else it may.
RIGHTS: Final = (
    "--rm",
    "--read-only",
    "--network=none",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
)
# Of an output, this much is the job's if it has a table; whatever else lies there keeps its owner.
TABLE: Final = "photos/_delta_log"
NEW: Final = ("photos", "missing", "skipped", "_tasks")  # unknown to earlier versions
OURS: Final = (*NEW, "pca", "pca_csv", "moments", "models", "runs", "erasures")
# This, too, if an earlier version of the job has left its claim: --overwrite replaces it.
EARLIER_CLAIM: Final = "_input.json"
EARLIER: Final = ("features", "rejected", "inventory", "_replaced", "_compact", "_lock.json", EARLIER_CLAIM)
HAND_OVER: Final = (
    'cd /output && owner="$1" && shift && chown "$owner" . && for name in "$@"; do '
    'if [ -e "$name" ]; then chown -hR "$owner" "$name" || exit 1; fi; done'
)


class ContainerError(JobError):
    """Something a person can mend, in one sentence; `exit_code` says what kind."""

    def __init__(self, sentence: str, exit_code: int = 1) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


def docker(*words: str, data: str | None = None) -> str:
    """Run a docker command, with `data` as its stdin, and return what it printed.

    Raises
    ------
    ContainerError
        If there is no docker, or it fails: with the last line of what it says.
    """
    try:
        done = subprocess.run(
            ["docker", *words], input=data, capture_output=True, text=True, check=False, process_group=0
        )
    except FileNotFoundError:
        raise ContainerError("docker was not found: install Docker Engine or Docker Desktop") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise ContainerError(f"docker {words[0]}: {said}")
    return done.stdout.strip()


def require_image(image: str) -> None:
    """Refuse, in one sentence, an engine that does not answer and an image that it does not have."""
    docker("version", "--format", "{{.Server.Version}}")
    try:
        docker("image", "inspect", "--format", "{{.Id}}", image)
    except ContainerError:
        built = "build it with ./scripts/build-image.sh"
        raise ContainerError(f"there is no image {image} here: {built}", 2) from None


def pod(network: str) -> list[str]:
    """Return the options of ``docker run`` that make a container what a pod of EMR is."""
    flags = [*RIGHTS, "--user", USER]
    if network == "none":
        flags.append("--hostname=localhost")  # Java asks what its host is called, and nobody else would know
    else:
        flags[flags.index("--network=none")] = f"--network={network}"
    for folder, options in WRITABLE.items():
        flags += ["--tmpfs", f"{folder}:{options}"]
    return flags


def bind(folder: Path, *, read_only: bool) -> list[str]:
    """Return the options that mount a folder at its own path, so that tables hold the host's paths."""
    # As CSV, for docker splits at commas; quotes in it are doubled.
    fields = ["type=bind", f"source={folder}", f"target={folder}", *(["readonly"] if read_only else [])]
    quoted = ['"' + field.replace('"', '""') + '"' if set(field) & set('",\n') else field for field in fields]
    return ["--mount", ",".join(quoted)]


def ours(output: Path) -> list[str]:
    """Return the names of the job's folders in an output, existing or not.

    Raises
    ------
    ContainerError
        If something has such a name and is not the job's.
    OSError
        If the output may not be looked into.
    """
    is_earlier = (output / EARLIER_CLAIM).exists()
    if not (output / TABLE).exists():
        for name in NEW if is_earlier else OURS:
            if (output / name).exists():
                raise ContainerError(f"output {output} has {name}, not the job's: choose another --output", 2)
    return [*OURS, *(EARLIER if is_earlier else ())]


def hand_over(image: str, output: Path, names: Sequence[str], owner: str) -> None:
    """Change the owner (``uid:gid``) of an output folder and of the named entries in it.

    It takes root, which only the engine has; the container has no network and can do nothing else.
    """
    rights = ["CHOWN", "DAC_READ_SEARCH", "FOWNER"]
    flags = [*RIGHTS, "--user", "0:0", *(f"--cap-add={right}" for right in rights)]
    where = ["--mount", bind(output, read_only=False)[1].replace(f"target={output}", "target=/output")]
    script = ["--entrypoint", "/bin/sh", image, "-c", HAND_OVER, "hand-over", owner, *names]
    docker("run", *flags, *where, *script)


def me() -> str:
    """Return this user's ``uid:gid`` as Docker sees it: ``0:0`` if Docker is rootless."""
    rootless = "rootless" in docker("info", "--format", "{{.SecurityOptions}}")
    return "0:0" if rootless else f"{os.getuid()}:{os.getgid()}"


def credentials(profile: str | None) -> str:
    """Return the user's AWS credentials and region as lines ``NAME=value``, whatever their profile uses.

    Raises
    ------
    ContainerError
        If there are none, or they have expired.
    """
    import boto3  # noqa: PLC0415 (only S3 needs it, and a machine that runs images may not have it)
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415

    try:
        session = boto3.Session(profile_name=profile)
        found = session.get_credentials()
        frozen = found.get_frozen_credentials() if found else None
    except BotoCoreError as error:
        # The name alone: the text can quote what a credential process printed.
        raise ContainerError(
            f"no AWS credentials for s3:// ({type(error).__name__}): log in again", 2
        ) from None
    if frozen is None or not frozen.access_key:
        raise ContainerError("no AWS credentials for s3://: set AWS_PROFILE, or name one with --profile", 2)
    names = {
        "AWS_ACCESS_KEY_ID": frozen.access_key,
        "AWS_SECRET_ACCESS_KEY": frozen.secret_key,
        "AWS_SESSION_TOKEN": frozen.token,
        "AWS_REGION": session.region_name,
    }
    return "\n".join(f"{name}={value}" for name, value in names.items() if value)
