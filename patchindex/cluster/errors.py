"""The errors that a user of several machines can make."""

from patchindex.errors import UserError


class ClusterError(UserError, RuntimeError):
    """A cluster that cannot be reached, or whose workers cannot do the work."""
