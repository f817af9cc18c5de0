"""What a photo's path says of it: the name of its folder, and whether that is of ``Training`` or ``Test``."""

from functools import lru_cache

from job.storage import store


def label_and_split(path: str) -> tuple[str | None, str | None]:
    """Return the name of a photo's folder, and ``Training`` or ``Test`` if the folder above says so."""
    return _of_folder(path.rpartition("/")[0])


@lru_cache(maxsize=1024)
def _of_folder(folder: str) -> tuple[str | None, str | None]:
    # The first part is a bucket's name, or the empty string before the root: neither is a folder.
    names = store.original_path(folder).removeprefix("s3://").split("/")[1:]
    # A name that is not UTF-8 cannot stand in a table.
    label = names[-1].encode("utf-8", "backslashreplace").decode() if names else None
    split = names[-2] if len(names) > 1 and names[-2] in ("Training", "Test") else None
    return label or None, split
