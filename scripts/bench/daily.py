"""Measures (h) to (m) and (o), of daily use: photos in S3, new photos, no new photos, long lists."""

import os
import shutil
import statistics
import time
from collections.abc import Sequence
from typing import Any, Final

from scripts.bench import s3
from scripts.bench.figures import Measurement, seconds_text
from scripts.bench.process import BenchError, environment
from scripts.bench.runs import Bench, JobRun
from scripts.bench.s3 import LATENCY_MS, PREFIX, TABLES, Server
from scripts.bench.targets import measurement

UNCHANGED_RUNS: Final = 3  # of (j), which take a few seconds each
MEMORY_LIMIT: Final = 2e9  # bytes, of (k) and (l)
SMALL_FILES: Final = ("--rows-per-file", 10, "--files-per-commit", 10)  # of (m)


def s3_latency(bench: Bench) -> Measurement:
    """Measure (h): featurization on S3 with latency, against the same without, which runs before and after.

    The detail adds how fast Spark's own reader reads the bytes of the same photos.
    """
    count, variables = bench.sizes.s3_photos, environment(bench.cores)
    folder, scratch = bench.photo_folder(count), bench.scratch
    bench.warm_up()
    near_seconds: list[float] = []
    far_seconds: list[float] = []
    cpu_costs: list[str] = []
    with (
        s3.serving("near", folder, 0, scratch, variables) as near,
        s3.serving("far", folder, LATENCY_MS, scratch, variables) as far,
    ):
        near_seconds.append(_featurize_seconds(bench, near, cpu_costs))
        for _ in range(bench.repeat):
            far_seconds.append(_featurize_seconds(bench, far, cpu_costs))
            near_seconds.append(_featurize_seconds(bench, near, cpu_costs))
        binary_file = _binary_file(bench, near, far)
    ours, other = count / statistics.median(far_seconds), count / statistics.mean(near_seconds)
    detail = f"{count:,} photos: with {seconds_text(far_seconds)} s, without {seconds_text(near_seconds)} s; "
    detail += f"the server takes {', '.join(cpu_costs)} ms of CPU a request; {binary_file}"
    return measurement("h", "photos/s", ours=ours, other=other, ratio=ours / other, detail=detail)


def _featurize_seconds(bench: Bench, server: Server, cpu_costs: list[str]) -> float:
    """Run the job on a server's photos, and return the seconds of its featurization.

    `cpu_costs` gets the server's milliseconds of CPU a request, where the system tells them.
    """
    count = bench.sizes.s3_photos
    bench.say(f"(h) the job on {count:,} photos in S3, {server.name}")
    server.forget_requests()
    cpu_before = server.cpu_seconds()
    output = f"s3://{TABLES}/{time.monotonic_ns()}"
    job_run = bench.run_job(
        "--input",
        f"s3://{server.name}/{PREFIX}",
        "--output",
        output,
        variables=server.environment(environment(bench.cores)),
    )
    cpu_after, requests = server.cpu_seconds(), server.requests()
    keys = [key for method, bucket, key in requests if method == "GET" and bucket == server.name and key]
    if len(keys) != count or len(set(keys)) != count:
        raise BenchError(
            f"{len(keys):,} reads of {len(set(keys)):,} photos were seen, not one of each of {count:,}"
        )
    if cpu_before is not None and cpu_after is not None:
        cpu_costs.append(f"{(cpu_after - cpu_before) / len(requests) * 1000:.2f}")
    return job_run.seconds("featurize")


def _binary_file(bench: Bench, near: Server, far: Server) -> str:
    """Return a sentence: how fast Spark's ``binaryFile`` reads, or why it could not."""
    bench.say("(h) Spark's binaryFile on the same photos")
    buckets = (f"{server.name}={server.url}" for server in (near, far))
    try:
        result = bench.run_script("s3", PREFIX, *buckets).result()
    except BenchError as error:
        return f"Spark's binaryFile was not measured: {error}"
    if result["photos"] != bench.sizes.s3_photos:
        return f"Spark's binaryFile was not measured: it found {result['photos']:,} photos"
    seconds = result["seconds"]
    rates = {name: result["photos"] / value for name, value in seconds.items()}
    return (
        f"Spark's binaryFile only reads {rates[far.name]:,.0f} photos/s with, {rates[near.name]:,.0f} "
        f"without ({seconds[far.name]:.1f} and {seconds[near.name]:.1f} s)"
    )


