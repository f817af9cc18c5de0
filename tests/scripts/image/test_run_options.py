"""What run-docker.sh makes of its options, before any container runs."""

import os
import subprocess
from pathlib import Path

import pytest

from job.table import commits, layout
from scripts.image import containers, run
from tests.support.image import ROOT


def test_without_an_engine_it_says_so(tmp_path: Path) -> None:
    environment = {**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/none.sock"}
    command = [str(ROOT / "scripts" / "run-docker.sh"), "--input", "x", "--output", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("error: docker version: ")


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
    given, rest = run._parse(["--input", text, "--limit", "5"], {})
    assert given.input == [location] and rest == ["--limit", "5"]


@pytest.mark.parametrize(
    "text", ["/", "/usr", "/etc/x", "/opt/fruits/job", "/home", "/tmp", "/var/log/x", "file:///proc"]
)
def test_folders_of_the_images_own_are_refused(text: str) -> None:
    with pytest.raises(containers.ContainerError, match="its own folder"):
        run._parse(["--output", text], {})


def test_the_environment_counts_as_flags_do() -> None:
    flags = {"FRUITS_INPUT": "/data", "FRUITS_LIMIT": "5", "FRUITS_CACHE": "/x"}
    environment = flags | {"AWS_REGION": "eu-west-1"}
    given, _ = run._parse(["--output", "/out"], environment)
    assert given.input == [Path("/data")]
    passed_on = set(run._environment(environment, s3=False))
    assert "FRUITS_LIMIT" in passed_on
    assert not {"FRUITS_INPUT", "FRUITS_CACHE", "AWS_REGION"} & passed_on
    assert "AWS_REGION" in run._environment(environment, s3=True)


def test_a_folder_with_a_comma_or_a_quote_is_one_field_of_a_mount() -> None:
    assert containers.bind(Path('/a,b "c"'), read_only=True)[1] == (
        'type=bind,"source=/a,b ""c""","target=/a,b ""c""",readonly'
    )


def test_what_is_handed_over_is_what_the_job_writes() -> None:
    assert sorted(containers.OURS) == sorted(layout.FOLDERS)
    assert sorted(containers.EARLIER) == sorted(layout.EARLIER)
    assert f"{layout.PHOTOS}/{commits.LOG}" == containers.TABLE
    assert layout.EARLIER_PROVENANCE == containers.EARLIER_CLAIM


def test_of_an_output_only_what_is_the_jobs_is_handed_over(tmp_path: Path) -> None:
    (tmp_path / "features").mkdir()
    assert containers.ours(tmp_path) == list(containers.OURS), "somebody's features stay theirs"
    (tmp_path / "pca").mkdir()
    with pytest.raises(containers.ContainerError, match="has pca, not the job's"):
        containers.ours(tmp_path)
    (tmp_path / "_input.json").touch()
    assert containers.ours(tmp_path) == [*containers.OURS, *containers.EARLIER], "for an --overwrite"
    (tmp_path / "photos").mkdir()
    with pytest.raises(containers.ContainerError, match="has photos, not the job's"):
        containers.ours(tmp_path)
    (tmp_path / "photos" / "_delta_log").mkdir()
    (tmp_path / "_input.json").unlink()
    assert containers.ours(tmp_path) == list(containers.OURS)
