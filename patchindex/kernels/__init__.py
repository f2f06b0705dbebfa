"""The operations that everything exact is made of; a back end behind each serves its device."""

from patchindex.kernels.backend import BACKEND
from patchindex.kernels.bounds import LoanAxis
from patchindex.kernels.dispatch import (
    moved_union,
    nearest_rows,
    rescore,
    rescore_groups,
    rescore_record,
    rescore_shared,
    scan,
    scan_groups,
)
from patchindex.kernels.group_members import GroupMembers
from patchindex.kernels.torch_backend import centers_of
from patchindex.kernels.torch_scan import distances_sq, scan_whole

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
