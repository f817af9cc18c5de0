"""The records of an output's runs, and the times that a report shows."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from job.storage import store
from job.table import layout

READS_AT_ONCE: Final = 16
TIMES: Final = ("seconds", "photos_per_second", "cores")

Record = Mapping[str, Any]


def read_all(output: str) -> list[dict[str, Any]]:
    """Return the records of all runs that ended, the last one last; a file that is no record is skipped."""
    names = [location for location, _ in store.list_files(store.join(output, layout.RUNS), ".json")]
    records: list[dict[str, Any]] = []
    with ThreadPoolExecutor(READS_AT_ONCE) as pool:
        for data in pool.map(store.read_bytes, names):
            with contextlib.suppress(ValueError):  # cut off by a power cut
                record = json.loads(data)
                if isinstance(record, dict) and record.get("finished_at"):
                    records.append(record)
    return sorted(records, key=lambda record: str(record["finished_at"]))


def with_times(record: Record, records: Sequence[Record]) -> dict[str, Any]:
    """Return a record with the times of the last run that read photos, which ``timed_run`` names.

    The price of that run's machines is ``timed_hourly_cost``.

    Parameters
    ----------
    record : mapping
        Of a run; it may have read no photo.
    records : sequence of mapping
        Of the runs until then, the last one last.
    """
    timed = next((one for one in (record, *reversed(records)) if one.get("photos_per_second")), record)
    times = {name: timed.get(name) for name in TIMES}
    price = timed.get("settings", {}).get("hourly_cost")
    return {**record, **times, "timed_run": timed["run_id"], "timed_hourly_cost": price}
