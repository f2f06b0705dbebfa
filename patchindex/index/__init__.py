"""The index: inverted lists of every legal patch, built, stored, searched and verified."""

from patchindex.index.build import build_index
from patchindex.index.config import IndexConfig
from patchindex.index.patch_index import DEFAULT_NPROBE, PatchIndex
from patchindex.index.plan import plan_build
from patchindex.index.search import ListSearchKind
from patchindex.index.store import root_of, translate_write_errors, with_own_hash

__all__ = [
    "DEFAULT_NPROBE",
    "IndexConfig",
    "ListSearchKind",
    "PatchIndex",
    "build_index",
    "patch_index",
    "plan_build",
    "root_of",
    "store",
    "translate_write_errors",
    "with_own_hash",
]
