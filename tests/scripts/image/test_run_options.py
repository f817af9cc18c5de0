"""The options of run-docker.sh, before any container runs."""

import os
import subprocess
from pathlib import Path

import pytest

from job.errors import UsageError
from job.table import commits, layout
from scripts.image import containers, run
from tests.support.image import ROOT


def test_without_an_engine_it_says_so(tmp_path: Path) -> None:
    environment = {**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/none.sock"}
    command = [str(ROOT / "scripts" / "run-docker.sh"), "--input", "x", "--output", str(tmp_path / "out")]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1 and result.stderr.startswith("error: docker version: ")


def test_missing_credentials_are_explained_as_for_the_other_commands(
    tmp_path: Path, aws_environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "docker").write_text("#!/bin/sh\n")  # an engine that has every image
    (tmp_path / "docker").chmod(0o755)
    aws_environment.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    arguments = ["--input", "s3://photos/2026", "--output", "s3://results/2026"]
    aws_environment.delenv("AWS_ACCESS_KEY_ID")
    missing = "no AWS credentials (NoCredentialsError): log in, or name a profile with --profile"
    unknown = "there is no AWS profile nobody: look at ~/.aws/config"
    for profile, sentence in (([], missing), (["--profile", "nobody"], unknown)):
        assert run.main([*arguments, *profile]) == 6
        assert capsys.readouterr().err == f"error: {sentence}\n"


@pytest.mark.parametrize(
    ("job", "code", "is_said"),
    [("touch", 0, True), ("true", 0, False), ("rm", 0, False), ("false", 1, False)],
)
def test_a_run_ends_with_the_address_of_its_report_if_it_made_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    job: str,
    code: int,
    is_said: bool,
) -> None:
    report = tmp_path / "my output" / "report.html"
    report.parent.mkdir()
    report.touch()  # an earlier run's
    script = f'case "$*" in *spark-submit*) {job} "{report}" ;; esac'
    (tmp_path / "docker").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (report.parent / "photos" / "_delta_log").mkdir(parents=True)
    assert run.main(["--input", str(tmp_path), "--output", str(report.parent)]) == code
    address = f"report: file://{tmp_path}/my%20output/report.html, to open in a browser\n"
    assert capsys.readouterr().err == (address if is_said else "")


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("/data/photos", Path("/data/photos")),
        ("/data/2025/../2026", Path("/data/2026")),
        ("file:///data/my%20photos", Path("/data/my photos")),
        ("s3a://bucket/key", "s3a://bucket/key"),
        ("/run/media/stick", Path("/run/media/stick")),
        ("/tmp/photos", Path("/tmp/photos")),
    ],
)
def test_locations_are_paths_here_or_uris_in_s3(text: str, location: Path | str) -> None:
    options, job_options = run._parse(["--input", text, "--limit", "5"], {})
    assert options.input == [location] and job_options == ["--limit", "5"]


@pytest.mark.parametrize(
    "text", ["/", "/usr", "/etc/x", "/opt/fruits/job", "/home", "/tmp", "/var/log/x", "file:///proc"]
)
def test_folders_of_the_images_own_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="its own folder"):
        run._parse(["--output", text], {})


def test_the_environment_counts_as_flags_do() -> None:
    flags = {"FRUITS_INPUT": "/data", "FRUITS_LIMIT": "5", "FRUITS_CACHE": "/x"}
    environment = flags | {"AWS_REGION": "eu-west-1"}
    options, _ = run._parse(["--output", "/out"], environment)
    assert options.input == [Path("/data")]
    passed_on = set(run._environment(environment, uses_s3=False))
    assert "FRUITS_LIMIT" in passed_on
    assert not {"FRUITS_INPUT", "FRUITS_CACHE", "AWS_REGION"} & passed_on
    assert "AWS_REGION" in run._environment(environment, uses_s3=True)


def test_a_folder_with_a_comma_or_a_quote_is_one_field_of_a_mount() -> None:
    assert containers.mount_options(Path('/a,b "c"'), read_only=True)[1] == (
        'type=bind,"source=/a,b ""c""","target=/a,b ""c""",readonly'
    )


def test_the_job_writes_exactly_the_entries_that_change_their_owner() -> None:
    assert sorted(containers.OUTPUT_ENTRIES) == sorted(layout.ENTRIES)
    assert sorted(containers.EARLIER_ENTRIES) == sorted(layout.EARLIER)
    assert f"{layout.PHOTOS}/{commits.LOG}" == containers.TABLE_LOG
    assert layout.EARLIER_PROVENANCE == containers.EARLIER_PROVENANCE


def test_only_the_jobs_entries_of_an_output_change_their_owner(tmp_path: Path) -> None:
    (tmp_path / "features").mkdir()
    assert containers.output_entries(tmp_path) == list(containers.OUTPUT_ENTRIES), (
        "somebody's features stay theirs"
    )
    (tmp_path / "pca").mkdir()
    with pytest.raises(UsageError, match="has pca, not the job's"):
        containers.output_entries(tmp_path)
    (tmp_path / "_input.json").touch()
    assert containers.output_entries(tmp_path) == [*containers.OUTPUT_ENTRIES, *containers.EARLIER_ENTRIES], (
        "for an --overwrite"
    )
    (tmp_path / "photos").mkdir()
    with pytest.raises(UsageError, match="has photos, not the job's"):
        containers.output_entries(tmp_path)
    (tmp_path / "photos" / "_delta_log").mkdir()
    (tmp_path / "_input.json").unlink()
    assert containers.output_entries(tmp_path) == list(containers.OUTPUT_ENTRIES)
