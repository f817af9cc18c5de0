"""The names of an output's folders and files.

All but the records of runs and erasures can be recomputed from the table ``photos``.
"""

import secrets
from typing import Final, NamedTuple

PHOTOS: Final = "photos"  # the Delta table
PCA: Final = "pca"
PCA_CSV: Final = "pca_csv"
PREDICTIONS: Final = "predictions"
MOMENTS: Final = "moments"
MODELS: Final = "models"
RUNS: Final = "runs"
ERASURES: Final = "erasures"
REPORT: Final = "report.html"  # what people look at
TASKS: Final = "_tasks"  # only while a run lasts
MISSING: Final = "missing"  # photos of the table that the last run did not list
SKIPPED: Final = "skipped"  # files that the last run did not take for photos
LISTS: Final = (MISSING, SKIPPED)
FOLDERS: Final = (PHOTOS, PCA, PCA_CSV, PREDICTIONS, MOMENTS, MODELS, RUNS, ERASURES, *LISTS, TASKS)
ENTRIES: Final = (*FOLDERS, REPORT)
CONFUSION: Final = ".confusion.csv"  # the end of a name in `RUNS`
CURRENT_MODEL: Final = f"{MODELS}/current.json"
CURRENT_CLASSIFIER: Final = f"{MODELS}/current_classifier.json"
ADDED_WITH_DELTA: Final = (PHOTOS, PREDICTIONS, *LISTS, TASKS, REPORT)
# Names in outputs from before the Delta table.
EARLIER_PROVENANCE: Final = "_input.json"
EARLIER: Final = (
    *("features", "rejected", "inventory", "_replaced", "_compact"),
    *("_lock.json", EARLIER_PROVENANCE),
)

# The photos that have predictions, as a part of their paths.
ALL: Final = "all"
UNLABELLED: Final = "unlabelled"
PREDICTIONS_FOLDERS: Final = (f"{PREDICTIONS}/photos={ALL}", f"{PREDICTIONS}/photos={UNLABELLED}")
# Folders with one file for each data file.
DERIVED: Final = (PCA, PCA_CSV, *PREDICTIONS_FOLDERS)

FEATURIZED: Final = "featurized"
REJECTED: Final = "rejected"


class DataFile(NamedTuple):
    """A data file of the table ``photos``: its path below the table, size in bytes, and number of rows."""

    path: str
    bytes: int
    rows: int

    @property
    def outcome(self) -> str:
        """``featurized`` or ``rejected``."""
        return outcome_of(self.path)


class Report(NamedTuple):
    """The results of a task.

    `written` are new data files, `replaced` the paths of the files they replace, `photos` the number of
    photos processed, and `first` the time of the first one, in seconds since 1970.
    """

    task: int
    written: list[DataFile]
    replaced: list[str]
    photos: int
    first: float


def outcome_of(data_path: str) -> str:
    """Return the outcome of a data file's photos: ``featurized`` or ``rejected``."""
    return data_path.partition("/")[0].rpartition("=")[2]


def data_path(outcome: str, command: int, task: int, part: int) -> str:
    """Return a unique path for a new data file.

    It holds the numbers of the command, the task and the part, so that sorted names are in order of writing.
    """
    return f"outcome={outcome}/part-{command:06}-{task:06}-{part:03}-{secrets.token_hex(8)}.parquet"


def stem(path: str) -> str:
    """Return the part of a name that a data file and its matrix files share."""
    return path.rpartition("/")[2].removesuffix(".parquet").removesuffix(".csv")


def random_part(data_path: str) -> str:
    """Return the random part of a data file's name, whose order is that of no photo."""
    return stem(data_path).rpartition("-")[2]


def command_of(stem: str) -> int:
    """Return the number of the command that wrote a file; 0 if another program did."""
    parts = stem.split("-")
    return int(parts[1]) if parts[0] == "part" and len(parts) > 1 and parts[1].isdigit() else 0


def matrix_paths(data_path: str, model_id: str) -> tuple[str, str]:
    """Return the paths of a data file's matrix rows under a model: Parquet and CSV."""
    name = stem(data_path)
    return f"{PCA}/model_id={model_id}/{name}.parquet", f"{PCA_CSV}/model_id={model_id}/{name}.csv"


def predictions_path(data_path: str, model_id: str, photos: str) -> str:
    """Return the path of a data file's predictions by a classifier, of ``all`` or ``unlabelled`` photos."""
    return f"{PREDICTIONS}/photos={photos}/classifier_id={model_id}/{stem(data_path)}.parquet"
