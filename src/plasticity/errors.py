"""What can go wrong for a user, and the exit code each fault ends with.

Every message says what, where, got, expected, and what to do next. A fault of the program itself
is not wrapped: it keeps its traceback and exits with 1.
"""


class PlasticityError(Exception):
    """A fault that is told to the user in plain words, without a traceback."""

    exit_code = 1


class ConfigError(PlasticityError):
    """Parameters that cannot be run; the message lists every error at once."""

    exit_code = 2


class DataError(PlasticityError):
    """Data that are missing, or are not what their checksum says."""

    exit_code = 3


class CheckError(PlasticityError):
    """A result that failed its own check (extraction equality, counts, a table's schema)."""

    exit_code = 4


class DivergedError(PlasticityError):
    """Every seed diverged, so there is no result to report."""

    exit_code = 5


class DeviceError(PlasticityError):
    """A device that is not there or has too little memory, or a cluster that does not answer."""

    exit_code = 6


class StorageError(PlasticityError):
    """A file that could not be written or read."""

    exit_code = 7


class Interrupted(PlasticityError):  # noqa: N818 (nothing went wrong)
    """Stopped from outside, or another process holds the run; the same command continues."""

    exit_code = 75
