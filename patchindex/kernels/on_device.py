"""The kernels that serve on a GPU: in Triton, or in torch where nothing is gained by more."""

from patchindex.kernels.torch_backend import moved_union, nearest_rows
from patchindex.kernels.triton_backend import (
    rescore,
    rescore_groups,
    rescore_record,
    rescore_shared,
)
from patchindex.kernels.triton_scan import scan, scan_groups

__all__ = [
    "moved_union",
    "nearest_rows",
    "rescore",
    "rescore_groups",
    "rescore_record",
    "rescore_shared",
    "scan",
    "scan_groups",
]
