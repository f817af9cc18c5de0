"""Measures (a) to (g), one function each, and the order in which all measures run."""

import shutil
import statistics
import sys
from collections.abc import Callable
from typing import Final

from scripts.bench.daily import (
    comparison,
    driver,
    increment,
    long_comparison,
    nothing_new,
    opening,
    s3_latency,
)
from scripts.bench.figures import Measurement, seconds_text
from scripts.bench.process import BenchError
from scripts.bench.recognition import recognition
from scripts.bench.runs import Bench, JobRun
from scripts.bench.sizes import SMALL
from scripts.bench.targets import measurement

MEGABYTE: Final = 1_000_000
AGREEMENT: Final = 1e-6  # largest difference of the explained variance ratios of two PCAs of one table
SAME_TASK: Final = 1e-3  # largest difference of the variance kept by PCAs of two networks' features


def ceiling(bench: Bench) -> Measurement:
    """Measure (a): how fast plain processes read, decode and infer, without Spark."""
    seconds = bench.ceiling_seconds or [bench.time_ceiling() for _ in range(bench.repeat)]
    rate = bench.photo_count() / statistics.mean(seconds)
    detail = f"{bench.photo_count():,} photos, {bench.cores} processes: {seconds_text(seconds)} s"
    return measurement("a", "photos/s", other=rate, detail=detail)


def throughput(bench: Bench) -> Measurement:
    """Measure (b): the job's featurization against the ceiling, which is taken before and after each run."""
    count = bench.photo_count()
    ceiling_seconds, job_seconds = [bench.time_ceiling()], []
    for _ in range(bench.repeat):
        bench.say(f"(b) the job on {count:,} photos")
        job_run = bench.run_on_photos(count)
        bench.record_peak("job", job_run.process)
        job_seconds.append(job_run.seconds("featurize"))
        ceiling_seconds.append(bench.time_ceiling())
    ours, other = count / statistics.median(job_seconds), count / statistics.mean(ceiling_seconds)
    detail = f"{count:,} photos: job {seconds_text(job_seconds)} s, "
    detail += f"ceiling around it {seconds_text(ceiling_seconds)} s"
    return measurement("b", "photos/s", ours=ours, other=other, ratio=ours / other, detail=detail)


def textbook(bench: Bench) -> Measurement:
    """Measure (c): the whole command, which runs before and after the textbook's notebook."""
    count, partitions = bench.sizes.textbook_photos, str(bench.sizes.textbook_partitions)
    k = str(min(bench.sizes.textbook_components, count - 1, len(bench.photos()[0]) - 1))
    folder, output = bench.photo_folder(count), bench.scratch / "textbook"
    flags = ["--cache", bench.cache, "--components", k, "--partitions", partitions]

    def run_job() -> JobRun:
        bench.say(f"(c) the job on {count:,} photos")
        job_run = bench.run_on_photos(count, "--components", k)
        job_seconds.append(job_run.process.seconds)
        return job_run

    job_seconds: list[float] = []
    textbook_seconds: list[float] = []
    bench.warm_up()
    for _ in range(bench.repeat):
        job_run = run_job()
        bench.run_script("textbook", folder, output, *flags, "--prepare")
        bench.say(f"(c) the textbook on {count:,} photos")
        process = bench.run_script("textbook", folder, output, *flags)
        shutil.rmtree(output)
        bench.record_peak("textbook", process)
        textbook_seconds.append(process.seconds)
    if bench.sizes.job_after_textbook:
        job_run = run_job()
    result = process.result()
    steps = ", ".join(f"{step} {seconds:.1f}" for step, seconds in result["seconds"].items())
    our_variance, other_variance = (
        float(figures["variance_kept"]) for figures in (job_run.record["model"], result)
    )
    same = result["photos"] == count and abs(our_variance - other_variance) <= SAME_TASK
    detail = f"{count:,} photos, k {k}: job {seconds_text(job_seconds)} s, "
    detail += f"textbook {seconds_text(textbook_seconds)} s ({steps}); "
    detail += f"variance kept {our_variance:.4f} and {other_variance:.4f}"
    detail += "" if same else ": NOT the same task"
    ours, other = statistics.mean(job_seconds), statistics.median(textbook_seconds)
    return measurement("c", "s", ours=ours, other=other, ratio=other / ours, detail=detail, correct=same)


