"""What a patch is, and how to find it: image sets, patch geometry, kernels, and the index."""

import torch  # noqa: F401 - before faiss: the second OpenMP runtime to load must be that of faiss

from patchindex.device import Device
from patchindex.errors import UserError
from patchindex.geometry import BorderSignature, Boundary, PatchGeometry
from patchindex.images import ImageSet
from patchindex.index import IndexConfig, PatchIndex, build_index
from patchindex.records import PosteriorRecord
from patchindex.windows import windows_at

__all__ = [
    "BorderSignature",
    "Boundary",
    "Device",
    "ImageSet",
    "IndexConfig",
    "PatchGeometry",
    "PatchIndex",
    "PosteriorRecord",
    "UserError",
    "build_index",
    "crew",
    "device",
    "environment",
    "errors",
    "geometry",
    "images",
    "npy",
    "paths",
    "progress",
    "records",
    "step_store",
    "windows_at",
]
