"""What lies where in an output: the names of its folders and files.

Everything that is not of the table ``photos`` follows from it and can be made anew, but for the records.
"""

import secrets
from typing import Final, NamedTuple

PHOTOS: Final = "photos"  # the Delta table
PCA: Final = "pca"
PCA_CSV: Final = "pca_csv"
MOMENTS: Final = "moments"
MODELS: Final = "models"
RUNS: Final = "runs"
ERASURES: Final = "erasures"
TASKS: Final = "_tasks"  # what a run has to do, while it runs
MISSING: Final = "missing"  # the known photos that the last run did not find
FOLDERS: Final = (PHOTOS, PCA, PCA_CSV, MOMENTS, MODELS, RUNS, ERASURES, MISSING, TASKS)
CURRENT_MODEL: Final = f"{MODELS}/current.json"
ADDED_WITH_DELTA: Final = (PHOTOS, MISSING, TASKS)
# What outputs consisted of before there was a table.
EARLIER_CLAIM: Final = "_input.json"
EARLIER: Final = (
    *("features", "rejected", "inventory", "_replaced", "_compact"),
    *("_lock.json", EARLIER_CLAIM),
)

FEATURIZED: Final = "featurized"
REJECTED: Final = "rejected"


class DataFile(NamedTuple):
    """A file of the table ``photos``: its path below the table, its size, and its rows."""

    path: str
    bytes: int
    rows: int

    @property
    def outcome(self) -> str:
        """``featurized`` or ``rejected``."""
        return outcome_of(self.path)


class Report(NamedTuple):
    """What a task has done.

    `written` are new files of the table, and `replaced` the paths of those that they replace; `photos` is how
    many photos were judged, and `first` when the first of them was, in seconds since 1970.
    """

    task: int
    written: list[DataFile]
    replaced: list[str]
    photos: int
    first: float


def outcome_of(data_path: str) -> str:
    """Return what became of the photos of a file: ``featurized`` or ``rejected``."""
    return data_path.partition("/")[0].rpartition("=")[2]


def data_path(outcome: str, command: int, task: int, part: int) -> str:
    """Return the path of a new file of the table, which no other file has or will have.

    It holds the numbers of the command that writes it, of its task, and of the file among those of the task:
    in order of their names, files are in the order in which they came.
    """
    return f"outcome={outcome}/part-{command:06}-{task:06}-{part:03}-{secrets.token_hex(8)}.parquet"


def stem(path: str) -> str:
    """Return what the names of a file of the table and of its matrices have in common."""
    return path.rpartition("/")[2].removesuffix(".parquet").removesuffix(".csv")


def command_of(stem: str) -> int:
    """Return the number of the command that wrote a file; 0 if it was another program."""
    parts = stem.split("-")
    return int(parts[1]) if parts[0] == "part" and len(parts) > 1 and parts[1].isdigit() else 0


def matrix_paths(data_path: str, model_id: str) -> tuple[str, str]:
    """Return the paths in an output of what a model makes of a file of the table: Parquet and CSV."""
    name = stem(data_path)
    return f"{PCA}/model_id={model_id}/{name}.parquet", f"{PCA_CSV}/model_id={model_id}/{name}.csv"
