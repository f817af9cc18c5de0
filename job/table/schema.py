"""The columns of the table, its tasks, the matrix and the lists of paths."""

from typing import Final

import pyarrow as pa

from job.table import layout

LISTED: Final = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("split", pa.string()),
        pa.field("etag", pa.string()),
        pa.field("bytes", pa.int64()),
        pa.field("modified", pa.timestamp("us", tz="UTC")),
    ]
)
# A row of a task: a photo, and the data file that holds its old row, if there is one.
TASKS: Final = LISTED.append(pa.field("replaces", pa.string()))
# A row of the table. The partition column ``outcome`` stands only in a data file's path.
PHOTOS: Final = pa.schema(
    [
        *LISTED,
        pa.field("sha256", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("features", pa.list_(pa.float32())),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("backbone", pa.string()),
        pa.field("run_id", pa.string()),
    ]
)
PARTITION: Final = pa.field("outcome", pa.string(), nullable=False)
# A row of the matrix. Its model stands in the path: ``model_id=…``.
PCA: Final = pa.schema([*list(LISTED)[:3], pa.field("pca", pa.list_(pa.float32()))])
# A row of the predictions. Their classifier stands in the path: ``classifier_id=…``.
PREDICTIONS: Final = pa.schema(
    [
        *list(LISTED)[:3],
        pa.field("state", pa.string()),
        pa.field("species", pa.string()),
        pa.field("species_probability", pa.float32()),
        *(
            field
            for place in (1, 2, 3)
            for field in (
                pa.field(f"label_{place}", pa.string()),
                pa.field(f"probability_{place}", pa.float32()),
            )
        ),
        pa.field("distance", pa.float32()),
    ]
)
# Rows of the lists beside the table, by the names of their folders.
_PATH: Final = pa.field("path", pa.string(), nullable=False)
LISTS: Final = {
    layout.MISSING: pa.schema([_PATH, PARTITION]),
    layout.SKIPPED: pa.schema([_PATH, pa.field("kind", pa.string(), nullable=False)]),
}
