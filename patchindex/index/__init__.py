"""The index: inverted lists of every legal patch, built, stored, searched and verified."""

import torch  # noqa: F401 - before faiss: the second OpenMP runtime to load must be that of faiss

from patchindex.choices import ListSearchKind
from patchindex.index.build import build_index
from patchindex.index.config import IndexConfig
from patchindex.index.folder_changes import folder_changes
from patchindex.index.info import IndexInfo
from patchindex.index.patch_index import PatchIndex, Pickled, reopen
from patchindex.index.plan import plan_build
from patchindex.index.store import (
    chunk_path,
    crc32c,
    hash_json,
    read_manifest,
    root_of,
    translate_write_errors,
    with_own_hash,
)

__all__ = [
    "IndexConfig",
    "IndexInfo",
    "ListSearchKind",
    "PatchIndex",
    "Pickled",
    "build_index",
    "chunk_path",
    "crc32c",
    "folder_changes",
    "hash_json",
    "plan_build",
    "read_manifest",
    "reopen",
    "root_of",
    "translate_write_errors",
    "with_own_hash",
]
