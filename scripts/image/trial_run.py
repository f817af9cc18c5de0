"""One real run of the job in an image: fruit drawn by the image's own Python, then run-docker.sh on it."""

import io
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Final

from scripts.image.containers import RIGHTS, ContainerError

ROOT: Final = Path(__file__).resolve().parents[2]
PYTHON: Final = "/opt/fruits/venv/bin/python"
EACH: Final = 5  # photos of a kind


def trial_run(image: str) -> tuple[int, str, dict[str, int]]:
    """Run the job in an image, on fruit.

    Returns
    -------
    exit_code, said, counts
        run-docker.sh's exit code, the last line that it printed, and if the code is 0 how many photos were
        ``drawn``, ``listed``, ``featurized`` and ``rejected``.

    Raises
    ------
    ContainerError
        If the image cannot even draw.
    """
    with tempfile.TemporaryDirectory(prefix="trial-") as folder:
        _draw(image, Path(folder))
        photos, output = Path(folder, "drawn"), Path(folder, "output")
        command = [str(ROOT / "scripts" / "run-docker.sh"), "--image", image, "--log-format", "json"]
        command += ["--input", str(photos), "--output", str(output)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        said = (done.stdout.strip() or done.stderr.strip() or "nothing").splitlines()[-1]
        if done.returncode:
            return done.returncode, said, {}
        (record,) = (json.loads(file.read_text()) for file in (output / "runs").glob("*.json"))
        counts = {name: int(record["counts"][name]) for name in ("listed", "featurized", "rejected")}
        return 0, said, {"drawn": len(list(photos.rglob("*.jpg"))), **counts}


def _draw(image: str, folder: Path) -> None:
    """Draw fruit with the image's own Python; in and out as streams, so that the files are ours."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        tar.add(ROOT / "scripts" / "fruit", "scripts/fruit")
    script = f"cd /tmp && tar -x && {PYTHON} -m scripts.fruit.draw drawn --photos {EACH} >&2 && tar -c drawn"
    words = ["docker", "run", *RIGHTS, "--interactive", "--tmpfs", "/tmp"]  # noqa: S108 (the container's)
    words += ["--entrypoint", "/bin/sh", image, "-c", script]
    drawn = subprocess.run(words, input=sink.getvalue(), capture_output=True, check=False)
    if drawn.returncode:
        raise ContainerError(f"no fruit could be drawn: {drawn.stderr.decode().strip().splitlines()[-1:]}")
    # With the modes that they were made with: the container's user must read them, whatever our umask.
    subprocess.run(["tar", "-xp", "-C", str(folder)], input=drawn.stdout, check=True)
    folder.chmod(0o755)
