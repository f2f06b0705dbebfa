"""The kernels of the back end that serves on the processor."""

from typing import TYPE_CHECKING

from patchindex.kernels.backend import BACKEND

if TYPE_CHECKING or BACKEND != "native":
    from patchindex.kernels.torch_backend import (
        moved_union,
        nearest_rows,
        rescore,
        rescore_groups,
        rescore_record,
        rescore_shared,
    )
    from patchindex.kernels.torch_scan import scan, scan_groups
else:
    from patchindex.kernels.native_backend import (
        moved_union,
        nearest_rows,
        rescore,
        rescore_groups,
        rescore_record,
        rescore_shared,
        scan,
        scan_groups,
    )

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
