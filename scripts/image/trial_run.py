"""One run of the job in an image: the image's own Python draws fruit, and run-docker.sh runs on it."""

import io
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Final

from scripts.cloud.docker_engine import ContainerError
from scripts.image.containers import RESTRICTIONS

ROOT: Final = Path(__file__).resolve().parents[2]
PYTHON: Final = "/opt/fruits/venv/bin/python"
PHOTOS_A_KIND: Final = 5


def trial_run(image: str) -> tuple[int, str, dict[str, int]]:
    """Run the job in an image, on drawn fruit.

    Returns
    -------
    exit_code, last_line, counts
        run-docker.sh's exit code, the last line that it printed, and if the code is 0 the numbers of photos
        that were ``drawn``, ``listed``, ``featurized`` and ``rejected``.

    Raises
    ------
    ContainerError
        If the fruit cannot be drawn in the image.
    """
    with tempfile.TemporaryDirectory(prefix="trial-") as folder:
        _draw(image, Path(folder))
        photos, output = Path(folder, "drawn"), Path(folder, "output")
        command = [str(ROOT / "scripts" / "run-docker.sh"), "--image", image, "--log-format", "json"]
        command += ["--input", str(photos), "--output", str(output)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        last_line = (result.stdout.strip() or result.stderr.strip() or "nothing").splitlines()[-1]
        if result.returncode:
            return result.returncode, last_line, {}
        (record,) = (json.loads(file.read_text()) for file in (output / "runs").glob("*.json"))
        counts = {name: int(record["counts"][name]) for name in ("listed", "featurized", "rejected")}
        return 0, last_line, {"drawn": len(list(photos.rglob("*.jpg"))), **counts}


def _draw(image: str, folder: Path) -> None:
    """Draw fruit in a container; tar streams carry code in, and photos out, so that we own the photos."""
    code = io.BytesIO()
    with tarfile.open(fileobj=code, mode="w") as tar:
        tar.add(ROOT / "scripts" / "fruit", "scripts/fruit")
    draw = f"{PYTHON} -m scripts.fruit.draw drawn --photos {PHOTOS_A_KIND} >&2"
    command = ["docker", "run", *RESTRICTIONS, "--interactive", "--tmpfs", "/tmp"]  # noqa: S108 (the container's)
    command += ["--entrypoint", "/bin/sh", image, "-c", f"cd /tmp && tar -x && {draw} && tar -c drawn"]
    result = subprocess.run(command, input=code.getvalue(), capture_output=True, check=False)
    if result.returncode:
        raise ContainerError(f"no fruit could be drawn: {result.stderr.decode().strip().splitlines()[-1:]}")
    # -p keeps the photos' modes whatever the umask: the container's user must be able to read them.
    subprocess.run(["tar", "-xp", "-C", str(folder)], input=result.stdout, check=True)
    folder.chmod(0o755)
