"""The errors that a user can mend: one sentence each, and the exit code that goes with it.

Anything else that goes wrong is a fault of ours or of the machine, keeps its traceback and ends with 1.
"""


class JobError(Exception):
    """An error whose sentence says what is wrong, where, and how to mend it."""

    exit_code: int = 1


class UsageError(JobError):
    """The arguments are wrong, or name something that cannot be used."""

    exit_code = 2


class DataError(JobError):
    """The data is not acceptable: nothing to read, or too much of it refused."""

    exit_code = 3


class ResidencyError(JobError):
    """Data or compute would leave the European Union."""

    exit_code = 4
