"""The folder that receives the results of a run on a local cluster."""

import shutil
import tempfile
from pathlib import Path
from typing import Final

from job.errors import DataError, UsageError
from scripts.kubernetes.object_store import ObjectStore

# A folder that has this holds an earlier run's results, which the next ones replace.
TABLE_LOG: Final = "photos/_delta_log"
REPORT: Final = "report.html"


def check(folder: Path) -> None:
    """Refuse a folder that holds something else than a run's results.

    Raises
    ------
    UsageError
        If its content would be lost, or if it cannot be written.
    """
    try:
        if folder.exists() and any(folder.iterdir()) and not (folder / TABLE_LOG).exists():
            raise UsageError(
                f"--output {folder} holds other things, which results would replace: choose another"
            )
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--output {folder} cannot be used: {error.strerror}") from None


def fetch(store: ObjectStore, bucket: str, prefix: str, folder: Path) -> None:
    """Download results beside a folder, and put them in its place when they are complete."""
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        if not store.download(bucket, prefix, fresh):
            return
        fresh.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def photo_folder(text: str) -> Path:
    """Return a folder of photos on this machine.

    Raises
    ------
    UsageError
        If it is in S3, or no folder.
    DataError
        If it is empty.
    """
    if "://" in text:
        raise UsageError(
            f"--input {text}: a local cluster reaches no S3 but its own: give a folder, or a --context"
        )
    folder = Path(text).expanduser().absolute()
    if not folder.is_dir():
        raise UsageError(f"--input {text} is no folder on this machine")
    if not any(path.is_file() for path in folder.rglob("*")):
        raise DataError(f"--input {text} has no files")
    return folder