def increment(bench: Bench) -> Measurement:
    """Measure (i): a run on new photos where many are known, against one where none is.

    Only the run without known photos fits a model, so no time includes the step ``pca``. The
    sizes run upwards and downwards, because a machine's speed drifts.
    """
    new, sizes = bench.sizes.new_photos, (0, *bench.sizes.known_photos)
    like, photos = bench.known_output(), bench.photo_folder(new)
    for known in sizes:
        bench.say(f"(i) an output of {known:,} known photos is made")
        output = bench.scratch / f"known-{known}"
        flags = ["--known", known, "--like", like, "--photos", photos]
        bench.run_script("known_output", output, output.with_suffix(".parquet"), *flags)
    runs: dict[int, list[JobRun]] = {known: [] for known in sizes}
    for _ in range(bench.repeat):
        for known in (*sizes, *reversed(sizes)):
            runs[known].append(_run_increment(bench, known))
    for known in bench.sizes.known_photos:
        shutil.rmtree(bench.scratch / f"known-{known}")
    seconds = {
        known: [job_run.seconds("total") - job_run.seconds("pca") for job_run in job_runs]
        for known, job_runs in runs.items()
    }
    means = {known: statistics.mean(several) for known, several in seconds.items()}
    ours, other = max(means[known] for known in bench.sizes.known_photos), means[0]
    parts = (
        f"onto {known:,} {seconds_text(several)} s ({_step_means(runs[known])})"
        for known, several in seconds.items()
    )
    detail = f"{new:,} new photos, without the step pca, which fits onto none and keeps the "
    detail += f"model onto more: {'; '.join(parts)}"
    return measurement("i", "s", ours=ours, other=other, ratio=ours / other, detail=detail)


def _run_increment(bench: Bench, known: int) -> JobRun:
    """Run the job on new photos and a copy of an output of `known` photos."""
    new = bench.sizes.new_photos
    bench.say(f"(i) the job on {new:,} new photos, {known:,} are known")
    output, original = bench.scratch / "increment", bench.scratch / f"known-{known}"
    if known:
        shutil.copytree(original, output, copy_function=os.link)  # the job changes no file in place
    job_run = bench.run_job("--manifest", original.with_suffix(".parquet"), "--output", output)
    shutil.rmtree(output)
    counts, model = job_run.record["counts"], job_run.record["model"]
    if (counts["listed"], counts["unchanged"]) != (new + known, known):
        raise BenchError(f"of {new + known:,} photos {counts['unchanged']:,} were known, and not {known:,}")
    if known and (model["fitted_now"] or model["rows_projected"] != counts["featurized"]):
        raise BenchError(f"the model was not kept onto {known:,} photos: the sizes cannot be compared")
    return job_run


def _step_means(runs: Sequence[JobRun]) -> str:
    """Return the mean seconds of the steps whose time can depend on the known photos, as text."""
    steps = ("inventory", "featurize", "moments", "pca", "project")
    means = ((step, statistics.mean(job_run.seconds(step) for job_run in runs)) for step in steps)
    return ", ".join(f"{step} {mean:.1f}" for step, mean in means)


def nothing_new(bench: Bench) -> Measurement:
    """Measure (j): the whole command on photos that are all known, without Spark and network."""
    output, count = bench.known_output(), bench.photo_count()
    runs = []
    for _ in range(max(UNCHANGED_RUNS, bench.repeat)):
        bench.say(f"(j) the job on {count:,} photos again")
        runs.append(bench.run_job("--input", bench.photo_folder(count), "--output", output))
    idle = all(_was_idle(job_run, count) for job_run in runs)
    seconds = [job_run.process.seconds for job_run in runs]
    detail = f"{count:,} photos: {seconds_text(seconds)} s, of which listing and comparing take "
    detail += f"{seconds_text([job_run.seconds('inventory') for job_run in runs])} s"
    detail += "; neither Spark nor the network was started" if idle else "; it did NOT leave all as it was"
    return measurement("j", "s", ours=statistics.median(seconds), detail=detail, correct=idle)


def _was_idle(job_run: JobRun, count: int) -> bool:
    """Return whether a run found all photos unchanged and started neither Spark nor the network."""
    events = {event["event"] for event in job_run.events}
    started = job_run.record["cores"] is not None or {"spark_ready", "backbone_ready"} & events
    return not started and job_run.record["counts"]["unchanged"] == count


def comparison(bench: Bench) -> Measurement:
    """Measure (k): a long list compared with a table of nearly the same photos, in its own process."""
    rows = bench.sizes.comparison_rows
    return _comparison_measurement("k", rows, _comparison_result(bench, rows))


