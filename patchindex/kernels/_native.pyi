from typing import Any

import numpy as np
from numpy.typing import NDArray

def instruction_sets() -> list[str]: ...
def exact_scan(
    pixels: NDArray[np.uint8],
    y: NDArray[np.float32],
    sigma: float,
    *,
    patch_size: int,
    boundary: str,
    equivariant: bool,
    image_shares: NDArray[np.int32] | None = None,
    displacement_shares: NDArray[np.int32] | None = None,
    threads: int,
    isa: str = "",
) -> dict[str, NDArray[Any]]: ...
def scan_shares(
    pixels: NDArray[np.uint8],
    y: NDArray[np.float32],
    sigma: float,
    log_mass: NDArray[np.float64],
    *,
    least_share: float,
    patch_size: int,
    boundary: str,
    equivariant: bool,
    threads: int,
    isa: str = "",
) -> dict[str, NDArray[Any]]: ...
def patch_distances(
    pixels: NDArray[np.uint8],
    windows: NDArray[np.float32],
    ids: NDArray[np.int64],
    *,
    rows: tuple[int, int],
    cols: tuple[int, int],
    wraps: bool,
    threads: int,
    isa: str = "",
) -> NDArray[np.float32]: ...
def sum_patches(
    pixels: NDArray[np.uint8],
    windows: NDArray[np.float32],
    ids: NDArray[np.int64],
    sigma: float,
    *,
    group_of: NDArray[np.int64] | None = None,
    image_shares: NDArray[np.int32] | None = None,
    displacement_shares: NDArray[np.int32] | None = None,
    query_pixels: NDArray[np.int64] | None = None,
    num_nearest: int = 0,
    rows: tuple[int, int],
    cols: tuple[int, int],
    wraps: bool,
    threads: int,
    isa: str = "",
) -> dict[str, NDArray[Any]]: ...
def search_lists(
    shards: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any], int]],
    offsets: NDArray[np.int64],
    code_min: NDArray[np.float32],
    code_span: NDArray[np.float32],
    vectors: NDArray[np.float32],
    lists: NDArray[np.int64],
    k: int,
    *,
    image_mask: NDArray[np.bool_] | None,
    patches_per_image: int,
    threads: int,
    isa: str = "",
) -> NDArray[np.int64]: ...
def nearest_in_cells(
    centers: NDArray[np.float32],
    rows: NDArray[np.float32],
    offsets: NDArray[np.int64],
    vectors: NDArray[np.float32],
    num_visits: int,
    *,
    threads: int,
    isa: str = "",
) -> NDArray[np.int32]: ...
def nearest_rows(
    rows: NDArray[np.float32],
    vectors: NDArray[np.float32],
    count: int,
    *,
    threads: int,
    isa: str = "",
) -> NDArray[np.int64]: ...
def propagate_neighbors(
    found: NDArray[np.int64],
    targets: NDArray[np.int64],
    *,
    row_neighbors: NDArray[np.int64],
    row_steps: NDArray[np.int64],
    col_neighbors: NDArray[np.int64],
    col_steps: NDArray[np.int64],
    row_centers: tuple[int, int],
    col_centers: tuple[int, int],
    height: int,
    width: int,
    threads: int,
) -> NDArray[np.int64]: ...
