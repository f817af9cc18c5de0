"""Turn URIs and paths from the command line into locations: absolute paths, or ``s3://bucket/key``."""

import re
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from job.errors import UsageError

LOCATION_FORMS: Final = "folder, file:///folder or s3://bucket/prefix"

# Scheme, host or bucket, path; Hadoop prints file:/folder with one slash.
_URI: Final = re.compile(r"(file(?=:/[^/])|[A-Za-z][A-Za-z0-9+.-]*(?=://)):(?://([^/]*))?(.*)", re.DOTALL)


def normalise(uri: str) -> str:
    """Turn a URI or path into a location.

    ``s3a://`` and ``s3://`` are the same. ``file://`` URIs are percent-decoded. Plain paths are literal,
    except for a leading ``~``, the user's home.

    Raises
    ------
    UsageError
        If the scheme is not supported, or the bucket is missing or malformed.
    """
    match = _URI.fullmatch(uri)
    if match is None:
        return _absolute(uri)
    scheme, host, path = match[1].lower(), match[2] or "", match[3]
    if scheme == "file" and host in ("", "localhost"):
        return _absolute(unquote(path, errors="surrogateescape"))
    parts = [part for part in path.split("/") if part]  # as in Hadoop, // means /
    if scheme not in ("s3", "s3a") or not re.fullmatch("[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", host):
        raise UsageError(f"{uri!r} is no location: give a {LOCATION_FORMS}")
    if {".", ".."} & set(parts):
        raise UsageError(f"{uri!r} has a . or .. in it, which S3 does not resolve: give a {LOCATION_FORMS}")
    return "/".join(["s3:/", host, *parts])


def _absolute(text: str) -> str:
    if not text or "\0" in text:
        raise UsageError(f"{text!r} is no location: give a {LOCATION_FORMS}")
    home = text == "~" or text.startswith("~/")  # ~name is left alone: it can be a folder's name
    path = (Path(text).expanduser() if home else Path(text)).absolute()
    if ".." in path.parts:
        # After a link, `..` is the parent of its target, so the path up to the last `..` must be resolved.
        start = len(path.parts) - path.parts[::-1].index("..")
        path = Path(*path.parts[:start]).resolve().joinpath(*path.parts[start:])
    return "/" + str(path).lstrip("/")  # Hadoop would read a host after two slashes


def object_location(text: str) -> str | None:
    """Return an object's location with all slashes and dots of its key; None if `text` has no key."""
    scheme, _, rest = text.partition("://")
    if scheme.lower() in ("s3", "s3a") and normalise(f"s3://{rest.split('/')[0]}") and "/" in rest:
        return f"s3://{rest}"
    return None
