"""The errors that a user of several machines can make."""

from importlib.util import find_spec

from patchindex.errors import UserError


class ClusterError(UserError, RuntimeError):
    """A cluster that cannot be reached, or whose workers cannot do the work."""


def check_dask() -> None:
    """Raise ClusterError unless Dask is installed."""
    if find_spec("distributed") is None:
        raise ClusterError(
            "a cluster needs Dask, which is not installed. Run `pip install 'patchindex[cluster]'`."
        )
