"""Lets tests that run as root meet permissions."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

NOBODY: Final = 65_534


@contextmanager
def unprivileged() -> Iterator[None]:
    """Run all threads of this process without root's privileges; other users are not affected."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if user == 0:
            os.seteuid(0)
