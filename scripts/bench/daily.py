"""Measures (h) to (m), of daily use: photos in S3, increments, a day without new photos, long lists."""

import os
import shutil
import statistics
import time
from collections.abc import Sequence
from typing import Any, Final

from scripts.bench import s3
from scripts.bench.figures import Measurement
from scripts.bench.process import BenchError, environment
from scripts.bench.s3 import LATENCY_MS, PREFIX, TABLES, Server
from scripts.bench.sides import Bench, JobRun
from scripts.bench.targets import listed, measurement_of

AGAIN: Final = 3  # runs of (j), which take a few seconds each
MOST_MEMORY: Final = 2e9  # of (k) and (l), in bytes
SMALL_FILES: Final = 10  # rows of each file, and files of each commit, of (m)


def latency(bench: Bench) -> Measurement:
    """Measure (h): featurization on S3 with latency, against the same without, which runs before and after.

    The detail adds how fast Spark's own reader reads the bytes of the same photos.
    """
    count, sides = bench.sizes.latency, environment(bench.cores)
    folder, scratch = bench.folder(count), bench.scratch
    bench.warm_up()
    plain: list[float] = []
    late: list[float] = []
    costs: list[str] = []
    with (
        s3.serving("near", folder, 0, scratch, sides) as near,
        s3.serving("far", folder, LATENCY_MS, scratch, sides) as far,
    ):
        plain.append(_from_s3(bench, near, costs))
        for _ in range(bench.repeat):
            late.append(_from_s3(bench, far, costs))
            plain.append(_from_s3(bench, near, costs))
        spark = _binary_file(bench, near, far)
    ours, other = count / statistics.median(late), count / statistics.mean(plain)
    detail = f"{count:,} photos: with {listed(late)} s, without {listed(plain)} s; the server takes "
    detail += f"{', '.join(costs)} ms of CPU a request; {spark}"
    return measurement_of("h", "photos/s", ours=ours, other=other, ratio=ours / other, detail=detail)


def _from_s3(bench: Bench, server: Server, costs: list[str]) -> float:
    """Run the job on a server's photos, and return the seconds of its featurization."""
    count = bench.sizes.latency
    bench.say(f"(h) the job on {count:,} photos in S3, {server.name}")
    server.forget()
    before = server.cpu_seconds()
    output = f"s3://{TABLES}/{time.monotonic_ns()}"
    done = bench.command(
        "--input",
        f"s3://{server.name}/{PREFIX}",
        "--output",
        output,
        variables=server.environment(environment(bench.cores)),
    )
    after, requests = server.cpu_seconds(), server.requests()
    read = [key for method, bucket, key in requests if method == "GET" and bucket == server.name and key]
    if len(read) != count or len(set(read)) != count:
        raise BenchError(
            f"{len(read):,} reads of {len(set(read)):,} photos were seen, not one of each of {count:,}"
        )
    if before is not None and after is not None:
        costs.append(f"{(after - before) / len(requests) * 1000:.2f}")
    return done.seconds("featurize")


def _binary_file(bench: Bench, near: Server, far: Server) -> str:
    """Return in words how fast Spark's ``binaryFile`` reads, or why it could not."""
    bench.say("(h) Spark's binaryFile on the same photos")
    buckets = (f"{server.name}={server.url}" for server in (near, far))
    try:
        result = bench.script("s3", PREFIX, *buckets).result()
    except BenchError as error:
        return f"Spark's binaryFile was not measured: {error}"
    if result["photos"] != bench.sizes.latency:
        return f"Spark's binaryFile was not measured: it found {result['photos']:,} photos"
    seconds = result["seconds"]
    rates = {name: result["photos"] / spent for name, spent in seconds.items()}
    return (
        f"Spark's binaryFile only reads {rates[far.name]:,.0f} photos/s with, {rates[near.name]:,.0f} "
        f"without ({seconds[far.name]:.1f} and {seconds[near.name]:.1f} s)"
    )


def increment(bench: Bench) -> Measurement:
    """Measure (i): a run on new photos where many are known, against one where none is.

    Only the run without known photos fits a model, so no time includes the step ``pca``. The
    sizes run upwards and downwards, because a machine's speed drifts.
    """
    sizes = (0, *bench.sizes.known)
    like, photos = bench.known(), bench.folder(bench.sizes.increment)
    for known in sizes:
        bench.say(f"(i) an output of {known:,} known photos is made")
        place = bench.scratch / f"grown-{known}"
        flags = ["--known", known, "--like", like, "--photos", photos]
        bench.script("growth", place, place.with_suffix(".parquet"), *flags)
    runs: dict[int, list[JobRun]] = {known: [] for known in sizes}
    for _ in range(bench.repeat):
        for known in (*sizes, *reversed(sizes)):
            runs[known].append(_increment(bench, known))
    for known in bench.sizes.known:
        shutil.rmtree(bench.scratch / f"grown-{known}")
    spent = {
        known: [run.seconds("total") - run.seconds("pca") for run in several]
        for known, several in runs.items()
    }
    means = {known: statistics.mean(seconds) for known, seconds in spent.items()}
    slowest, none = max(means[known] for known in bench.sizes.known), means[0]
    parts = (
        f"onto {known:,} {listed(seconds)} s ({_steps(runs[known])})" for known, seconds in spent.items()
    )
    detail = (
        f"{bench.sizes.increment:,} new photos, without the step pca, which fits onto none and keeps the "
    )
    detail += f"model onto more: {'; '.join(parts)}"
    return measurement_of("i", "s", ours=slowest, other=none, ratio=slowest / none, detail=detail)


