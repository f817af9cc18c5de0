"""Measures (a) to (g), one function each, and the order in which all measures run."""

import shutil
import statistics
import sys
from collections.abc import Callable
from typing import Final

from scripts.bench.daily import comparison, increment, latency, long_comparison, nothing_new, opening
from scripts.bench.figures import Measurement
from scripts.bench.process import BenchError
from scripts.bench.sides import SMALL, Bench, JobRun
from scripts.bench.targets import listed, measurement_of

MEGABYTE: Final = 1_000_000
AGREEMENT: Final = 1e-6  # largest difference of the explained variance ratios of two PCAs of one table
SAME_TASK: Final = 1e-3  # largest difference of the variance kept by PCAs of two networks' features


def ceiling(bench: Bench) -> Measurement:
    """Measure (a): how fast plain processes read, decode and infer, without Spark."""
    spent = bench.ceilings or [bench.ceiling() for _ in range(bench.repeat)]
    rate = bench.count() / statistics.mean(spent)
    detail = f"{bench.count():,} photos, {bench.cores} processes: {listed(spent)} s"
    return measurement_of("a", "photos/s", other=rate, detail=detail)


def throughput(bench: Bench) -> Measurement:
    """Measure (b): the job's featurization against the ceiling, which is taken before and after each run."""
    count = bench.count()
    around, spent = [bench.ceiling()], []
    for _ in range(bench.repeat):
        bench.say(f"(b) the job on {count:,} photos")
        done = bench.job(count)
        bench.record_peak("job", done.ran)
        spent.append(done.seconds("featurize"))
        around.append(bench.ceiling())
    ours, other = count / statistics.median(spent), count / statistics.mean(around)
    detail = f"{count:,} photos: job {listed(spent)} s, ceiling around it {listed(around)} s"
    return measurement_of("b", "photos/s", ours=ours, other=other, ratio=ours / other, detail=detail)


def textbook(bench: Bench) -> Measurement:
    """Measure (c): the whole command, timed before and after the textbook's."""
    count, partitions = bench.sizes.textbook, str(bench.sizes.partitions)
    k = str(min(bench.sizes.components, count - 1, len(bench.photos()[0]) - 1))
    folder, output = bench.folder(count), bench.scratch / "textbook"
    flags = ["--cache", bench.cache, "--components", k, "--partitions", partitions]

    def job() -> JobRun:
        bench.say(f"(c) the job on {count:,} photos")
        done = bench.job(count, "--components", k)
        ours.append(done.ran.seconds)
        return done

    ours: list[float] = []
    other: list[float] = []
    bench.warm_up()
    for _ in range(bench.repeat):
        done = job()
        bench.script("textbook", folder, output, *flags, "--prepare")
        bench.say(f"(c) the textbook on {count:,} photos")
        ran = bench.script("textbook", folder, output, *flags)
        shutil.rmtree(output)
        bench.record_peak("textbook", ran)
        other.append(ran.seconds)
    if bench.sizes.again:
        done = job()
    steps = ", ".join(f"{step} {spent:.1f}" for step, spent in ran.result()["seconds"].items())
    kept = (float(done.record["model"]["variance_kept"]), float(ran.result()["variance_kept"]))
    same = ran.result()["photos"] == count and abs(kept[0] - kept[1]) <= SAME_TASK
    detail = f"{count:,} photos, k {k}: job {listed(ours)} s, textbook {listed(other)} s ({steps}); "
    detail += f"variance kept {kept[0]:.4f} and {kept[1]:.4f}" + ("" if same else ": NOT the same task")
    mine, theirs = statistics.mean(ours), statistics.median(other)
    return measurement_of("c", "s", ours=mine, other=theirs, ratio=theirs / mine, detail=detail, holds=same)


