from . import (
    choices,
    cluster,
    crew,
    device,
    environment,
    errors,
    file_names,
    geometry,
    images,
    loaded,
    npy,
    paths,
    png,
    progress,
    records,
    shortage,
    step_store,
)
from .choices import Boundary
from .device import Device
from .errors import UserError
from .geometry import BorderSignature, PatchGeometry
from .images import ImageSet
from .index import IndexConfig, PatchIndex, build_index
from .records import PosteriorRecord
from .windows import windows_at

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
    "choices",
    "cluster",
    "crew",
    "device",
    "environment",
    "errors",
    "file_names",
    "geometry",
    "images",
    "loaded",
    "npy",
    "paths",
    "png",
    "progress",
    "records",
    "shortage",
    "step_store",
    "windows_at",
]
