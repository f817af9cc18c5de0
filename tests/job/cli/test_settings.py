"""Settings: flags over environment over defaults, and one sentence for whatever cannot be accepted."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from job.cli.settings import Settings, new_run_id, parse_settings
from job.errors import UsageError
from job.storage.residency import EU_REGIONS

ROOT: Final = Path(__file__).parents[3]
BOTH: Final = ["--input", "/photos", "--output", "/out"]
A_PLACE: Final = "give a folder, file:///folder or s3://bucket/prefix"
A_COUNT: Final = "a whole number of at least 1"
EU: Final = "eu-west-1, eu-west-3, eu-central-1, eu-north-1, eu-south-1, eu-south-2"
# Every option: its field, a good value as typed, and what it becomes; a wrong one, and what is said of that.
OPTIONS: Final[dict[str, tuple[str, str, Any, str, str]]] = {
    "--input": ("inputs", "s3://photos/2026", ("s3://photos/2026",), "ftp://host/photos", A_PLACE),
    "--output": ("output", "/elsewhere", "/elsewhere", "", A_PLACE),
    "--components": ("components", "12", 12, "0", A_COUNT),
    "--variance": ("variance", "0.5", 0.5, "95", "a number from 0 to 1"),
    "--engine": ("engine", "tensorflow", "tensorflow", "cuda", "choose from 'litert', 'tensorflow'"),
    "--weights": ("weights", "/w.h5", Path("/w.h5"), "s3://bucket/w.h5", "give a path"),
    "--max-rejected": ("max_rejected", "0", 0.0, "5%", "a number from 0 to 1"),
    "--limit": ("limit", "7", 7, "-3", A_COUNT),
    "--manifest": ("manifest", "s3a://lists/a.csv", "s3://lists/a.csv", "http://host/a.csv", A_PLACE),
    "--wave": ("wave", "250", 250, "1.5", A_COUNT),
    "--refit": ("refit", "never", "never", "sometimes", "choose from 'auto', 'always', 'never'"),
    "--max-variance-loss": ("max_variance_loss", "0.5", 0.5, "1.5", "a number from 0 to 1"),
    "--max-pruned": ("max_pruned", "0.25", 0.25, "-1", "a number from 0 to 1"),
    "--keep-versions": ("keep_versions", "0.5", 0.5, "1e3", "a number of hours, as 0 or 168"),
    "--log-format": ("log_format", "json", "json", "xml", "choose from 'text', 'json'"),
    "--run-id": ("run_id", "night-1", "night-1", "a/b", "or . or _ or -"),
    "--cache": ("cache", "/cache", Path("/cache"), "s3://bucket/cache", "give a path"),
    "--regions": ("regions", "eu-west-3, eu-west-1", ("eu-west-3", "eu-west-1"), "eu-west-2", EU),
    "--max-photo-bytes": ("max_photo_bytes", "1000", 1000, "64MB", A_COUNT),
    "--max-photo-pixels": ("max_photo_pixels", "2000", 2000, "1e8", A_COUNT),
}
SWITCHES: Final = {
    "--standardize": "standardize",
    "--all-files": "all_files",
    "--prune": "prune",
    "--retry-rejected": "retry_rejected",
    "--overwrite": "overwrite",
}
MORE_WRONG: Final = [
    ("--limit", "٣", A_COUNT),
    ("--limit", "9" * 5000, "at most 15 digits"),
    ("--variance", "0", "a number above 0 and up to 1"),
    ("--variance", "nan", "a number from 0 to 1"),
    ("--run-id", ".hidden", "is not a letter or digit and"),
    ("--run-id", "x" * 65, "up to 63 more"),
    ("--regions", "eu-west-1,us-east-1", "us-east-1 is not one of"),
    ("--regions", ",", "nothing is not one of"),
]


def variable(flag: str) -> str:
    return "FRUITS_" + flag[2:].replace("-", "_").upper()


def refusal(argv: list[str], environment: dict[str, str] | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        parse_settings(argv, environment or {})
    assert caught.value.exit_code == 2
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def without(flag: str) -> list[str]:
    """Return the two options that every run needs, but for one that a test gives itself."""
    return [word for word in ("--input=/photos", "--output=/out") if not word.startswith(flag)]


def test_defaults_are_those_that_the_help_promises(capsys: pytest.CaptureFixture[str]) -> None:
    found = parse_settings(BOTH, {})
    assert found == Settings(("/photos",), "/out", found.run_id, Path.home() / ".cache/fruits")
    with pytest.raises(SystemExit):
        parse_settings(["--help"], {})
    words = capsys.readouterr().out
    options = {section.split()[0].replace("-", "_"): section for section in words.split("\n  --")[1:]}
    told = {name: re.search(r"\(default ([\w.]+)", section) for name, section in options.items()}
    promised = {name: match[1] for name, match in told.items() if match and hasattr(found, name)}
    assert len(promised) == 11
    assert promised == {name: str(getattr(found, name)) for name in promised}
    assert found.regions == EU_REGIONS


@pytest.mark.parametrize("flag", OPTIONS)
def test_a_flag_wins_over_the_environment_and_that_over_the_default(flag: str) -> None:
    field, value, wanted, *_ = OPTIONS[flag]
    base = without(flag)
    assert getattr(parse_settings([*base, flag, value], {}), field) == wanted
    assert getattr(parse_settings([*base, f"{flag}={value}"], {}), field) == wanted
    assert getattr(parse_settings(base, {variable(flag): value}), field) == wanted
    other = {"--input": "/other", "--output": "/other"}.get(flag, "not a good value")
    assert getattr(parse_settings([*base, flag, value], {variable(flag): other}), field) == wanted
    assert getattr(parse_settings([*base, f"{flag}={value}"], {variable(flag): other}), field) == wanted
    if flag not in ("--input", "--output"):
        unset = parse_settings(base, {variable(flag): ""})
        assert getattr(unset, field) != wanted, "an empty variable is none"


def test_the_options_tested_here_are_all_there_are() -> None:
    fields = {field.name for field in dataclasses.fields(Settings)}
    assert {field for field, *_ in OPTIONS.values()} | set(SWITCHES.values()) == fields


@pytest.mark.parametrize("flag", SWITCHES)
def test_a_switch_is_turned_by_its_flag_or_by_a_word_in_the_environment(flag: str) -> None:
    def turned(argv: list[str], environment: dict[str, str]) -> bool:
        return bool(getattr(parse_settings([*BOTH, *argv], environment), SWITCHES[flag]))

    assert not turned([], {})
    assert turned([flag], {})
    assert turned([flag], {variable(flag): "0"})
    assert all(turned([], {variable(flag): word}) for word in ("1", "true", "YES", "True"))
    assert not any(turned([], {variable(flag): word}) for word in ("0", "false", "No", ""))
    assert refusal(BOTH, {variable(flag): "perhaps"}).startswith(
        f"{variable(flag)}: 'perhaps' is not 1, true, yes, 0, false, no"
    )
    assert refusal([*BOTH, f"{flag}=yes"]).startswith(f"{flag}: ignored explicit argument 'yes'")


@pytest.mark.parametrize(
    ("flag", "value", "accepted"), [*((flag, *case[3:]) for flag, case in OPTIONS.items()), *MORE_WRONG]
)
def test_a_wrong_value_is_one_sentence_with_the_option_and_what_it_accepts(
    flag: str, value: str, accepted: str
) -> None:
    base = without(flag)
    sentence = refusal([*base, f"{flag}={value}"])
    assert sentence.startswith(f"{flag}: ")
    assert accepted in sentence
    if value:  # the environment cannot hold an empty value
        assert refusal(base, {variable(flag): value}) == sentence.replace(flag, variable(flag), 1)


@pytest.mark.parametrize("flag", OPTIONS)
def test_an_option_without_its_value_says_what_it_takes(flag: str) -> None:
    meaning = re.fullmatch(rf"{flag}: expected one argument \((.+)\)", refusal([*without(flag), flag]))
    assert meaning
    assert len(meaning[1]) > 10


@pytest.mark.parametrize(
    "words", [["--colour"], ["--colour=red"], ["photos/"], ["--out=x"], ["--over"], ["-x"]]
)
def test_unknown_arguments_and_abbreviations_are_refused_by_name(words: list[str]) -> None:
    assert refusal([*BOTH, *words]) == f"unknown argument {words[0]!r}: --help lists the options"


def test_a_list_of_photos_stands_in_for_an_input_and_may_be_narrowed_by_one() -> None:
    listed = ["--manifest", "s3://lists/today.csv", "--output", "/out"]
    assert parse_settings(listed, {}).inputs == ()
    assert parse_settings(listed, {"FRUITS_INPUT": "/photos"}).inputs == ("/photos",)
    assert refusal(listed[:2]).startswith("--output is missing")


@pytest.mark.parametrize("flag", ["--input", "--output"])
def test_a_missing_location_is_asked_for(flag: str) -> None:
    sentence = refusal(without(flag))
    assert sentence.startswith(f"{flag} is missing: give a folder, file:///folder or s3://bucket/prefix")


def test_a_count_and_a_share_of_components_exclude_each_other() -> None:
    both = {"FRUITS_COMPONENTS": "5", "FRUITS_VARIANCE": "0.5"}
    sentence = "--components and --variance exclude each other: give a count or a share, not both"
    assert refusal([*BOTH, "--components", "5", "--variance", "0.9"]) == sentence
    assert refusal(BOTH, both) == sentence
    by_flag = parse_settings([*BOTH, "--variance", "0.9"], both)
    assert (by_flag.components, by_flag.variance) == (None, 0.9)
    assert parse_settings([*BOTH, "--components", "9"], {"FRUITS_VARIANCE": "0.5"}).components == 9


def test_a_limit_is_no_reason_to_drop_what_lies_beyond_it() -> None:
    assert refusal([*BOTH, "--prune", "--limit", "5"]).startswith("--prune and --limit exclude each other")


def test_help_answers_whatever_else_is_wrong_with_an_example_and_every_option(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_settings(["--limit", "5", "--help"], {"FRUITS_LIMIT": "x", "FRUITS_ENGINE": "y"})
    assert ended.value.code == 0
    words = capsys.readouterr().out
    for flag in (*OPTIONS, *SWITCHES, "--help", "--version"):
        assert re.search(rf"^  (-h, )?{flag}\b.* [a-zA-Z]{{3}}", words, re.MULTILINE | re.DOTALL), flag
    for line in re.findall(r"^  (?:python -m job|spark-submit job/main.py) (.+)$", words, re.MULTILINE):
        parse_settings(line.split(), {})
    assert "example:" in words


def test_version_is_told_and_a_variable_of_that_name_means_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_settings(["--version"], {})
    assert ended.value.code == 0
    assert re.fullmatch(r"fruits \d+\.\d+\.\d+\n", capsys.readouterr().out)
    # A Kubernetes service that is called fruits puts the last one into every pod.
    parse_settings(BOTH, {"FRUITS_VERSION": "1.2", "FRUITS_HELP": "1", "FRUITS_PORT": "tcp://1.2.3.4"})


def test_inputs_are_sorted_and_told_apart_by_where_they_are() -> None:
    words = ["--input", "/b", "--input", "/a/", "--input", "/b/", "--input", "s3a://two", "--output", "/o"]
    assert parse_settings([*words, "--input", "/x/../a"], {"FRUITS_INPUT": "/c"}).inputs == (
        "/a",
        "/b",
        "s3://two",
    )


def test_without_a_home_the_cache_is_a_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_settings(BOTH, {"XDG_CACHE_HOME": "/xdg"}).cache == Path("/xdg/fruits")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.getuid", lambda: 99_999)
    assert parse_settings(BOTH, {}).cache.name == "fruits-99999"
    assert refusal(["--input", "~/x", *BOTH]).startswith("--input: ")


def test_run_ids_differ_are_accepted_again_and_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made = new_run_id()
    assert re.fullmatch(r"20\d{6}T\d{6}Z-[0-9a-f]{6}", made)
    assert parse_settings([*BOTH, "--run-id", made], {}).run_id == made
    assert new_run_id() != made
    monkeypatch.setattr("secrets.token_hex", lambda _: "000000")
    assert new_run_id() > made[:-6]


def test_settings_load_nothing_of_the_job_but_what_reads_arguments() -> None:
    script = "import sys, job.cli.settings; print(*sorted(name for name in sys.modules if name[:3] == 'job'))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.split() == [
        "job",
        "job.cli",
        "job.cli.parser",
        "job.cli.settings",
        "job.errors",
        "job.storage",
        "job.storage.locations",
        "job.storage.residency",
    ]
