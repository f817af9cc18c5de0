"""What the benchmark measures of daily use: photos in S3, increments, a day without photos, a long list.

Measures (h) to (m), which ``bench_measures`` puts in order.
"""

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
from scripts.bench.targets import listed, measured

AGAIN: Final = 3  # runs of (j), each of a few seconds
MOST_MEMORY: Final = 2e9  # of (k) and (l), in bytes
SMALL_FILES: Final = 10  # rows of the files of (m), and files of its commits


def latency(bench: Bench) -> Measurement:
    """Measure (h), featurization from S3 and to S3 with latency, against the same without, before and after.

    Spark's own reading of the same photos stands beside it: of the bytes alone, nothing is made of them.
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
    return measured("h", "photos/s", ours=ours, other=other, ratio=ours / other, detail=detail)


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
    """Say how fast Spark itself reads; it may be that its S3A cannot be had."""
    bench.say("(h) Spark's binaryFile on the same photos")
    buckets = (f"{server.name}={server.url}" for server in (near, far))
    try:
        found = bench.script("s3", PREFIX, *buckets).result()
    except BenchError as error:
        return f"Spark's binaryFile was not measured: {error}"
    if found["photos"] != bench.sizes.latency:
        return f"Spark's binaryFile was not measured: it found {found['photos']:,} photos"
    seconds = found["seconds"]
    rates = {name: found["photos"] / spent for name, spent in seconds.items()}
    return (
        f"Spark's binaryFile only reads {rates[far.name]:,.0f} photos/s with, {rates[near.name]:,.0f} "
        f"without ({seconds[far.name]:.1f} and {seconds[near.name]:.1f} s)"
    )


def increment(bench: Bench) -> Measurement:
    """Measure (i), a run on new photos where many are known, against one where none is.

    All with the job's defaults: the first fits a model, the others keep theirs. So that this does not hide
    what the others take longer, the step ``pca`` is left out of all. The sizes are gone through upwards and
    downwards again, for machines drift.
    """
    sizes = (0, *bench.sizes.known)
    like, photos = bench.known(), bench.folder(bench.sizes.increment)
    for known in sizes:
        bench.say(f"(i) an output of {known:,} known photos is made")
        place = bench.scratch / f"grown-{known}"
        made = [place, place.with_suffix(".parquet"), "--known", known, "--like", like, "--photos", photos]
        bench.script("growth", *made)
    runs: dict[int, list[JobRun]] = {known: [] for known in sizes}
    for _ in range(bench.repeat):
        for known in (*sizes, *reversed(sizes)):
            runs[known].append(_increment(bench, known))
    for known in bench.sizes.known:
        shutil.rmtree(bench.scratch / f"grown-{known}")
    spent = {
        known: [run.seconds("total") - run.seconds("pca") for run in some] for known, some in runs.items()
    }
    means = {known: statistics.mean(seconds) for known, seconds in spent.items()}
    slowest, none = max(means[known] for known in bench.sizes.known), means[0]
    told = (f"onto {known:,} {listed(seconds)} s ({_steps(runs[known])})" for known, seconds in spent.items())
    detail = (
        f"{bench.sizes.increment:,} new photos, without the step pca, which fits onto none and keeps the "
    )
    detail += f"model onto more: {'; '.join(told)}"
    return measured("i", "s", ours=slowest, other=none, ratio=slowest / none, detail=detail)


def _increment(bench: Bench, known: int) -> JobRun:
    new = bench.sizes.increment
    bench.say(f"(i) the job on {new:,} new photos, {known:,} are known")
    output, made = bench.scratch / "increment", bench.scratch / f"grown-{known}"
    if known:
        shutil.copytree(made, output, copy_function=os.link)  # no file is changed in its place
    done = bench.command("--manifest", made.with_suffix(".parquet"), "--output", output)
    shutil.rmtree(output)
    counts, model = done.record["counts"], done.record["model"]
    if (counts["listed"], counts["unchanged"]) != (new + known, known):
        raise BenchError(f"of {new + known:,} photos {counts['unchanged']:,} were known, and not {known:,}")
    if known and (model["fitted_now"] or model["rows_projected"] != counts["featurized"]):
        raise BenchError(f"the model was not kept onto {known:,} photos: the sizes cannot be compared")
    return done


def _steps(runs: Sequence[JobRun]) -> str:
    """Say what the steps took that can depend on what is known."""
    steps = ("inventory", "featurize", "moments", "pca", "project")
    means = ((step, statistics.mean(run.seconds(step) for run in runs)) for step in steps)
    return ", ".join(f"{step} {spent:.1f}" for step, spent in means)


def nothing_new(bench: Bench) -> Measurement:
    """Measure (j), the whole command on photos that are all known: neither Spark nor the network starts."""
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
    return measured("j", "s", ours=statistics.median(spent), detail=detail, holds=lazy)


def _did_nothing(run: JobRun, count: int) -> bool:
    said = {event["event"] for event in run.events}
    started = run.record["cores"] is not None or {"spark_ready", "backbone_ready"} & said
    return not started and run.record["counts"]["unchanged"] == count


def comparison(bench: Bench) -> Measurement:
    """Measure (k), a long list against a table that knows nearly all of it, in a process of its own."""
    return compared("k", bench.sizes.compared, _compared(bench, bench.sizes.compared))


def long_comparison(bench: Bench) -> Measurement:
    """Measure (l), the same with many more rows: time, and memory above all."""
    return compared("l", bench.sizes.compared_long, _compared(bench, bench.sizes.compared_long))


def compared(letter: str, rows: int, found: dict[str, Any]) -> Measurement:
    """Judge what a comparison of so many rows has told."""
    peak = found["peak_bytes"]
    detail, holds = _found(rows, found)
    detail += "; memory is not told on this system" if peak is None else f"; at most {peak / 1e6:,.0f} MB"
    if peak is not None and peak >= MOST_MEMORY:
        detail, holds = f"{detail}, which is more than {MOST_MEMORY / 1e6:,.0f}", False
    return measured(letter, "s", ours=found["seconds"], detail=detail, holds=holds)


def opening(bench: Bench) -> Measurement:
    """Measure (m), opening a table of many commits and small files: with a checkpoint, and without."""
    rows = bench.sizes.opened
    size = ("--rows-per-file", SMALL_FILES, "--files-per-commit", SMALL_FILES)
    found = _compared(bench, rows, *size)
    ours, other = found["opened"]["with"], found["opened"]["without"]
    detail, holds = _found(rows, found)
    detail = f"{found['commits']:,} commits, {found['files']:,} files; {detail}, in "
    detail += f"{found['seconds']:.1f} s"
    return measured("m", "s", ours=ours, other=other, ratio=other / ours, detail=detail, holds=holds)


def _compared(bench: Bench, rows: int, *size: object) -> dict[str, Any]:
    """Make a list of so many rows, and a table that knows it, and return what comparing them tells."""
    folder = bench.scratch / "compared"
    bench.say(f"a list of {rows:,} photos, and a table that knows them, are made")
    bench.script("comparison", folder, "--rows", rows, *size, "--make")
    bench.say("they are compared")
    found = bench.script("comparison", folder, "--rows", rows, "--cores", bench.cores).result()
    shutil.rmtree(folder)
    return found


def _found(rows: int, found: dict[str, Any]) -> tuple[str, bool]:
    """Say what a comparison has found, and whether it is right."""
    told = f"{rows:,} listed: {found['new_or_changed']:,} new or changed, {found['missing']:,} missing"
    if found["mistakes"]:
        return f"{told}, {found['mistakes']:,} of them WRONG", False
    return f"{told}, exactly the right ones", True
