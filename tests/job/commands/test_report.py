"""``job report``: the page of the newest run, made anew by a command that may write."""

import io
import json
from pathlib import Path

import pytest

from job import main
from job.cli import exits
from job.cli.log import Log
from job.commands import report
from job.errors import JobError, UsageError
from job.storage import residency
from job.table import layout
from tests.support import reports, tables
from tests.support.outputs import RUN_IDS, Output

LOG = Log("report-1", out=io.StringIO(), err=io.StringIO())


def test_the_command_writes_the_page_in_a_language_and_says_where(
    output: Output, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(exits, "interrupt_on_signals", lambda: None)
    page = Path(output.location) / layout.REPORT
    page.unlink()
    assert main.main(["report", "--output", output.location, "--language", "fr"]) == 0
    size = page.stat().st_size / 1e6
    assert capsys.readouterr().out == f"report: report.html in {output.location}, {size:.1f} MB\n"
    assert '<html lang="fr">' in reports.html(output)
    snapshot = tables.snapshot(output.location)
    assert snapshot.writer == snapshot.ended


def test_the_newest_record_counts_with_the_times_of_the_last_run_that_read_photos(output: Output) -> None:
    runs = Path(output.location) / layout.RUNS
    first, second = (json.loads((runs / f"{name}.json").read_text()) for name in RUN_IDS)
    idle = {**second, "run_id": "idle", "photos_per_second": None, "seconds": {"total": 0.1}}
    (runs / "a-name-that-sorts-first.json").write_text(json.dumps({**idle, "finished_at": "2999-01-01"}))
    for number, content in enumerate(["{", "[]", "7", '{"run_id": "no end"}']):
        (runs / f"torn-{number}.json").write_text(content)
    record = report.newest_record(output.location)
    assert (record["run_id"], record["timed_run"]) == ("idle", second["run_id"])
    assert record["seconds"] == second["seconds"] != first["seconds"]


def test_an_output_without_a_record_is_refused(output: Output) -> None:
    for file in (Path(output.location) / layout.RUNS).iterdir():
        file.unlink()
    with pytest.raises(UsageError, match="has no record of a run in runs/: run the job first"):
        report.run(output.location, LOG)


def test_photos_outside_the_eu_are_not_read(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(locations: list[str], _: object) -> None:
        if output.source in locations:
            raise JobError("outside")

    monkeypatch.setattr(residency, "check", refuse)
    before = reports.html(output)
    with pytest.raises(JobError, match="outside"):
        report.run(output.location, LOG)
    assert reports.html(output) == before


def test_a_page_is_not_written_once_another_command_has_taken_over(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Path(output.location) / layout.REPORT
    page.unlink()

    def overtaken(*_: object) -> None:
        raise JobError("taken over")

    monkeypatch.setattr("job.table.writer.Writer.commit", overtaken)
    with pytest.raises(JobError, match="taken over"):
        report.run(output.location, LOG)
    assert not page.exists()
