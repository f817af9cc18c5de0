"""Locations: how inputs and outputs that a user writes are normalised."""

import os
from pathlib import Path

import pytest

from job.cli.settings import parse_settings
from job.errors import UsageError
from job.storage.locations import normalise


@pytest.mark.parametrize(
    ("written", "normalised"),
    [
        ("/photos/", "/photos"),
        ("/", "/"),
        ("//host/photos//of/./2026/", "/host/photos/of/2026"),
        ("/with spaces /100%25/#1?/é\n", "/with spaces /100%25/#1?/é\n"),
        ("/a://b", "/a:/b"),
        ("/~/~x", "/~/~x"),
        ("file:///with%20spaces/100%25/%23/a+b/", "/with spaces/100%/#/a+b"),
        ("file:///not/a/fragment#1?", "/not/a/fragment#1?"),
        ("file:///latin-%E9", os.fsdecode(b"/latin-\xe9")),
        ("file://localhost/photos", "/photos"),
        ("FILE:///photos", "/photos"),
        ("file:/as/hadoop/prints%20it", "/as/hadoop/prints it"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3a://bucket/a/b/", "s3://bucket/a/b"),
        ("S3://bucket//a///b//", "s3://bucket/a/b"),
        ("s3://bucket/with spaces/100%25/#?/~/é", "s3://bucket/with spaces/100%25/#?/~/é"),
    ],
)
def test_locations_change_only_in_their_scheme_and_slashes(written: str, normalised: str) -> None:
    assert normalise(written) == normalised
    assert normalise(normalised) == normalised, "normalising again changes nothing"


@pytest.mark.parametrize(
    "written",
    [
        *(
            "",
            "gs://bucket/x",
            "s3n://bucket/x",
            "http://host/x",
            "s3://",
            "s3:///key",
            "s3://Bucket/x",
            "s3://ab",
        ),
        *(
            "s3://bucket/a/../b",
            "s3://bucket/./b",
            "file://host/x",
            "file://",
            "file://[x/y",
            "file:///a%00b",
        ),
    ],
)
def test_other_locations_are_refused_with_the_accepted_forms(written: str) -> None:
    with pytest.raises(UsageError, match=r"give a folder, file:///folder or s3://bucket/prefix\Z"):
        normalise(written)


def test_relative_paths_start_here_and_a_tilde_at_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert normalise("photos/./2026/") == f"{tmp_path}/photos/2026"
    assert normalise(".") == str(tmp_path)
    assert normalise("~") == "/home/me"
    assert normalise("~/photos") == normalise("~/x/../photos") == "/home/me/photos"
    assert normalise("~backup/photos") == f"{tmp_path}/~backup/photos", "a folder of that name"
    settings = parse_settings(["--input=in", "--output=file:///out", "--cache=~/c", "--weights=w.h5"], {})
    assert settings.inputs == (f"{tmp_path}/in",)
    assert (settings.output, settings.cache, settings.weights) == (
        "/out",
        Path("/home/me/c"),
        tmp_path / "w.h5",
    )


def test_two_dots_lead_above_the_target_of_a_link(tmp_path: Path) -> None:
    (tmp_path / "real/deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real/deep")
    (tmp_path / "real/kept").symlink_to(tmp_path)
    assert normalise(f"{tmp_path}/link/../kept") == f"{tmp_path}/real/kept", "as the kernel resolves it"
    assert normalise(f"{tmp_path}/not/there/../yet") == f"{tmp_path}/not/yet"
    assert normalise(f"{tmp_path}/link/photos") == f"{tmp_path}/link/photos", "links stay as they are"