def long_comparison(bench: Bench) -> Measurement:
    """Measure (l): the same with many more rows, above all for the memory."""
    rows = bench.sizes.long_comparison_rows
    return _comparison_measurement("l", rows, _comparison_result(bench, rows))


def _comparison_measurement(letter: str, rows: int, result: dict[str, Any]) -> Measurement:
    """Return the measurement of a comparison of `rows` listed photos; it misses if the result is wrong."""
    peak = result["peak_bytes"]
    detail, correct = _verdict(rows, result)
    detail += "; memory is not told on this system" if peak is None else f"; at most {peak / 1e6:,.0f} MB"
    if peak is not None and peak >= MEMORY_LIMIT:
        detail, correct = f"{detail}, which is more than {MEMORY_LIMIT / 1e6:,.0f}", False
    return measurement(letter, "s", ours=result["seconds"], detail=detail, correct=correct)


def opening(bench: Bench) -> Measurement:
    """Measure (m): opening a table of many commits and small files, with a checkpoint and without."""
    rows = bench.sizes.opening_rows
    result = _comparison_result(bench, rows, *SMALL_FILES)
    ours, other = result["opened"]["with"], result["opened"]["without"]
    verdict, correct = _verdict(rows, result)
    detail = f"{result['commits']:,} commits, {result['files']:,} files; {verdict}, in "
    detail += f"{result['seconds']:.1f} s"
    return measurement("m", "s", ours=ours, other=other, ratio=other / ours, detail=detail, correct=correct)


def driver(bench: Bench) -> Measurement:
    """Measure (o): the memory of a driver whose run has so many new photos, and of one with fewer."""
    results = [_driver_result(bench, photos) for photos in bench.sizes.driver_photos]
    totals = [_driver_bytes(result) for result in results]
    detail = "\n".join(_driver_text(result) for result in results)
    if None in totals:
        return measurement("o", "MB", detail=f"{detail}\nnot measured: only Linux tells a process's peak")
    other, ours = (total / 1e6 for total in totals if total is not None)
    correct = all(result["right"] for result in results)
    return measurement(
        "o", "MB", ours=ours, other=other, ratio=ours / other, detail=detail, correct=correct,
        figures={"runs": results},
    )  # fmt: skip


def _driver_result(bench: Bench, photos: int) -> dict[str, Any]:
    """Make a list of photos, and return the figures of what a driver does with it."""
    folder = bench.scratch / "driver"
    bench.say(f"(o) a list of {photos:,} photos is made")
    bench.run_script("driver", folder, "--photos", photos, "--make")
    bench.say("(o) a driver's part of their run")
    result = bench.run_script("driver", folder, "--photos", photos, "--cores", bench.cores).result()
    shutil.rmtree(folder)
    return result


def _driver_bytes(result: dict[str, Any]) -> int | None:
    """Return the most memory that Python and Java take together, if the system tells it."""
    peaks = [step["peak_bytes"] for step in result["steps"].values()]
    return None if None in peaks else max(peaks) + sum(result["java"].values())


def _driver_text(result: dict[str, Any]) -> str:
    """Return the seconds and memory of each step as text."""
    steps = (
        f"{name} {step['seconds']:.1f} s ({step['cpu_seconds']:.1f} of CPU)"
        + f" {step['peak_bytes'] / 1e6:,.0f} MB" * bool(step["peak_bytes"])
        for name, step in result["steps"].items()
    )
    java = ", ".join(f"{name} {size / 1e6:,.0f}" for name, size in result["java"].items())
    return f"{result['photos']:,} photos, {result['tasks']:,} tasks: {', '.join(steps)}; Java's MB: {java}"


def _comparison_result(bench: Bench, rows: int, *file_sizes: object) -> dict[str, Any]:
    """Make a list of `rows` photos and a table, and return the figures of comparing them."""
    folder = bench.scratch / "compared"
    bench.say(f"a list of {rows:,} photos, and a table that knows them, are made")
    bench.run_script("comparison", folder, "--rows", rows, *file_sizes, "--make")
    bench.say("they are compared")
    result = bench.run_script("comparison", folder, "--rows", rows, "--cores", bench.cores).result()
    shutil.rmtree(folder)
    return result


def _verdict(rows: int, result: dict[str, Any]) -> tuple[str, bool]:
    """Return a comparison's counts as text, and whether they are correct."""
    counts = f"{rows:,} listed: {result['new_or_changed']:,} new or changed, {result['missing']:,} missing"
    if result["mistakes"]:
        return f"{counts}, {result['mistakes']:,} of them WRONG", False
    return f"{counts}, exactly the right ones", True
