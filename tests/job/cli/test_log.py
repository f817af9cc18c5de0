"""The log: each event is one line on the right stream, whatever characters it holds."""

import io
import json
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from job.cli.log import Log

ROOT = Path(__file__).parents[3]
# A name with line breaks, terminal codes, and characters that cannot be encoded.
NASTY = "a\nb\r\x1b[2Jc\u2028d\x85e\udcffé🍎"


def new_log(as_json: bool) -> tuple[Log, io.StringIO, io.StringIO]:
    out, err = io.StringIO(), io.StringIO()
    return Log("run-1", as_json, out, err), out, err


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line, parse_constant=pytest.fail) for line in stream.getvalue().splitlines()]


def test_a_json_line_begins_with_time_level_event_and_run_id() -> None:
    log, out, err = new_log(as_json=True)
    before = datetime.now(UTC) - timedelta(milliseconds=1)  # ts is cut to milliseconds
    log.info("photos_listed", "3 photos listed", photos=3, ratio=0.5)
    log.warning("odd", "")
    log.error("run_failed", "it failed: mend it", exit_code=3, ts=0, level="x", event="x", run_id="x")
    first, second, third = lines(out)
    assert list(first) == ["ts", "level", "event", "run_id", "message", "photos", "ratio"]
    assert list(second) == ["ts", "level", "event", "run_id"]
    assert first["ts"].endswith("Z")
    assert before <= datetime.fromisoformat(first.pop("ts")) <= datetime.now(UTC)
    assert tuple(first.values()) == ("info", "photos_listed", "run-1", "3 photos listed", 3, 0.5)
    assert second["level"] == "warning"
    assert third.pop("ts"), "a field cannot take the place of the first four"
    assert tuple(third.values()) == ("error", "run_failed", "run-1", "it failed: mend it", 3)
    assert err.getvalue() == ""


def test_text_messages_go_to_stderr_and_the_summary_to_stdout() -> None:
    log, out, err = new_log(as_json=False)
    log.info("a", "one", photos=1)
    log.warning("b", "two")
    log.error("c", "three")
    assert (out.getvalue(), err.getvalue()) == ("", "one\nwarning: two\nerror: three\n")
    log.summary("first\nsecond", photos=1)
    assert (out.getvalue(), err.getvalue()) == ("first\nsecond\n", "one\nwarning: two\nerror: three\n")


def test_a_result_is_a_line_on_stdout_or_an_event() -> None:
    log, out, err = new_log(as_json=False)
    log.result("photo", NASTY, state="known")
    assert out.getvalue().count("\n") == 1
    assert (out.getvalue().isascii(), err.getvalue()) == (False, "")
    log, out, err = new_log(as_json=True)
    log.result("photo", "for people", state="known")
    (event,) = lines(out)
    assert (event["event"], event["state"], err.getvalue()) == ("photo", "known", "")
    assert "message" not in event


def test_the_summary_in_json_is_an_event_with_the_figures() -> None:
    log, out, err = new_log(as_json=True)
    log.summary("for people", run_id="run-1", counts={"listed": 3})
    (line,) = lines(out)
    assert list(line.values())[1:] == ["info", "summary", "run-1", {"listed": 3}]
    assert err.getvalue() == ""


def test_an_event_with_line_breaks_is_one_line() -> None:
    log, out, _ = new_log(as_json=True)
    log.error(NASTY, NASTY, path=NASTY, paths=[NASTY])
    (line,) = lines(out)  # splitlines knows every line break of Unicode
    assert line["event"] == line["message"] == line["path"] == line["paths"][0] == NASTY
    log, _, err = new_log(as_json=False)
    log.error("event", NASTY)
    assert err.getvalue() == r"error: a\nb\r\x1b[2Jc\u2028d\x85e\udcffé🍎" + "\n"


def test_values_that_json_cannot_hold_become_text() -> None:
    log, out, _ = new_log(as_json=True)
    log.info("odd", "", nan=float("nan"), deep=[{1: (float("-inf"),), None: 3}], path=Path("/x"))
    (line,) = lines(out)
    assert {"nan": "nan", "deep": [{"1": ["-inf"], "None": 3}], "path": "/x"}.items() <= line.items()


@pytest.mark.parametrize("as_json", [False, True])
def test_lines_of_several_threads_do_not_mix(as_json: bool) -> None:
    class Slow(io.StringIO):
        """A stream that yields to other threads after each character."""

        def write(self, text: str) -> int:
            for character in text:
                super().write(character)
                threading.Event().wait(1e-6)
            return len(text)

    stream = Slow()
    log = Log("r", as_json, stream, stream)
    texts = [f"{number}" * 20 for number in range(8)]
    threads = [threading.Thread(target=log.info, args=("e", text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    messages = [line["message"] for line in lines(stream)] if as_json else stream.getvalue().splitlines()
    assert sorted(messages) == texts


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_every_line_is_flushed_at_once_in_any_encoding(encoding: str) -> None:
    script = (
        "import os, sys\nfrom job.cli.log import Log\n"
        "for as_json in (False, True):\n"
        "    log = Log('r', as_json)\n"
        "    log.info('e', 'Pêche \\udcff 🍎')\n"
        "    log.summary('Pêche \\udcff 🍎', of='Pêche \\udcff 🍎')\n"
        "os._exit(0)\n"  # loses lines that are not flushed
    )
    environment = {"PYTHONIOENCODING": f"{encoding}:strict"}
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, env=environment, cwd=ROOT
    )
    text, event, summary = result.stdout.decode(encoding).splitlines()
    assert result.stderr.decode(encoding).splitlines() == [text]
    assert text == "Pêche \\udcff 🍎".encode(encoding, "backslashreplace").decode(encoding)
    assert json.loads(event)["message"] == json.loads(summary)["of"] == "Pêche \udcff 🍎"


def test_a_reader_that_has_read_enough_ends_the_command_without_a_word() -> None:
    code = "from job.cli.log import Log; log = Log('a'); [log.result('b', 'x' * 999) for _ in range(999)]"
    command = f'set -o pipefail; "{sys.executable}" -c "{code}" | head -1'
    result = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (141, "x" * 999 + "\n", "")
