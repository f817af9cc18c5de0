"""Locations: what a user writes for an input or an output, and what it means."""

import os
from pathlib import Path

import pytest

from job.cli.settings import parse_settings
from job.errors import UsageError
from job.storage.locations import normalise


@pytest.mark.parametrize(
    ("written", "meant"),
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
def test_locations_are_taken_to_the_letter_but_for_their_scheme_and_slashes(written: str, meant: str) -> None:
    assert normalise(written) == meant
    assert normalise(meant) == meant, "twice is once"


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
def test_what_is_no_location_is_refused_with_what_is(written: str) -> None:
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
    found = parse_settings(["--input=in", "--output=file:///out", "--cache=~/c", "--weights=w.h5"], {})
    assert found.inputs == (f"{tmp_path}/in",)
    assert (found.output, found.cache, found.weights) == ("/out", Path("/home/me/c"), tmp_path / "w.h5")


def test_two_dots_lead_above_what_a_link_points_to(tmp_path: Path) -> None:
    (tmp_path / "real/deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real/deep")
    (tmp_path / "real/kept").symlink_to(tmp_path)
    assert normalise(f"{tmp_path}/link/../kept") == f"{tmp_path}/real/kept", "as the kernel sees it"
    assert normalise(f"{tmp_path}/not/there/../yet") == f"{tmp_path}/not/yet"
    assert normalise(f"{tmp_path}/link/photos") == f"{tmp_path}/link/photos", "links stay as they are"
