"""The errors of sampling that a user can mend."""

from patchindex import UserError


class SamplerConfigError(UserError, ValueError):
    """A setting, state or noise that a machine cannot sample with."""


class OutputError(UserError, OSError):
    """A place that results cannot be written to."""
