"""Settings as a whole: what is made up where nothing is given, and what importing them loads."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from job.settings import new_run_id, parse
from tests.test_settings import BOTH, ROOT, refusal


def test_inputs_are_sorted_and_told_apart_by_where_they_are() -> None:
    words = ["--input", "/b", "--input", "/a/", "--input", "/b/", "--input", "s3a://two", "--output", "/o"]
    assert parse([*words, "--input", "/x/../a"], {"FRUITS_INPUT": "/c"}).inputs == ("/a", "/b", "s3://two")


def test_without_a_home_the_cache_is_a_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse(BOTH, {"XDG_CACHE_HOME": "/xdg"}).cache == Path("/xdg/fruits")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.getuid", lambda: 99_999)
    assert parse(BOTH, {}).cache.name == "fruits-99999"
    assert refusal(["--input", "~/x", *BOTH]).startswith("--input: ")


def test_run_ids_differ_are_accepted_again_and_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made = new_run_id()
    assert re.fullmatch(r"20\d{6}T\d{6}Z-[0-9a-f]{6}", made)
    assert parse([*BOTH, "--run-id", made], {}).run_id == made
    assert len({new_run_id() for _ in range(100)}) == 100
    monkeypatch.setattr("secrets.token_hex", lambda _: "000000")
    assert new_run_id() > made[:-6]


def test_settings_cannot_be_changed() -> None:
    found = parse(BOTH, {})
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.output = "/elsewhere"  # type: ignore[misc]


def test_settings_load_nothing_of_the_job_but_what_reads_arguments() -> None:
    script = (
        "import sys, job.settings; print(*sorted(name for name in sys.modules if name.startswith('job')))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.split() == ["job", "job.arguments", "job.errors", "job.locations", "job.settings"]
