"""The command lines of erase, show and compact: options, sentences, exit codes, and no Spark."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from job import commands, main
from tests.outputs import Made, make, photos
from tests.s3_servers import make_bucket
from tests.test_erase import assert_right

ROOT = Path(__file__).parents[1]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make(str(tmp_path / "out"), photos(tmp_path / "photos", 32), files=1)


@pytest.fixture(autouse=True)
def _signals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)


def refusal(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    code = main.main([str(word) for word in words])
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1, "one sentence"
    return code, told.err


def test_erase_erases_and_says_what_stays(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    gone = made.good[4]
    words = ["erase", "--output", made.location, "--path", gone, "--requested-by", "request 17"]
    assert main.main(words) == 0
    told = capsys.readouterr().out
    assert "erased rows: 1 of features, 1 of pca, 1 of pca_csv, 1 of inventory" in told
    assert "1 are still where they were read: delete them" in told
    assert "--refit always" in told
    assert Path(gone).name not in told
    assert_right(made, [gone])


def test_show_answers_with_one_json_object(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["show", "--output", made.location, "--sha256", made.sha256[made.good[4]].upper()]
    assert main.main([*words, "--log-format", "json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [photo["path"] for photo in said["photos"]] == [made.good[4]]


def test_show_of_an_unknown_photo_ends_with_3(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = refusal(capsys, "show", "--output", made.location, "--path", "/nowhere.jpg")
    assert code == 3
    assert "nothing is known of /nowhere.jpg" in told


def test_compact_says_what_it_did(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["compact", "--output", made.location]) == 0
    assert "features: 2 files are 1 now" in capsys.readouterr().out
    assert main.main(["compact", "--output", made.location]) == 0
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["erase", "--path", "/a.jpg", "--requested-by", "me"], "--output is missing"),
        (
            ["erase", "--output", "/o", "--requested-by", "me"],
            "nothing is selected: give --path, --prefix or",
        ),
        (["erase", "--output", "/o", "--path", "/a.jpg"], "--requested-by is missing"),
        (["erase", "--output", "/o", "--requested-by", " "], "--requested-by: ' ' is not a name"),
        (["erase", "--output", "/o", "--sha256", "12ab"], "--sha256: '12ab' is not 64 hexadecimal digits"),
        (["show", "--output", "/o"], "nothing is selected: give --path or --sha256"),
        (["show", "--output", "/o", "--prefix", "/a"], "unknown argument"),
        (["compact", "--output", "/o", "--rows", "0"], "--rows: '0' is not a whole number"),
        (["compact", "--output", "/nowhere/o"], "/nowhere/o is no output of this job"),
    ],
)
def test_wrong_arguments_are_one_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told = refusal(capsys, *words)
    assert code == 2
    assert sentence in told


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
    assert commands._prefix(given) == prefix


def test_options_can_stand_in_the_environment(
    made: Made, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"OUTPUT": made.location, "REQUESTED_BY": "request 17", "DRY_RUN": "1"}.items():
        monkeypatch.setenv(f"FRUITS_{name}", value)
    assert main.main(["erase", "--path", made.good[4]]) == 0
    assert "would erase rows: 1 of features" in capsys.readouterr().out


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_an_output_outside_the_eu_ends_with_4(
    name: str, s3_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert s3_server
    more = {"erase": ["--path", "/a", "--requested-by", "me"], "show": ["--path", "/a"], "compact": []}[name]
    code, told = refusal(capsys, name, "--output", f"s3://{make_bucket('us-east-1')}/out", *more)
    assert code == 4
    assert "us-east-1" in told


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_an_interruption_is_one_sentence_and_ends_with_130(
    name: str, made: Made, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("job.traces.check_ours", interrupt)
    more = {"erase": ["--path", "/a", "--requested-by", "me"], "show": ["--path", "/a"], "compact": []}[name]
    code, told = refusal(capsys, name, "--output", made.location, *more)
    assert code == 130
    assert "interrupted: " in told


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_help_shows_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main([name, "--help"])
    assert ended.value.code == 0
    assert f"python -m job {name} --output" in capsys.readouterr().out


def test_a_command_starts_no_spark_and_loads_no_network(made: Made) -> None:
    program = (
        "import sys; from job.main import main; code = main(sys.argv[1:]); import pyspark;"
        "print(code, pyspark.SparkContext._gateway, 'tensorflow' in sys.modules)"
    )
    words = [sys.executable, "-c", program, "show", "--output", made.location, "--path", made.good[4]]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-1] == "0 None False"


@pytest.mark.parametrize("key", ["a//b.jpg", "a/./b.jpg", "a/../b.jpg", "/a.jpg", "a%2Fb.jpg", "é b.jpg"])
def test_an_object_is_selected_by_its_very_key(key: str) -> None:
    assert (
        commands._path(f"s3://bucket/{key}") == commands._path(f"s3a://bucket/{key}") == f"s3://bucket/{key}"
    )
    assert commands._prefix(f"s3a://bucket/{key}") == f"s3://bucket/{key}"
