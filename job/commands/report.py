"""``job report``: makes the page ``report.html`` of an output anew, from the newest run's record."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from job.cli.log import Log
from job.errors import UsageError
from job.report import page
from job.report.words import Language
from job.storage import residency, store
from job.storage.residency import EU_REGIONS
from job.table import layout, writer

READS_AT_ONCE: Final = 16
TIMES: Final = ("seconds", "photos_per_second", "cores")


def run(
    output: str, log: Log, language: Language = "en", regions: Sequence[str] = EU_REGIONS
) -> dict[str, Any]:
    """Write the report of an output, and return its name and size in bytes.

    It is a writer as any other command, so that no page with pictures appears after an erasure.

    Raises
    ------
    JobError
        If the output was not made by this job, has no record of a run, or is being written to, or if it or
        its photos are outside `regions`.
    """
    residency.check([output], regions)
    with writer.exclusive_writer(
        output, log.run_id, "report", lambda text: log.info("waiting", text)
    ) as writing:
        record = newest_record(output)
        residency.check(record["input"], regions)
        size = page.write(output, record, writing.snapshot, language, writing.commit)
    return {"output": output, "report": layout.REPORT, "bytes": size}


def summary(result: Mapping[str, Any]) -> str:
    """Return where the report is, and its size."""
    return f"report: {result['report']} in {result['output']}, {result['bytes'] / 1e6:.1f} MB"


def newest_record(output: str) -> dict[str, Any]:
    """Return the record of the run that ended last; the times in it are those of the last that read photos.

    Raises
    ------
    UsageError
        If no run has a record.
    """
    names = [location for location, _ in store.list_files(store.join(output, layout.RUNS), ".json")]
    records: list[dict[str, Any]] = []
    with ThreadPoolExecutor(READS_AT_ONCE) as pool:
        for data in pool.map(store.read_bytes, names):
            with contextlib.suppress(ValueError):  # cut off by a power cut
                records.append(json.loads(data))
    records.sort(key=lambda record: str(record["finished_at"]))
    if not records:
        raise UsageError(f"output {output} has no record of a run in {layout.RUNS}/: run the job first")
    newest = records[-1]
    timed = next((record for record in reversed(records) if record["photos_per_second"]), newest)
    return {**newest, **{name: timed[name] for name in TIMES}, "timed_run": timed["run_id"]}
