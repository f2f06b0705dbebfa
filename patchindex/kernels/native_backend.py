"""The exact scan in C++: same functions, arguments and results as the torch back end.

Importing this module fails with ImportError where the extension was not built. The instruction set
is the fastest one the processor has; PATCHINDEX_ISA forces another, for tests and comparisons.
"""

import os
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from patchindex.geometry import PatchGeometry
from patchindex.kernels import _native
from patchindex.kernels.bounds import check_images
from patchindex.kernels.in_threads import in_threads
from patchindex.records import PosteriorRecord


def instruction_sets() -> list[str]:
    """Those of this build and processor, fastest first."""
    return _native.instruction_sets()


def instruction_set() -> str:
    """The one in use."""
    return os.environ.get("PATCHINDEX_ISA", "") or instruction_sets()[0]


def scan(
    pixels: UInt8[Tensor, "n c h w"],
    y: Float[Tensor, "b c h w"],
    sigma: float,
    geometry: PatchGeometry,
    *,
    threads: int | None = None,
) -> PosteriorRecord:
    """Sum every legal patch of every image for every pixel of `y`; fields are [b, h, w].

    All states share one pass over the images. The sums do not depend on the number of threads.
    What is skipped is below 1e-6 of a pixel's mass, all together. `log_max` is a scale near the log
    mass of the pixel, not the largest log weight.

    Args:
        pixels: training images.
        y: query states in data units, xt / sqrt(alpha_bar); finite.
        sigma: noise in the same units.
        threads: torch's number of threads if None.
    """
    fields = _native.scan(
        as_array(pixels, np.uint8),
        as_array(y, np.float32),
        float(sigma),
        patch_size=geometry.patch_size,
        boundary=geometry.boundary,
        equivariant=geometry.equivariant,
        threads=threads or torch.get_num_threads(),
        isa=instruction_set(),
    )
    return as_record(fields)


def scan_groups(
    pixels: UInt8[Tensor, "n c h w"],
    groups: Int[Tensor, "g m"],
    y: Float[Tensor, "b c h w"],
    sigma: float,
    geometry: PatchGeometry,
) -> PosteriorRecord:
    """The scan of each group of images apart; fields are [g, b, h, w]. See `scan`.

    Args:
        groups: image numbers; groups of 16 fill a register.
    """
    check_images(groups, len(pixels))
    scan_group = partial(scan, y=y, sigma=sigma, geometry=geometry, threads=1)
    return PosteriorRecord.stacked(in_threads(lambda group: scan_group(pixels[group]), groups))


def as_array(tensor: Tensor, dtype: type[np.generic]) -> NDArray[Any]:
    """The tensor as an aligned C-contiguous array, copied only where it must be."""
    return np.require(tensor.detach().cpu().numpy(), dtype, ["C", "A"])


def as_record(fields: dict[str, NDArray[Any]]) -> PosteriorRecord:
    """A kernel's sums as a record."""
    return PosteriorRecord.exact(**{name: torch.from_numpy(f) for name, f in fields.items()})
