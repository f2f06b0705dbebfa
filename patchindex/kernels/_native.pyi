from typing import Any

import numpy as np
from numpy.typing import NDArray

def instruction_sets() -> list[str]: ...
def scan(
    pixels: NDArray[np.uint8],
    y: NDArray[np.float32],
    sigma: float,
    *,
    patch_size: int,
    boundary: str,
    equivariant: bool,
    threads: int,
    isa: str = "",
) -> dict[str, NDArray[Any]]: ...
def rescore(
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
def rescore_record(
    pixels: NDArray[np.uint8],
    windows: NDArray[np.float32],
    ids: NDArray[np.int64],
    sigma: float,
    *,
    log_multiplicity: NDArray[np.float32] | None,
    rows: tuple[int, int],
    cols: tuple[int, int],
    wraps: bool,
    threads: int,
    isa: str = "",
) -> dict[str, NDArray[Any]]: ...
def peak_rates(
    pixels: NDArray[np.uint8], *, threads: int, isa: str = ""
) -> tuple[float, float]: ...
