"""The index: inverted lists of every legal patch, built, stored, searched and verified."""

from patchindex.index.build import build_index
from patchindex.index.config import IndexConfig
from patchindex.index.patch_index import PatchIndex

__all__ = ["IndexConfig", "PatchIndex", "build_index"]