def pca_fit(bench: Bench) -> Measurement:
    """Measure (d): the job's PCA fit against Spark's class; the best run of each."""
    sizes, scratch = bench.sizes, bench.scratch / "pca"
    bench.say(f"(d) PCA of {sizes.pca_rows:,} rows, both ways")
    runs = max(sizes.pca_runs, bench.repeat)
    flags = ["--rows", sizes.pca_rows, "--files", sizes.pca_files, "--components", sizes.pca_components]
    result = bench.run_script("pca", scratch, *flags, "--runs", runs).result()
    shutil.rmtree(scratch)
    ours, other, difference = min(result["ours"]), min(result["other"]), float(result["difference"])
    detail = f"{sizes.pca_rows:,} x 1280, k {sizes.pca_components}: ours {seconds_text(result['ours'])} s, "
    detail += f"Spark {seconds_text(result['other'])} s; explained variance differs by {difference:.0e}"
    agrees = difference <= AGREEMENT
    detail += "" if agrees else f", which is more than {AGREEMENT:g}"
    return measurement("d", "s", ours=ours, other=other, ratio=other / ours, detail=detail, correct=agrees)


def memory(bench: Bench) -> Measurement:
    """Measure (e): the largest Python worker of (b)'s job, against the textbook's."""
    if not sys.platform.startswith("linux"):
        return measurement("e", "MB", detail="not measured: only Linux tells a process's peak (VmHWM)")
    if "job" not in bench.peak_bytes:
        bench.say(f"(e) the job on {bench.photo_count():,} photos")
        bench.record_peak("job", bench.run_on_photos(bench.photo_count()).process)
    ours, other = bench.peak_bytes["job"], bench.peak_bytes.get("textbook")
    if ours is None:
        raise BenchError(
            "no Python worker of the job was seen: its daemon has another name than pyspark.daemon"
        )
    detail = "VmHWM, the largest of all workers of the job of (b), over all its steps"
    if other is None:
        detail += "; the textbook's is measured with (c)"
        return measurement("e", "MB", ours=ours / MEGABYTE, detail=detail)
    return measurement(
        "e", "MB", ours=ours / MEGABYTE, other=other / MEGABYTE, ratio=other / ours, detail=detail
    )


def growth(bench: Bench) -> Measurement:
    """Measure (f): the cost of one more photo in a large run, against a small one, in units of the ceiling.

    A machine's speed drifts within minutes by more than the target allows. So each run of the job has a
    ceiling beside it, and the sizes run upwards and downwards.
    """
    sizes = bench.sizes.growth_photos
    job_seconds: dict[int, list[float]] = {size: [] for size in sizes}
    ceiling_seconds: dict[int, list[float]] = {size: [] for size in sizes}

    def run_job(size: int) -> None:
        bench.say(f"(f) the job on {size:,} photos")
        job_seconds[size].append(bench.run_on_photos(size).seconds("total"))

    for _ in range(bench.repeat):
        for size in sizes:
            ceiling_seconds[size].append(bench.time_ceiling(size))
            run_job(size)
        for size in reversed(sizes):
            if size != sizes[-1]:
                run_job(size)
            ceiling_seconds[size].append(bench.time_ceiling(size))
    detail = "; ".join(
        f"T({size:,}) {seconds_text(job_seconds[size])} s, ceiling {seconds_text(ceiling_seconds[size])} s"
        for size in sizes
    )
    job_means, ceiling_means = (
        [statistics.mean(side[size]) for size in sizes] for side in (job_seconds, ceiling_seconds)
    )
    first, last = ((job_means[i + 1] - job_means[i], ceiling_means[i + 1] - ceiling_means[i]) for i in (0, 1))
    if min(*first, *last) <= 0:
        detail += "; not measured: noise is larger than the differences"
        return measurement("f", "ceilings", detail=detail)
    small, large = first[0] / first[1], last[0] / last[1]
    return measurement("f", "ceilings", ours=large, other=small, ratio=large / small, detail=detail)


def start(bench: Bench) -> Measurement:
    """Measure (g): from the start of the command to the first photo's features, with warm caches."""
    bench.warm_up()
    while len(bench.first_photo_seconds) < bench.sizes.start_runs:
        bench.say(f"(g) the job on {SMALL} photos")
        bench.run_on_photos(SMALL)
    recorded = [seconds for seconds in bench.first_photo_seconds if seconds is not None]
    if not recorded:
        return measurement(
            "g", "s", detail="not measured: the job does not say when its first photo was done"
        )
    detail = f"runs: {seconds_text(recorded)} s, from the start of the command to the worker that has a "
    detail += "photo's features"
    return measurement("g", "s", ours=statistics.median(recorded), detail=detail)


# In the order in which they run: (a), (e), (g), (i), (j) and (n) reuse runs of the measures before them.
MEASURE_FUNCTIONS: Final[dict[str, Callable[[Bench], Measurement]]] = {
    "b": throughput,
    "a": ceiling,
    "c": textbook,
    "d": pca_fit,
    "f": growth,
    "j": nothing_new,
    "i": increment,
    "h": s3_latency,
    "k": comparison,
    "l": long_comparison,
    "m": opening,
    "n": recognition,
    "o": driver,
    "e": memory,
    "g": start,
}
