"""The errors that a user can mend, each with one sentence and an exit code.

Any other exception is a fault of the code or of the machine: it keeps its traceback, and the exit code is 1.
"""


class JobError(Exception):
    """An error whose message is one sentence: what is wrong, where, and how to mend it."""

    exit_code: int = 1


class UsageError(JobError):
    """The arguments are wrong, or name something that cannot be used."""

    exit_code = 2


class DataError(JobError):
    """The data is not acceptable: there is none, or too much of it was rejected."""

    exit_code = 3


class ResidencyError(JobError):
    """Data or compute would leave the European Union."""

    exit_code = 4
