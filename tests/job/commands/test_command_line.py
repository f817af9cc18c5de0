"""The command lines of erase, show and compact: options, sentences, exit codes, and no Spark."""

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
from tests.job.commands.test_erase import assert_derived, assert_right, traces_of
from tests.support import tables
from tests.support.outputs import Output
from tests.support.s3_servers import make_bucket
from tests.support.tables import tree

ROOT = Path(__file__).parents[3]
MORE = {"erase": ["--path", "/a", "--requested-by", "me"], "show": ["--path", "/a"], "compact": []}


@pytest.fixture(autouse=True)
def _signals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exits, "interrupt_on_signals", lambda: None)


def refusal(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    code = main.main([str(word) for word in words])
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1, "one sentence"
    return code, told.err


@pytest.mark.parametrize("kind", ["text", "json"])
def test_erase_erases_and_says_what_stays_and_never_what_it_erased(
    output: Output, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = [output.good[4], output.bad[0]]
    words = ["--path", gone[0], "--sha256", output.sha256[gone[1]], "--requested-by", "request 17"]
    assert main.main(["erase", "--output", output.location, *words, "--log-format", kind]) == 0
    told = capsys.readouterr()
    said = [*gone, *(Path(path).name for path in gone), *(output.sha256[path] for path in gone)]
    assert not [one for one in said if one in told.out + told.err]
    if kind == "text":
        assert "erased photos: 1 featurized, 1 rejected" in told.out
        assert "2 are still where they were read: delete them" in told.out
        assert "--refit always" in told.out
    else:
        assert json.loads(told.out)["rows"]["rejected"] == 1
    assert_right(output, gone)


def test_show_answers_with_one_json_object(output: Output, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["show", "--output", output.location, "--sha256", output.sha256[output.good[4]].upper()]
    assert main.main([*words, "--log-format", "json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [photo["path"] for photo in said["photos"]] == [output.good[4]]


def test_show_of_an_unknown_photo_ends_with_3(output: Output, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = refusal(capsys, "show", "--output", output.location, "--path", "/nowhere.jpg")
    assert code == 3
    assert "nothing is known of /nowhere.jpg" in told


def test_compact_keeps_replaced_files_as_long_as_it_is_told(output: Output) -> None:
    old = [Path(output.location, layout.PHOTOS, file) for file in tables.snapshot(output.location).files]
    words = ["compact", "--output", output.location]
    for _ in range(2):
        assert main.main([*words, "--keep-versions", "0.5"]) == 0
        assert all(file.exists() for file in old)
        assert_derived(output.location)
    assert main.main(words) == 0
    assert not any(file.exists() for file in old)


@pytest.mark.parametrize("name", ["erase", "compact"])
def test_while_another_command_writes_a_second_is_refused_and_show_is_not(
    name: str, output: Output, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with writer.exclusive_writer(output.location, "night", "run", first_actions=lambda _: []) as other:
        monkeypatch.setattr(time, "sleep", lambda _: other.commit())  # it lives
        before = tree(f"{output.location}/{layout.PHOTOS}/outcome=featurized")
        assert main.main([name, "--output", output.location, *MORE[name]]) == 1
        told = capsys.readouterr()
        assert told.out == ""
        waiting, refused = told.err.splitlines()
        assert waiting.startswith("run night (host ")
        assert waiting.endswith("has not ended: waiting up to 60 s to see whether it still lives")
        assert "is being written by run night" in refused
        assert refused.endswith("wait for it to end, or stop it")
        assert tree(f"{output.location}/{layout.PHOTOS}/outcome=featurized") == before
        assert main.main(["show", "--output", output.location, "--path", output.good[4]]) == 0
        words = ["erase", "--output", output.location, "--path", output.good[4], "--requested-by", "me"]
        assert main.main([*words, "--dry-run"]) == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("erase --path /a.jpg --requested-by me", "--output is missing"),
        ("erase --output /o --requested-by me", "nothing is selected: give --path, --prefix or --sha256"),
        ("erase --output /o --path /a.jpg", "--requested-by is missing"),
        ("erase --output /o --requested-by ' '", "--requested-by: ' ' is not a name"),
        ("erase --output /o --sha256 12ab", "--sha256: '12ab' is not 64 hexadecimal digits"),
        ("erase --output /o --keep-versions 1", "unknown argument"),
        ("show --output /o", "nothing is selected: give --path or --sha256"),
        ("show --output /o --prefix /a", "unknown argument"),
        ("compact --output /o --rows 0", "--rows: '0' is not a whole number"),
        ("compact --output /o --keep-versions week", "'week' is not a number of hours, as 0 or 168"),
    ],
)
def test_wrong_arguments_are_one_sentence(
    words: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told = refusal(capsys, *shlex.split(words))
    assert code == 2
    assert sentence in told


@pytest.mark.parametrize("name", command_line.COMMANDS)
def test_what_is_no_output_of_ours_is_refused_and_nothing_is_left_there(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told = refusal(capsys, name, "--output", tmp_path / "mine", *MORE[name])
    assert code == 2
    assert "mine is no output of this job (it has no table photos)" in told
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize(
    ("given", "prefix"),
    [
        ("/photos/2026/", "/photos/2026/"),
        ("/photos/20", "/photos/20"),
        ("s3a://bucket/a/b/", "s3://bucket/a/b/"),
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        ("s3://bucket", "s3://bucket/"),
        ("/", "/"),
    ],
)
def test_a_prefix_keeps_its_last_slash_and_a_bucket_is_whole(given: str, prefix: str) -> None:
    assert command_line._prefix(given) == prefix


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
    place = f"s3://{make_bucket('us-east-1')}/out"
    code, told = refusal(capsys, name, "--output", place, *MORE[name])
    assert code == 4
    assert "us-east-1" in told


def interrupt(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


@pytest.mark.parametrize("name", command_line.COMMANDS)
def test_an_interruption_is_one_sentence_and_ends_with_130(
    name: str, output: Output, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(residency, "check", interrupt)
    code, told = refusal(capsys, name, "--output", output.location, *MORE[name])
    assert code == 130
    assert "interrupted: " in told


def test_an_erasure_that_was_interrupted_is_completed_by_the_same_words(
    output: Output, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["erase", "--output", output.location, "--path", output.good[4], "--requested-by", "me"]
    with monkeypatch.context() as patch:
        patch.setattr(incremental_moments, "update", interrupt)
        code, told = refusal(capsys, *words)
    assert code == 130
    assert "the erasure is not complete; say the same again" in told
    assert main.main(words) == 0
    assert_right(output, output.good[4:5])


@pytest.mark.parametrize(
    "example",
    ["python -m job --input", *(f"python -m job {name} --output" for name in command_line.COMMANDS)],
)
def test_help_shows_an_example(example: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main([*example.split()[3:-1], "--help"])
    assert ended.value.code == 0
    assert example in capsys.readouterr().out


def test_a_command_starts_no_spark_and_loads_no_network(output: Output) -> None:
    program = (
        "import sys; from job.main import main; code = main(sys.argv[1:]); import pyspark;"
        "print(code, pyspark.SparkContext._gateway, 'tensorflow' in sys.modules)"
    )
    words = [sys.executable, "-c", program, "show", "--output", output.location, "--path", output.good[4]]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-1] == "0 None False"


@pytest.mark.parametrize("key", ["a//b.jpg", "a/./b.jpg", "a/../b.jpg", "/a.jpg", "a%2Fb.jpg", "é b.jpg"])
def test_an_object_is_selected_by_its_very_key(key: str) -> None:
    assert (
        command_line._path(f"s3://bucket/{key}")
        == command_line._path(f"s3a://bucket/{key}")
        == f"s3://bucket/{key}"
    )
    assert command_line._prefix(f"s3a://bucket/{key}") == f"s3://bucket/{key}"
