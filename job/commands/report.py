"""``job report``: makes the page ``report.html`` of an output anew, from the newest run's record."""

from collections.abc import Mapping, Sequence
from typing import Any

from job.cli.log import Log
from job.errors import UsageError
from job.report import page, records
from job.report.words import Language
from job.storage import residency
from job.storage.residency import EU_REGIONS
from job.table import layout, writer


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
    all_records = records.read_all(output)
    if not all_records:
        raise UsageError(f"output {output} has no record of a run in {layout.RUNS}/: run the job first")
    return records.with_times(all_records[-1], all_records)
