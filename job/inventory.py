"""The first step: list the photos, label them, and cut them into tasks of even size.

The inventory is a folder of small Parquet files in which **one row group is one task**, so that Spark moves
only task numbers to the workers, and no list of photos ever has to fit in the driver.
"""

import heapq
import io
import math
import os
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import accumulate, islice
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from job import s3, store, walk
from job.errors import DataError, JobError, UsageError

PHOTO_ENDINGS: Final = (".jpg", ".jpeg", ".png", ".webp")
PHOTOS_PER_TASK: Final = 256
BYTES_PER_TASK: Final = 256 * 2**20
LEAST_PER_TASK: Final = 16
TASKS_PER_CORE: Final = 8  # a small input is cut finer: no core waits long for the last task
TASKS_PER_FILE: Final = 32  # a file of 300 KB, which a worker reads with one request
BUFFER: Final = 51_200  # photos whose cut can be planned, about 20 MB