def pca_fit(bench: Bench) -> Measurement:
    """Measure (d): the job's PCA fit against Spark's class; the best run of each."""
    sizes, scratch = bench.sizes, bench.scratch / "pca"
    bench.say(f"(d) PCA of {sizes.pca_rows:,} rows, both ways")
    times = max(sizes.pca_times, bench.repeat)
    flags = ["--rows", sizes.pca_rows, "--files", sizes.pca_files, "--components", sizes.pca_components]
    result = bench.script("pca", scratch, *flags, "--times", times).result()
    shutil.rmtree(scratch)
    ours, other, difference = min(result["ours"]), min(result["other"]), float(result["difference"])
    detail = f"{sizes.pca_rows:,} x 1280, k {sizes.pca_components}: ours {listed(result['ours'])} s, "
    detail += f"Spark {listed(result['other'])} s; explained variance differs by {difference:.0e}"
    agrees = difference <= AGREEMENT
    detail += "" if agrees else f", which is more than {AGREEMENT:g}"
    return measurement_of("d", "s", ours=ours, other=other, ratio=other / ours, detail=detail, holds=agrees)


def memory(bench: Bench) -> Measurement:
    """Measure (e): the largest Python worker of (b)'s job, against the textbook's."""
    if not sys.platform.startswith("linux"):
        return measurement_of("e", "MB", detail="not measured: only Linux tells a process's peak (VmHWM)")
    if "job" not in bench.peaks:
        bench.say(f"(e) the job on {bench.count():,} photos")
        bench.record_peak("job", bench.job(bench.count()).ran)
    job, book = bench.peaks["job"], bench.peaks.get("textbook")
    if job is None:
        raise BenchError(
            "no Python worker of the job was seen: its daemon has another name than pyspark.daemon"
        )
    detail = "VmHWM, the largest of all workers of the job of (b), over all its steps"
    if book is None:
        detail += "; the textbook's is measured with (c)"
        return measurement_of("e", "MB", ours=job / MEGABYTE, detail=detail)
    return measurement_of(
        "e", "MB", ours=job / MEGABYTE, other=book / MEGABYTE, ratio=book / job, detail=detail
    )


def growth(bench: Bench) -> Measurement:
    """Measure (f): the cost of one more photo in a large run, against a small one, in units of the ceiling.

    A machine's speed drifts within minutes by more than the target allows. So each run of the job has a
    ceiling beside it, and the sizes run upwards and downwards.
    """
    sizes = bench.sizes.growth
    totals: dict[int, list[float]] = {size: [] for size in sizes}
    plain: dict[int, list[float]] = {size: [] for size in sizes}

    def job(size: int) -> None:
        bench.say(f"(f) the job on {size:,} photos")
        totals[size].append(bench.job(size).seconds("total"))

    for _ in range(bench.repeat):
        for size in sizes:
            plain[size].append(bench.ceiling(size))
            job(size)
        for size in reversed(sizes):
            if size != sizes[-1]:
                job(size)
            plain[size].append(bench.ceiling(size))
    detail = "; ".join(
        f"T({size:,}) {listed(totals[size])} s, ceiling {listed(plain[size])} s" for size in sizes
    )
    ours, ideal = ([statistics.mean(side[size]) for size in sizes] for side in (totals, plain))
    first, last = ((ours[i + 1] - ours[i], ideal[i + 1] - ideal[i]) for i in (0, 1))
    if min(*first, *last) <= 0:
        detail += "; not measured: noise is larger than the differences"
        return measurement_of("f", "ceilings", detail=detail)
    small, large = first[0] / first[1], last[0] / last[1]
    return measurement_of("f", "ceilings", ours=large, other=small, ratio=large / small, detail=detail)


def start(bench: Bench) -> Measurement:
    """Measure (g): from the start of the command to the first photo's features, with warm caches."""
    bench.warm_up()
    while len(bench.starts) < bench.sizes.starts:
        bench.say(f"(g) the job on {SMALL} photos")
        bench.job(SMALL)
    seconds = [start for start in bench.starts if start is not None]
    if not seconds:
        return measurement_of(
            "g", "s", detail="not measured: the job does not say when its first photo was done"
        )
    detail = (
        f"runs: {listed(seconds)} s, from the start of the command to the worker that has a photo's features"
    )
    return measurement_of("g", "s", ours=statistics.median(seconds), detail=detail)


# In the order in which they run: (a), (e), (g), (i) and (j) reuse runs of the measures before them.
MEASURES: Final[dict[str, Callable[[Bench], Measurement]]] = {
    "b": throughput,
    "a": ceiling,
    "c": textbook,
    "d": pca_fit,
    "f": growth,
    "j": nothing_new,
    "i": increment,
    "h": latency,
    "k": comparison,
    "l": long_comparison,
    "m": opening,
    "e": memory,
    "g": start,
}
