"""The errors a user can make, and nothing else: anything not listed here is our own bug."""


class UserError(Exception):
    """Something the user can mend; `cli` shows its message as one line and exits with code 1."""


class DatasetError(UserError, ValueError):
    """The images asked for cannot be had, or are not what they should be."""


class GeometryError(UserError, ValueError):
    """A patch size or boundary that the images do not admit."""


class IndexConfigError(UserError, ValueError):
    """A setting that an index cannot be built or searched with."""


class StoreError(UserError, ValueError):
    """An index on disk that is absent, incomplete, damaged, or cannot be written."""


class LockedError(UserError, RuntimeError):
    """A folder that another process writes in."""


class KernelError(UserError, RuntimeError):
    """A back end, or a number of threads, that cannot be had."""


class KernelInputError(UserError, ValueError):
    """Arrays or numbers that the kernels cannot compute with; of an index, they are damaged."""


class ClusterError(UserError, RuntimeError):
    """A cluster that cannot be reached, or whose workers cannot do the work."""
