"""Docker options that make a container like an EMR on EKS pod, and the owner of a run's results.

It needs the standard library alone, and boto3 only for S3, so that Docker and Python suffice. The
restrictions are those of real pods of EMR 6.8 and later: uid 999, gid 1000, a read-only root, no capability,
no new privilege, and volumes over the folders below.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from job.errors import UsageError
from scripts.cloud.docker_engine import docker
from scripts.cloud.pod_limits import POD_USER, WRITABLE

# Every container has these options, whatever else it is given.
RESTRICTIONS: Final = (
    "--rm",
    "--read-only",
    "--network=none",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
)
# An output that has this is the job's. Then so are the entries below; any other entry keeps its owner.
TABLE_LOG: Final = "photos/_delta_log"
NEW_ENTRIES: Final = (
    "photos",
    "missing",
    "skipped",
    "_tasks",
    "predictions",
    "report.html",
)  # earlier versions of the job did not write these
OUTPUT_ENTRIES: Final = (*NEW_ENTRIES, "pca", "pca_csv", "moments", "models", "runs", "erasures")
# Entries of an earlier version of the job, which has left its provenance; --overwrite replaces them.
EARLIER_PROVENANCE: Final = "_input.json"
EARLIER_ENTRIES: Final = (
    "features",
    "rejected",
    "inventory",
    "_replaced",
    "_compact",
    "_lock.json",
    EARLIER_PROVENANCE,
)
CHANGE_OWNER: Final = (
    'cd /output && owner="$1" && shift && chown "$owner" . && for name in "$@"; do '
    'if [ -e "$name" ]; then chown -hR "$owner" "$name" || exit 1; fi; done'
)


def pod_options(network: str) -> list[str]:
    """Return the options of ``docker run`` that restrict a container as EMR restricts a pod."""
    options = [*RESTRICTIONS, "--user", POD_USER]
    if network == "none":
        options.append("--hostname=localhost")  # Java looks up its host's name, which nothing else resolves
    else:
        options[options.index("--network=none")] = f"--network={network}"
    for folder, mount in WRITABLE.items():
        options += ["--tmpfs", f"{folder}:{mount}"]
    return options


def mount_options(folder: Path, *, read_only: bool, target: Path | None = None) -> list[str]:
    """Return the options that mount a folder, by default at its own path: tables hold the host's paths."""
    fields = ["type=bind", f"source={folder}", f"target={target or folder}"]
    fields += ["readonly"] if read_only else []
    # Docker reads the fields as CSV: they are split at commas, and a quote in a quoted field is doubled.
    quoted = ['"' + field.replace('"', '""') + '"' if set(field) & set('",\n') else field for field in fields]
    return ["--mount", ",".join(quoted)]


def output_entries(output: Path) -> list[str]:
    """Return the names of the job's entries in an output, whether or not they exist.

    Raises
    ------
    UsageError
        If something else has one of these names.
    OSError
        If the output cannot be read.
    """
    has_earlier = (output / EARLIER_PROVENANCE).exists()
    if not (output / TABLE_LOG).exists():
        for name in NEW_ENTRIES if has_earlier else OUTPUT_ENTRIES:
            if (output / name).exists():
                raise UsageError(f"output {output} has {name}, not the job's: choose another --output")
    return [*OUTPUT_ENTRIES, *(EARLIER_ENTRIES if has_earlier else ())]


def change_owner(image: str, output: Path, names: Sequence[str], owner: str) -> None:
    """Change the owner (``uid:gid``) of an output folder and of the named entries in it.

    Only root may do so, and only the engine has root: a container without a network runs one script.
    """
    capabilities = ["CHOWN", "DAC_READ_SEARCH", "FOWNER"]
    options = [*RESTRICTIONS, "--user", "0:0", *(f"--cap-add={name}" for name in capabilities)]
    options += mount_options(output, read_only=False, target=Path("/output"))
    script = ["--entrypoint", "/bin/sh", image, "-c", CHANGE_OWNER, "change-owner", owner, *names]
    docker("run", *options, *script)


def user_and_group() -> str:
    """Return this user's ``uid:gid`` as containers see it: ``0:0`` if Docker is rootless."""
    is_rootless = "rootless" in docker("info", "--format", "{{.SecurityOptions}}")
    return "0:0" if is_rootless else f"{os.getuid()}:{os.getgid()}"


def aws_variables(profile: str | None) -> str:
    """Return a profile's AWS credentials and region as lines ``NAME=value``.

    Raises
    ------
    BotoCoreError, ClientError
        If there are none, or they have expired.
    """
    from scripts.cloud import aws_session  # noqa: PLC0415 (boto3: a machine that runs images may lack it)

    return "\n".join(f"{name}={value}" for name, value in aws_session.variables(profile).items())