def _increment(bench: Bench, known: int) -> JobRun:
    new = bench.sizes.increment
    bench.say(f"(i) the job on {new:,} new photos, {known:,} are known")
    output, prepared = bench.scratch / "increment", bench.scratch / f"grown-{known}"
    if known:
        shutil.copytree(prepared, output, copy_function=os.link)  # the job changes no file in place
    done = bench.command("--manifest", prepared.with_suffix(".parquet"), "--output", output)
    shutil.rmtree(output)
    counts, model = done.record["counts"], done.record["model"]
    if (counts["listed"], counts["unchanged"]) != (new + known, known):
        raise BenchError(f"of {new + known:,} photos {counts['unchanged']:,} were known, and not {known:,}")
    if known and (model["fitted_now"] or model["rows_projected"] != counts["featurized"]):
        raise BenchError(f"the model was not kept onto {known:,} photos: the sizes cannot be compared")
    return done


def _steps(runs: Sequence[JobRun]) -> str:
    """Return in words the mean seconds of the steps whose time can depend on the known photos."""
    steps = ("inventory", "featurize", "moments", "pca", "project")
    means = ((step, statistics.mean(run.seconds(step) for run in runs)) for step in steps)
    return ", ".join(f"{step} {spent:.1f}" for step, spent in means)


def nothing_new(bench: Bench) -> Measurement:
    """Measure (j): the whole command on photos that are all known, without Spark and network."""
    output, count = bench.known(), bench.count()
    runs = []
    for _ in range(max(AGAIN, bench.repeat)):
        bench.say(f"(j) the job on {count:,} photos again")
        runs.append(bench.command("--input", bench.folder(count), "--output", output))
    lazy = all(_did_nothing(run, count) for run in runs)
    spent = [run.ran.seconds for run in runs]
    detail = f"{count:,} photos: {listed(spent)} s, of which listing and comparing take "
    detail += f"{listed([run.seconds('inventory') for run in runs])} s"
    detail += "; neither Spark nor the network was started" if lazy else "; it did NOT leave all as it was"
    return measurement_of("j", "s", ours=statistics.median(spent), detail=detail, holds=lazy)


def _did_nothing(run: JobRun, count: int) -> bool:
    events = {event["event"] for event in run.events}
    started = run.record["cores"] is not None or {"spark_ready", "backbone_ready"} & events
    return not started and run.record["counts"]["unchanged"] == count


def comparison(bench: Bench) -> Measurement:
    """Measure (k): a long list compared with a table of nearly the same photos, in its own process."""
    return compared("k", bench.sizes.compared, _comparison_result(bench, bench.sizes.compared))


def long_comparison(bench: Bench) -> Measurement:
    """Measure (l): the same with many more rows, above all for the memory."""
    return compared("l", bench.sizes.compared_long, _comparison_result(bench, bench.sizes.compared_long))


def compared(letter: str, rows: int, result: dict[str, Any]) -> Measurement:
    """Judge the figures of a comparison of so many rows."""
    peak = result["peak_bytes"]
    detail, holds = _verdict(rows, result)
    detail += "; memory is not told on this system" if peak is None else f"; at most {peak / 1e6:,.0f} MB"
    if peak is not None and peak >= MOST_MEMORY:
        detail, holds = f"{detail}, which is more than {MOST_MEMORY / 1e6:,.0f}", False
    return measurement_of(letter, "s", ours=result["seconds"], detail=detail, holds=holds)


def opening(bench: Bench) -> Measurement:
    """Measure (m): opening a table of many commits and small files, with a checkpoint and without."""
    rows = bench.sizes.opened
    size = ("--rows-per-file", SMALL_FILES, "--files-per-commit", SMALL_FILES)
    result = _comparison_result(bench, rows, *size)
    ours, other = result["opened"]["with"], result["opened"]["without"]
    detail, holds = _verdict(rows, result)
    detail = f"{result['commits']:,} commits, {result['files']:,} files; {detail}, in "
    detail += f"{result['seconds']:.1f} s"
    return measurement_of("m", "s", ours=ours, other=other, ratio=other / ours, detail=detail, holds=holds)


def _comparison_result(bench: Bench, rows: int, *size: object) -> dict[str, Any]:
    """Make a list of so many rows and its table, and return the figures of comparing them."""
    folder = bench.scratch / "compared"
    bench.say(f"a list of {rows:,} photos, and a table that knows them, are made")
    bench.script("comparison", folder, "--rows", rows, *size, "--make")
    bench.say("they are compared")
    result = bench.script("comparison", folder, "--rows", rows, "--cores", bench.cores).result()
    shutil.rmtree(folder)
    return result


def _verdict(rows: int, result: dict[str, Any]) -> tuple[str, bool]:
    """Return the result of a comparison in words, and whether it is right."""
    words = f"{rows:,} listed: {result['new_or_changed']:,} new or changed, {result['missing']:,} missing"
    if result["mistakes"]:
        return f"{words}, {result['mistakes']:,} of them WRONG", False
    return f"{words}, exactly the right ones", True
