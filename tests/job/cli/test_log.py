"""The log: one line an event, whatever is in it, on the stream where it belongs."""

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
# A name that could end a line, drive a terminal, or fail to be encoded.
NASTY = "a\nb\r\x1b[2Jc\u2028d\x85e\udcffé🍎"


def journal(as_json: bool) -> tuple[Log, io.StringIO, io.StringIO]:
    out, err = io.StringIO(), io.StringIO()
    return Log("run-1", as_json, out, err), out, err


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line, parse_constant=pytest.fail) for line in stream.getvalue().splitlines()]


def test_a_json_line_begins_with_when_how_bad_what_and_whose() -> None:
    it, out, err = journal(as_json=True)
    before = datetime.now(UTC) - timedelta(milliseconds=1)  # ts is cut to milliseconds
    it.info("photos_listed", "3 photos listed", photos=3, ratio=0.5)
    it.warning("odd", "")
    it.error("run_failed", "it failed: mend it", exit_code=3, ts=0, level="x", event="x", run_id="x")
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


def test_in_text_messages_go_to_stderr_and_the_summary_to_stdout() -> None:
    it, out, err = journal(as_json=False)
    it.info("a", "one", photos=1)
    it.warning("b", "two")
    it.error("c", "three")
    assert (out.getvalue(), err.getvalue()) == ("", "one\nwarning: two\nerror: three\n")
    it.summary("first\nsecond", photos=1)
    assert (out.getvalue(), err.getvalue()) == ("first\nsecond\n", "one\nwarning: two\nerror: three\n")


def test_in_json_the_summary_is_an_event_with_the_figures() -> None:
    it, out, err = journal(as_json=True)
    it.summary("for people", run_id="run-1", counts={"listed": 3})
    (line,) = lines(out)
    assert list(line.values())[1:] == ["info", "summary", "run-1", {"listed": 3}]
    assert err.getvalue() == ""


def test_an_event_is_one_line_whatever_its_texts_hold() -> None:
    it, out, _ = journal(as_json=True)
    it.error(NASTY, NASTY, path=NASTY, paths=[NASTY])
    (line,) = lines(out)  # splitlines knows every line break of Unicode
    assert line["event"] == line["message"] == line["path"] == line["paths"][0] == NASTY
    it, _, err = journal(as_json=False)
    it.error("event", NASTY)
    assert err.getvalue() == r"error: a\nb\r\x1b[2Jc\u2028d\x85e\udcffé🍎" + "\n"


def test_figures_that_json_does_not_know_become_text() -> None:
    it, out, _ = journal(as_json=True)
    it.info("odd", "", nan=float("nan"), deep=[{1: (float("-inf"),), None: 3}], path=Path("/x"))
    (line,) = lines(out)
    assert {"nan": "nan", "deep": [{"1": ["-inf"], "None": 3}], "path": "/x"}.items() <= line.items()


@pytest.mark.parametrize("as_json", [False, True])
def test_lines_of_many_threads_do_not_mix(as_json: bool) -> None:
    class Slow(io.StringIO):
        """A stream that lets another thread in after every piece that is written."""

        def write(self, words: str) -> int:
            for sign in words:
                super().write(sign)
                threading.Event().wait(1e-6)
            return len(words)

    stream = Slow()
    it = Log("r", as_json, stream, stream)
    texts = [f"{number}" * 20 for number in range(8)]
    threads = [threading.Thread(target=it.info, args=("e", text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [line["message"] for line in lines(stream)] if as_json else stream.getvalue().splitlines()
    assert sorted(found) == texts


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_stream_of_any_encoding_takes_every_line_at_once(encoding: str) -> None:
    script = (
        "import os, sys\nfrom job.cli.log import Log\n"
        "for as_json in (False, True):\n"
        "    it = Log('r', as_json)\n"
        "    it.info('e', 'Pêche \\udcff 🍎')\n"
        "    it.summary('Pêche \\udcff 🍎', of='Pêche \\udcff 🍎')\n"
        "os._exit(0)\n"  # what is not flushed by now is lost
    )
    environment = {"PYTHONIOENCODING": f"{encoding}:strict"}
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, env=environment, cwd=ROOT
    )
    text, event, summary = run.stdout.decode(encoding).splitlines()
    assert run.stderr.decode(encoding).splitlines() == [text]
    assert text == "Pêche \\udcff 🍎".encode(encoding, "backslashreplace").decode(encoding)
    assert json.loads(event)["message"] == json.loads(summary)["of"] == "Pêche \udcff 🍎"
