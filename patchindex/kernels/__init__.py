"""The operations that everything exact is made of; the back end behind each is chosen once."""

from typing import TYPE_CHECKING

from patchindex.kernels.backend import BACKEND
from patchindex.kernels.group_members import GroupMembers
from patchindex.kernels.loans import LoanAxis
from patchindex.kernels.torch_rescore import centers_of
from patchindex.kernels.torch_whole import distances_sq, scan_whole

if TYPE_CHECKING or BACKEND == "torch":
    from patchindex.kernels.torch_rescore import (
        rescore,
        rescore_groups,
        rescore_record,
        rescore_shared,
    )
    from patchindex.kernels.torch_scan import scan, scan_groups
    from patchindex.kernels.torch_search import moved_union, nearest_rows
else:
    from patchindex.kernels.native_backend import scan, scan_groups
    from patchindex.kernels.native_rescore import (
        rescore,
        rescore_groups,
        rescore_record,
        rescore_shared,
    )
    from patchindex.kernels.native_search import moved_union, nearest_rows

__all__ = [
    "BACKEND",
    "GroupMembers",
    "LoanAxis",
    "centers_of",
    "distances_sq",
    "moved_union",
    "nearest_rows",
    "rescore",
    "rescore_groups",
    "rescore_record",
    "rescore_shared",
    "scan",
    "scan_groups",
    "scan_whole",
]
