"""Arguments that every entry of the C++ kernels computes with, made from random numbers."""

from collections.abc import Callable
from typing import Any

import numpy as np

from patchindex.kernels import _native

Arguments = dict[str, Any]


def scan_arguments(rng: np.random.Generator) -> Arguments:
    return {
        "pixels": rng.integers(0, 256, (5, 2, 6, 7), dtype=np.uint8),
        "y": rng.standard_normal((3, 2, 6, 7)).astype(np.float32),
        "sigma": 0.7,
        "patch_size": 3,
        "boundary": "zeros",
        "equivariant": True,
        "threads": 2,
    }


def rescore_arguments(rng: np.random.Generator, queries: int = 3) -> Arguments:
    rows, cols = rng.integers(1, 5, (queries, 20)), rng.integers(1, 6, (queries, 20))
    return {
        "pixels": rng.integers(0, 256, (5, 2, 6, 7), dtype=np.uint8),
        "windows": rng.standard_normal((queries, 2, 3, 3)).astype(np.float32),
        "ids": (rng.integers(5, size=(queries, 20)) * 6 + rows) * 7 + cols,
        "rows": (-1, 2),
        "cols": (-1, 2),
        "wraps": False,
        "threads": 2,
    }


def shared_arguments(rng: np.random.Generator) -> Arguments:
    arguments = rescore_arguments(rng, 9)
    return arguments | {"ids": arguments["ids"][0].copy()}


def record_arguments(rng: np.random.Generator) -> Arguments:
    return rescore_arguments(rng) | {
        "sigma": 0.7,
        "group_of": rng.integers(-1, 3, 5),
        "query_pixels": np.array([8, 9, 33]),
        "num_nearest": 7,
        **share_arguments(rng),
    }


def share_arguments(rng: np.random.Generator) -> Arguments:
    return {
        "image_shares": rng.integers(0, 3, 5).astype(np.int32),
        "displacement_shares": rng.integers(-1, 3, (9, 11)).astype(np.int32),
    }


def group_arguments(rng: np.random.Generator) -> Arguments:
    return scan_arguments(rng) | share_arguments(rng)


def list_arguments(rng: np.random.Generator) -> Arguments:
    return {
        "codes": rng.integers(0, 256, (300, 9), dtype=np.uint8),
        "ids": rng.permutation(300).astype(np.uint32),
        "shard_offsets": np.array([0, 10, 10, 150, 300]),
        "first_id": 40,
        "offsets": np.array([0, 10, 10, 150, 300]),
        "code_min": rng.standard_normal(9).astype(np.float32),
        "code_span": rng.random(9, dtype=np.float32),
        "vectors": rng.standard_normal((4, 9)).astype(np.float32),
        "lists": rng.integers(-1, 4, (4, 3)),
        "k": 6,
        "image_mask": rng.random(30) < 0.5,
        "patches_per_image": 10,
        "threads": 2,
    }


def row_arguments(rng: np.random.Generator) -> Arguments:
    return {
        "rows": rng.standard_normal((140, 9)).astype(np.float32),
        "vectors": rng.standard_normal((5, 9)).astype(np.float32),
        "count": 7,
        "threads": 2,
    }


def cell_arguments(rng: np.random.Generator) -> Arguments:
    return {
        "centers": rng.standard_normal((3, 9)).astype(np.float32),
        "rows": rng.standard_normal((140, 9)).astype(np.float32),
        "offsets": np.array([0, 10, 11, 140]),
        "vectors": rng.standard_normal((5, 9)).astype(np.float32),
        "num_visits": 2,
        "threads": 2,
    }


def propagation_arguments(rng: np.random.Generator) -> Arguments:
    return {
        "found": np.sort(rng.integers(-1, 200, (2, 3, 4, 8)), axis=-1),
        "targets": np.array([[0, 0, 0], [1, 2, 3], [1, 4, 5]]),
        "row_neighbors": rng.integers(0, 3, (5, 2)),
        "row_steps": rng.integers(-2, 3, (5, 2)),
        "col_neighbors": rng.integers(0, 4, (6, 2)),
        "col_steps": rng.integers(-2, 3, (6, 2)),
        "row_centers": (1, 5),
        "col_centers": (1, 6),
        "height": 6,
        "width": 7,
        "threads": 2,
    }


ENTRIES: list[tuple[str, Callable[[np.random.Generator], Arguments]]] = [
    ("exact_scan", scan_arguments),
    ("exact_scan", group_arguments),
    ("patch_distances", rescore_arguments),
    ("patch_distances", shared_arguments),
    ("sum_patches", record_arguments),
    ("search_lists", list_arguments),
    ("nearest_rows", row_arguments),
    ("nearest_in_cells", cell_arguments),
    ("propagate_neighbors", propagation_arguments),
]


def call(entry: str, arguments: Arguments) -> Any:
    """What the entry gives; of a search of lists, all arrays are in one shard."""
    if entry == "search_lists":
        arguments = dict(arguments)
        shard = tuple(arguments.pop(x) for x in ("codes", "ids", "shard_offsets", "first_id"))
        arguments["shards"] = [shard]
    return getattr(_native, entry)(**arguments)
