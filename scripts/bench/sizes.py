"""How many photos, rows and runs each measure takes; `targets` names the measures by their letters."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of a benchmark."""

    photos: int | None  # of the ceiling (a), featurization (b) and memory (e); None for all there are
    textbook_photos: int  # (c)
    textbook_components: int
    textbook_partitions: int
    job_after_textbook: bool  # whether (c) runs the job a second time, after the textbook
    pca_rows: int  # (d)
    pca_files: int
    pca_components: int
    pca_runs: int  # of each side
    growth_photos: tuple[int, int, int]  # of the three runs of marginal cost (f)
    start_runs: int  # of the job, at least, for the first photo (g)
    s3_photos: int  # (h)
    new_photos: int  # of the increment (i)
    known_photos: tuple[int, int]  # of the two outputs that the increment extends
    comparison_rows: int  # (k)
    long_comparison_rows: int  # (l)
    opening_rows: int  # (m), ten in a file
    changed_photos: int  # of Test, for each change of (n)
    varieties: int  # that (n) leaves out in turn, at most
    driver_photos: tuple[int, int]  # of the two runs whose driver's part (o) does


# A published run of the textbook's notebook had 2,000 photos in 24 partitions.
FULL: Final = Sizes(
    photos=None,
    textbook_photos=2000,
    textbook_components=100,
    textbook_partitions=24,
    job_after_textbook=True,
    pca_rows=20_000,
    pca_files=80,
    pca_components=100,
    pca_runs=2,
    growth_photos=(1000, 3000, 10_000),
    start_runs=3,
    s3_photos=3000,
    new_photos=1000,
    known_photos=(10_000, 50_000),
    comparison_rows=1_000_000,
    long_comparison_rows=10_000_000,
    opening_rows=1_000_000,
    changed_photos=600,
    varieties=24,
    driver_photos=(1_000_000, 10_000_000),
)
QUICK: Final = Sizes(
    photos=300,
    textbook_photos=60,
    textbook_components=30,
    textbook_partitions=2,
    job_after_textbook=False,
    pca_rows=2000,
    pca_files=8,
    pca_components=30,
    pca_runs=1,
    growth_photos=(60, 240, 600),
    start_runs=1,
    s3_photos=300,
    new_photos=100,
    known_photos=(500, 2000),
    comparison_rows=50_000,
    long_comparison_rows=200_000,
    opening_rows=20_000,
    changed_photos=30,
    varieties=2,
    driver_photos=(10_000, 20_000),
)
SMALL: Final = 32  # photos of a run whose throughput does not matter
