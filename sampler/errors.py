"""The errors of sampling that a user can mend, and how they show what was found."""

import reprlib

from patchindex.errors import UserError

_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxlist = 2, 3  # a small file may nest references into a value of gigabytes
_LONGEST = 200  # characters of another library's message


class SamplerConfigError(UserError, ValueError):
    """A setting, state or noise that a machine cannot sample with."""


class OutputError(UserError, OSError):
    """A place that results cannot be written to."""


class ResultsError(UserError, ValueError):
    """A folder whose results cannot be read, or are not what their program wrote."""


class NetworkError(UserError, ValueError):
    """A network that cannot be built, loaded, trained further, or asked about these images."""


class NoGradientError(NetworkError):
    """A denoiser of which torch finds no gradient."""


class TrainingDivergedError(UserError, RuntimeError):
    """Training whose loss is no number any more; the last good checkpoint is still there."""


def shown(value: object) -> str:
    """The value for a message, cut where it is long: a file may hold anything.

    Example:
        >>> shown([1] * 1000)
        '[1, 1, 1, ...]'
    """
    try:
        return _SHORT.repr(value)
    except ValueError:  # Python writes no numbers of more than 4,300 digits
        return "a number of thousands of digits"


def reason(error: BaseException) -> str:
    """What another library's error says, in one line."""
    return " ".join(str(error).split())[:_LONGEST].rstrip(".") or type(error).__name__
