"""The kernels of the back end that serves on the processor."""

from typing import TYPE_CHECKING

from patchindex.kernels.backend import BACKEND

if TYPE_CHECKING or BACKEND != "native":
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
    "moved_union",
    "nearest_rows",
    "rescore",
    "rescore_groups",
    "rescore_record",
    "rescore_shared",
    "scan",
    "scan_groups",
]
