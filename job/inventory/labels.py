"""What a photo's path says of it: the name of its folder, and its split, if the folder above is named so."""

import unicodedata
from functools import lru_cache
from typing import Final

from job.storage import store

# Names of splits, in any case, as Fruits-360 and other datasets have them.
SPLITS: Final = {
    "training": "Training",
    "train": "Training",
    "validation": "Validation",
    "valid": "Validation",
    "val": "Validation",
    "test": "Test",
}


def label_and_split(path: str) -> tuple[str | None, str | None]:
    """Return the name of a photo's folder, and ``Training``, ``Validation`` or ``Test`` by the folder above.

    A label is composed (Unicode's NFC): zips made on a Mac hold the same name decomposed.
    """
    return _of_folder(path.rpartition("/")[0])


@lru_cache(maxsize=1024)
def _of_folder(folder: str) -> tuple[str | None, str | None]:
    # The first part is a bucket's name, or the empty string before the root: neither is a folder.
    names = store.original_path(folder).removeprefix("s3://").split("/")[1:]
    # A name that is not UTF-8 cannot stand in a table.
    label = names[-1].encode("utf-8", "backslashreplace").decode() if names else ""
    split = SPLITS.get(names[-2].lower()) if len(names) > 1 else None
    return unicodedata.normalize("NFC", label) or None, split
