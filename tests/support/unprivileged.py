"""Permissions that count: root, who may do everything, is nobody for a while."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

NOBODY: Final = 65_534


@contextmanager
def unprivileged() -> Iterator[None]:
    """Run without root's privileges, in every thread of this process; without effect for anyone else."""
    own = os.geteuid()
    if own == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if own == 0:
            os.seteuid(0)
