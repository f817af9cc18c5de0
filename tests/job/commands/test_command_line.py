"""The command lines of erase, show, compact and predict: options, messages and exit codes, without Spark."""

import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from job import main
from job.cli import exits
from job.commands import command_line
from job.model import incremental_moments
from job.storage import residency
from job.table import layout, writer
from tests.job.commands.test_erase import assert_derived, assert_whole_without, traces_of
from tests.support import tables
from tests.support.outputs import Output
from tests.support.s3_servers import make_bucket
from tests.support.tables import tree

ROOT = Path(__file__).parents[3]
ARGUMENTS = {
    "erase": ["--path", "/a", "--requested-by", "me"],
    "show": ["--path", "/a"],
    "compact": [],
    "predict": ["/a"],
    "report": [],
}


@pytest.fixture(autouse=True)
def _signals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exits, "interrupt_on_signals", lambda: None)


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Return the exit code and the message of a refused command."""
    code = main.main([str(argument) for argument in arguments])
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.count("\n") == 1, "one sentence"
    return code, streams.err


@pytest.mark.parametrize("kind", ["text", "json"])
def test_erase_prints_counts_and_leftovers_but_no_trace_of_the_photos(
    output: Output, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    erased = [output.good[4], output.bad[0]]
    selection = ["--path", erased[0], "--sha256", output.sha256[erased[1]], "--requested-by", "request 17"]
    assert main.main(["erase", "--output", output.location, *selection, "--log-format", kind]) == 0
    streams = capsys.readouterr()
    traces = [*erased, *(Path(path).name for path in erased), *(output.sha256[path] for path in erased)]
    assert not [trace for trace in traces if trace in streams.out + streams.err]
    if kind == "text":
        assert "erased photos: 1 featurized, 1 rejected" in streams.out
        assert "2 are still where they were read: delete them" in streams.out
        assert "--refit always" in streams.out
    else:
        assert json.loads(streams.out)["rows"]["rejected"] == 1
    assert_whole_without(output, erased)


def test_show_prints_one_json_object(output: Output, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["show", "--output", output.location, "--sha256", output.sha256[output.good[4]].upper()]
    assert main.main([*arguments, "--log-format", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [photo["path"] for photo in shown["photos"]] == [output.good[4]]


def test_show_of_an_unknown_photo_ends_with_3(output: Output, capsys: pytest.CaptureFixture[str]) -> None:
    code, message = refusal(capsys, "show", "--output", output.location, "--path", "/nowhere.jpg")
    assert code == 3
    assert "nothing is known of /nowhere.jpg" in message


def test_compact_keeps_replaced_files_for_the_given_hours(output: Output) -> None:
    old = [Path(output.location, layout.PHOTOS, file) for file in tables.snapshot(output.location).files]
    arguments = ["compact", "--output", output.location]
    for _ in range(2):
        assert main.main([*arguments, "--keep-versions", "0.5"]) == 0
        assert all(file.exists() for file in old)
        assert_derived(output.location)
    assert main.main(arguments) == 0
    assert not any(file.exists() for file in old)


@pytest.mark.parametrize("name", ["erase", "compact", "report"])
def test_a_second_writer_is_refused_but_show_and_dry_runs_are_not(
    name: str, output: Output, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with writer.exclusive_writer(output.location, "night", "run", first_actions=lambda _: []) as other:
        monkeypatch.setattr(time, "sleep", lambda _: other.commit())  # as a living command does
        before = tree(f"{output.location}/{layout.PHOTOS}/outcome=featurized")
        assert main.main([name, "--output", output.location, *ARGUMENTS[name]]) == 1
        streams = capsys.readouterr()
        assert streams.out == ""
        waiting, refused = streams.err.splitlines()
        assert waiting.startswith("run night (host ")
        assert waiting.endswith("has not ended: waiting up to 60 s to see whether it still lives")
        assert "is being written by run night" in refused
        assert refused.endswith("wait for it to end, or stop it")
        assert tree(f"{output.location}/{layout.PHOTOS}/outcome=featurized") == before
        assert main.main(["show", "--output", output.location, "--path", output.good[4]]) == 0
        arguments = ["erase", "--output", output.location, "--path", output.good[4], "--requested-by", "me"]
        assert main.main([*arguments, "--dry-run"]) == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("erase --path /a.jpg --requested-by me", "--output is missing"),
        ("erase --output /o --requested-by me", "nothing is selected: give --path, --prefix or --sha256"),
        ("erase --output /o --path /a.jpg", "--requested-by is missing"),
        ("erase --output /o --requested-by ' '", "--requested-by: ' ' is not a name"),
        ("erase --output /o --sha256 12ab", "--sha256: '12ab' is not 64 hexadecimal digits"),
        ("erase --output /o --keep-versions 1", "unknown argument"),
        ("show --output /o", "nothing is selected: give --path or --sha256"),
        ("show --output /o --prefix /a", "unknown argument"),
        ("predict --output /o", "no photo is given: name files, folders or s3:// objects"),
        ("predict --output /o --rows 1 /a.jpg", "unknown argument"),
        ("predict --output /o gs://bucket/a.jpg", "is no location"),
        ("compact --output /o --rows 0", "--rows: '0' is not a whole number"),
        ("compact --output /o --keep-versions week", "'week' is not a number of hours, as 0 or 168"),
    ],
)
def test_wrong_arguments_are_refused_in_one_sentence(
    arguments: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, message = refusal(capsys, *shlex.split(arguments))
    assert code == 2
    assert sentence in message


@pytest.mark.parametrize("name", command_line.COMMANDS)
def test_a_foreign_folder_is_refused_and_unchanged(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, message = refusal(capsys, name, "--output", tmp_path / "foreign", *ARGUMENTS[name])
    assert code == 2
    assert "foreign is no output of this job (it has no table photos)" in message
    assert not (tmp_path / "foreign").exists()


@pytest.mark.parametrize(
    ("argument", "prefix"),
    [
        ("/photos/2026/", "/photos/2026/"),
        ("/photos/20", "/photos/20"),
        ("s3a://bucket/a/b/", "s3://bucket/a/b/"),
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        ("s3://bucket", "s3://bucket/"),
        ("/", "/"),
    ],
)
def test_a_prefix_keeps_its_last_slash_and_a_bucket_gets_one(argument: str, prefix: str) -> None:
    assert command_line._prefix(argument) == prefix


def test_options_can_stand_in_the_environment(
    output: Output, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"OUTPUT": output.location, "REQUESTED_BY": "request 17", "DRY_RUN": "1"}.items():
        monkeypatch.setenv(f"FRUITS_{name}", value)
    assert main.main(["erase", "--path", output.good[4]]) == 0
    assert "would erase photos: 1 featurized" in capsys.readouterr().out
    assert traces_of(output, output.good[4:5])


@pytest.mark.parametrize("name", command_line.COMMANDS)
def test_an_output_outside_the_eu_ends_with_4(
    name: str, s3_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert s3_server
    location = f"s3://{make_bucket('us-east-1')}/out"
    code, message = refusal(capsys, name, "--output", location, *ARGUMENTS[name])
    assert code == 4
    assert "us-east-1" in message


def interrupt(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


@pytest.mark.parametrize("name", command_line.COMMANDS)
def test_an_interruption_prints_one_sentence_and_ends_with_130(
    name: str, output: Output, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(residency, "check", interrupt)
    code, message = refusal(capsys, name, "--output", output.location, *ARGUMENTS[name])
    assert code == 130
    assert "interrupted: " in message


def test_an_interrupted_erasure_is_completed_by_the_same_command(
    output: Output, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["erase", "--output", output.location, "--path", output.good[4], "--requested-by", "me"]
    with monkeypatch.context() as patch:
        patch.setattr(incremental_moments, "update", interrupt)
        code, message = refusal(capsys, *arguments)
    assert code == 130
    assert "the erasure is not complete; say the same again" in message
    assert main.main(arguments) == 0
    assert_whole_without(output, output.good[4:5])


@pytest.mark.parametrize(
    "example",
    ["python -m job --input", *(f"python -m job {name} --output" for name in command_line.COMMANDS)],
)
def test_help_shows_an_example(example: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main.main([*example.split()[3:-1], "--help"])
    assert caught.value.code == 0
    assert example in capsys.readouterr().out


def test_a_command_starts_no_spark_and_loads_no_network(output: Output) -> None:
    program = (
        "import sys; from job.main import main; code = main(sys.argv[1:]); import pyspark;"
        "print(code, pyspark.SparkContext._gateway, 'tensorflow' in sys.modules)"
    )
    command = [sys.executable, "-c", program, "show", "--output", output.location, "--path", output.good[4]]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert result.stdout.splitlines()[-1] == "0 None False"


@pytest.mark.parametrize("key", ["a//b.jpg", "a/./b.jpg", "a/../b.jpg", "/a.jpg", "a%2Fb.jpg", "é b.jpg"])
def test_an_object_is_selected_by_its_exact_key(key: str) -> None:
    assert (
        command_line._path(f"s3://bucket/{key}")
        == command_line._path(f"s3a://bucket/{key}")
        == f"s3://bucket/{key}"
    )
    assert command_line._prefix(f"s3a://bucket/{key}") == f"s3://bucket/{key}"
