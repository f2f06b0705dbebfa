"""The operations that everything exact is made of; the back end behind each is chosen once."""

from typing import TYPE_CHECKING

from patchindex.kernels.backend import BACKEND
from patchindex.kernels.torch_rescore import centers_of
from patchindex.kernels.torch_whole import scan_whole

if TYPE_CHECKING or BACKEND == "torch":
    from patchindex.kernels.torch_rescore import rescore, rescore_shared
    from patchindex.kernels.torch_scan import scan, scan_groups
else:
    from patchindex.kernels.native_backend import rescore, rescore_shared, scan, scan_groups

__all__ = [
    "BACKEND",
    "centers_of",
    "rescore",
    "rescore_shared",
    "scan",
    "scan_groups",
    "scan_whole",
]
