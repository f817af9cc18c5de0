"""Settings: flags precede the environment and defaults, and wrong values are refused in one sentence."""

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
REQUIRED: Final = ["--input", "/photos", "--output", "/out"]
LOCATION_FORMS: Final = "give a folder, file:///folder or s3://bucket/prefix"
COUNT_FORM: Final = "a whole number of at least 1"
EU: Final = "eu-west-1, eu-west-3, eu-central-1, eu-north-1, eu-south-1, eu-south-2"
# Of every option: its field, a valid argument and its value, a wrong argument and the message.
OPTIONS: Final[dict[str, tuple[str, str, Any, str, str]]] = {
    "--input": ("inputs", "s3://photos/2026", ("s3://photos/2026",), "ftp://host/photos", LOCATION_FORMS),
    "--output": ("output", "/elsewhere", "/elsewhere", "", LOCATION_FORMS),
    "--components": ("components", "12", 12, "0", COUNT_FORM),
    "--variance": ("variance", "0.5", 0.5, "95", "a number from 0 to 1"),
    "--fit-on": ("fit_on", "training", "training", "test", "choose from 'all', 'training'"),
    "--classify": ("classify", "all", "all", "some", "choose from 'unlabelled', 'all'"),
    "--engine": ("engine", "tensorflow", "tensorflow", "cuda", "choose from 'litert', 'tensorflow'"),
    "--weights": ("weights", "/w.h5", Path("/w.h5"), "s3://bucket/w.h5", "give a path"),
    "--max-rejected": ("max_rejected", "0", 0.0, "5%", "a number from 0 to 1"),
    "--limit": ("limit", "7", 7, "-3", COUNT_FORM),
    "--manifest": ("manifest", "s3a://lists/a.csv", "s3://lists/a.csv", "http://host/a.csv", LOCATION_FORMS),
    "--wave": ("wave", "250", 250, "1.5", COUNT_FORM),
    "--refit": ("refit", "never", "never", "sometimes", "choose from 'auto', 'always', 'never'"),
    "--max-variance-loss": ("max_variance_loss", "0.5", 0.5, "1.5", "a number from 0 to 1"),
    "--max-pruned": ("max_pruned", "0.25", 0.25, "-1", "a number from 0 to 1"),
    "--keep-versions": ("keep_versions", "0.5", 0.5, "1e3", "a number of hours, as 0 or 168"),
    "--language": ("language", "fr", "fr", "de", "choose from 'en', 'fr'"),
    "--hourly-cost": ("hourly_cost", "0.54", 0.54, "-1", "a number of US dollars, as 0.54"),
    "--log-format": ("log_format", "json", "json", "xml", "choose from 'text', 'json'"),
    "--run-id": ("run_id", "night-1", "night-1", "a/b", "or . or _ or -"),
    "--cache": ("cache", "/cache", Path("/cache"), "s3://bucket/cache", "give a path"),
    "--regions": ("regions", "eu-west-3, eu-west-1", ("eu-west-3", "eu-west-1"), "eu-west-2", EU),
    "--max-photo-bytes": ("max_photo_bytes", "1000", 1000, "64MB", COUNT_FORM),
    "--max-photo-pixels": ("max_photo_pixels", "2000", 2000, "1e8", COUNT_FORM),
}
SWITCHES: Final = {
    "--standardize": "standardize",
    "--all-files": "all_files",
    "--prune": "prune",
    "--retry-rejected": "retry_rejected",
    "--overwrite": "overwrite",
    "--no-report": "no_report",
}
WRONG_ARGUMENTS: Final = [
    ("--limit", "٣", COUNT_FORM),
    ("--limit", "9" * 5000, "at most 15 digits"),
    ("--variance", "0", "a number above 0 and up to 1"),
    ("--variance", "nan", "a number from 0 to 1"),
    ("--hourly-cost", "nan", "a number of US dollars"),
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
    """Return the two required options, without the given one."""
    return [option for option in ("--input=/photos", "--output=/out") if not option.startswith(flag)]


def test_defaults_are_those_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    parsed = parse_settings(REQUIRED, {})
    assert parsed == Settings(("/photos",), "/out", parsed.run_id, Path.home() / ".cache/fruits")
    with pytest.raises(SystemExit):
        parse_settings(["--help"], {})
    help_text = capsys.readouterr().out
    options = {section.split()[0].replace("-", "_"): section for section in help_text.split("\n  --")[1:]}
    help_defaults = {name: re.search(r"\(default ([\w.]+)", section) for name, section in options.items()}
    expected = {name: match[1] for name, match in help_defaults.items() if match and hasattr(parsed, name)}
    assert len(expected) == 13
    assert expected == {name: str(getattr(parsed, name)) for name in expected}
    assert parsed.regions == EU_REGIONS


@pytest.mark.parametrize("flag", OPTIONS)
def test_a_flag_precedes_the_environment_and_that_the_default(flag: str) -> None:
    field, value, expected, *_ = OPTIONS[flag]
    base = without(flag)
    assert getattr(parse_settings([*base, flag, value], {}), field) == expected
    assert getattr(parse_settings([*base, f"{flag}={value}"], {}), field) == expected
    assert getattr(parse_settings(base, {variable(flag): value}), field) == expected
    other = {"--input": "/other", "--output": "/other"}.get(flag, "not a good value")
    assert getattr(parse_settings([*base, flag, value], {variable(flag): other}), field) == expected
    assert getattr(parse_settings([*base, f"{flag}={value}"], {variable(flag): other}), field) == expected
    if flag not in ("--input", "--output"):
        unset = parse_settings(base, {variable(flag): ""})
        assert getattr(unset, field) != expected, "an empty variable is ignored"


def test_the_tested_options_are_complete() -> None:
    fields = {field.name for field in dataclasses.fields(Settings)}
    assert {field for field, *_ in OPTIONS.values()} | set(SWITCHES.values()) == fields


@pytest.mark.parametrize("flag", SWITCHES)
def test_a_switch_is_set_by_its_flag_or_by_a_word_in_the_environment(flag: str) -> None:
    def is_set(arguments: list[str], environment: dict[str, str]) -> bool:
        return bool(getattr(parse_settings([*REQUIRED, *arguments], environment), SWITCHES[flag]))

    assert not is_set([], {})
    assert is_set([flag], {})
    assert is_set([flag], {variable(flag): "0"})
    assert all(is_set([], {variable(flag): word}) for word in ("1", "true", "YES", "True"))
    assert not any(is_set([], {variable(flag): word}) for word in ("0", "false", "No", ""))
    assert refusal(REQUIRED, {variable(flag): "perhaps"}).startswith(
        f"{variable(flag)}: 'perhaps' is not 1, true, yes, 0, false, no"
    )
    assert refusal([*REQUIRED, f"{flag}=yes"]).startswith(f"{flag}: ignored explicit argument 'yes'")


@pytest.mark.parametrize(
    ("flag", "value", "accepted"), [*((flag, *case[3:]) for flag, case in OPTIONS.items()), *WRONG_ARGUMENTS]
)
def test_a_wrong_value_is_refused_with_the_option_and_the_accepted_values(
    flag: str, value: str, accepted: str
) -> None:
    base = without(flag)
    sentence = refusal([*base, f"{flag}={value}"])
    assert sentence.startswith(f"{flag}: ")
    assert accepted in sentence
    if value:  # the environment cannot hold an empty value
        assert refusal(base, {variable(flag): value}) == sentence.replace(flag, variable(flag), 1)


@pytest.mark.parametrize("flag", OPTIONS)
def test_an_option_without_its_value_is_refused_with_the_accepted_values(flag: str) -> None:
    meaning = re.fullmatch(rf"{flag}: expected one argument \((.+)\)", refusal([*without(flag), flag]))
    assert meaning
    assert len(meaning[1]) > 10


@pytest.mark.parametrize(
    "arguments", [["--colour"], ["--colour=red"], ["photos/"], ["--out=x"], ["--over"], ["-x"]]
)
def test_unknown_arguments_and_abbreviations_are_refused_by_name(arguments: list[str]) -> None:
    assert refusal([*REQUIRED, *arguments]) == f"unknown argument {arguments[0]!r}: --help lists the options"


def test_a_manifest_replaces_the_input_and_may_be_narrowed_by_one() -> None:
    arguments = ["--manifest", "s3://lists/today.csv", "--output", "/out"]
    assert parse_settings(arguments, {}).inputs == ()
    assert parse_settings(arguments, {"FRUITS_INPUT": "/photos"}).inputs == ("/photos",)
    assert refusal(arguments[:2]).startswith("--output is missing")


@pytest.mark.parametrize("flag", ["--input", "--output"])
def test_a_missing_location_is_named(flag: str) -> None:
    sentence = refusal(without(flag))
    assert sentence.startswith(f"{flag} is missing: give a folder, file:///folder or s3://bucket/prefix")


def test_a_count_and_a_share_of_components_exclude_each_other() -> None:
    both = {"FRUITS_COMPONENTS": "5", "FRUITS_VARIANCE": "0.5"}
    sentence = "--components and --variance exclude each other: give a count or a share, not both"
    assert refusal([*REQUIRED, "--components", "5", "--variance", "0.9"]) == sentence
    assert refusal(REQUIRED, both) == sentence
    by_flag = parse_settings([*REQUIRED, "--variance", "0.9"], both)
    assert (by_flag.components, by_flag.variance) == (None, 0.9)
    assert parse_settings([*REQUIRED, "--components", "9"], {"FRUITS_VARIANCE": "0.5"}).components == 9


def test_pruning_with_a_limit_is_refused() -> None:
    sentence = refusal([*REQUIRED, "--prune", "--limit", "5"])
    assert sentence.startswith("--prune and --limit exclude each other")


def test_help_shows_an_example_and_every_option_despite_wrong_arguments(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_settings(["--limit", "5", "--help"], {"FRUITS_LIMIT": "x", "FRUITS_ENGINE": "y"})
    assert caught.value.code == 0
    help_text = capsys.readouterr().out
    for flag in (*OPTIONS, *SWITCHES, "--help", "--version"):
        assert re.search(rf"^  (-h, )?{flag}\b.* [a-zA-Z]{{3}}", help_text, re.MULTILINE | re.DOTALL), flag
    for line in re.findall(r"^  (?:python -m job|spark-submit job/main.py) (.+)$", help_text, re.MULTILINE):
        parse_settings(line.split(), {})
    assert "example:" in help_text


def test_version_is_printed_and_its_environment_variable_is_ignored(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_settings(["--version"], {})
    assert caught.value.code == 0
    assert re.fullmatch(r"fruits \d+\.\d+\.\d+\n", capsys.readouterr().out)
    # A Kubernetes service named fruits sets FRUITS_PORT in every pod.
    parse_settings(REQUIRED, {"FRUITS_VERSION": "1.2", "FRUITS_HELP": "1", "FRUITS_PORT": "tcp://1.2.3.4"})


def test_inputs_are_normalised_sorted_and_unique() -> None:
    arguments = ["--input=/b", "--input=/a/", "--input=/b/", "--input=s3a://two", "--output=/o"]
    assert parse_settings([*arguments, "--input", "/x/../a"], {"FRUITS_INPUT": "/c"}).inputs == (
        "/a",
        "/b",
        "s3://two",
    )


def test_without_a_home_the_cache_is_a_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_settings(REQUIRED, {"XDG_CACHE_HOME": "/xdg"}).cache == Path("/xdg/fruits")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.getuid", lambda: 99_999)
    assert parse_settings(REQUIRED, {}).cache.name == "fruits-99999"
    assert refusal(["--input", "~/x", *REQUIRED]).startswith("--input: ")


def test_run_ids_are_unique_valid_arguments_and_sorted_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = new_run_id()
    assert re.fullmatch(r"20\d{6}T\d{6}Z-[0-9a-f]{6}", run_id)
    assert parse_settings([*REQUIRED, "--run-id", run_id], {}).run_id == run_id
    assert new_run_id() != run_id
    monkeypatch.setattr("secrets.token_hex", lambda _: "000000")
    assert new_run_id() > run_id[:-6]


def test_settings_load_only_the_modules_that_read_arguments() -> None:
    script = "import sys, job.cli.settings; print(*sorted(name for name in sys.modules if name[:3] == 'job'))"
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.split() == [
        "job",
        "job.cli",
        "job.cli.parser",
        "job.cli.settings",
        "job.errors",
        "job.storage",
        "job.storage.locations",
        "job.storage.residency",
    ]
