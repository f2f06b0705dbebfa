"""The errors of sampling that a user can mend."""

from patchindex import UserError


class SamplerConfigError(UserError, ValueError):
    """A setting, state or noise that a machine cannot sample with."""


class OutputError(UserError, OSError):
    """A place that results cannot be written to."""


class ResultsError(UserError, ValueError):
    """A folder whose results cannot be read, or are not what their program wrote."""


class NetworkError(UserError, ValueError):
    """A network that cannot be built, loaded, trained further, or asked about these images."""


class TrainingDivergedError(UserError, RuntimeError):
    """Training whose loss is no number any more; the last good checkpoint is still there."""
