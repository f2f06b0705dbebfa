r"""Count, mean patch and mean squared radius of every inverted list, in full dimension.

Sums are taken over levels (whole numbers, see `levels.py`) in float64, where they are exact below
2**53: no order of adding and no interruption changes a bit of them, and a mean squared radius as
the difference $E|p|^2 - |E p|^2$ loses nothing that float64 could have kept.
"""

from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from torch import Tensor
from torch.nn.functional import pad

from patchindex.devices import CPU
from patchindex.geometry import PatchGeometry
from patchindex.index.levels import LEVELS, to_levels
from patchindex.index.lists import center_rectangle
from patchindex.kernels.in_threads import in_threads
from patchindex.windows import padded


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ListSums:
    """Running sums over the patches of each list; `add` changes them in place."""

    count: Int[ndarray, " nlist"]
    levels: Float[ndarray, "c s s nlist"]
    levels_sq: Float[ndarray, " nlist"]

    @classmethod
    def zeros(cls, nlist: int, channels: int, patch_size: int) -> "ListSums":
        """Sums over no patch."""
        return cls(
            count=np.zeros(nlist, dtype=np.int64),
            levels=np.zeros((channels, patch_size, patch_size, nlist)),
            levels_sq=np.zeros(nlist),
        )

    def add(
        self,
        pixels: UInt8[ndarray, "n c h w"],
        lists: Int[ndarray, " m"],
        geometry: PatchGeometry,
        device: torch.device = CPU,
    ) -> None:
        """Add every legal patch of these images, given the list of each in the order of ids.

        Args:
            device: where they are added up, which changes no bit.
        """
        nlist = len(self.count)
        rows, cols = center_rectangle(geometry)
        levels = to_levels(pixels).to(device)
        members = torch.from_numpy(lists.astype(np.int64)).to(device)
        self.count[:] += np.bincount(lists, minlength=nlist)
        squares = padded(levels.double().square().sum(1, keepdim=True), rows, cols, geometry)
        norms_sq = box_sums(squares, geometry.patch_size).reshape(-1)
        self.levels_sq[:] += torch.bincount(members, norms_sq, nlist).cpu().numpy()
        around = padded(levels, rows, cols, geometry)

        def add_cell(place: tuple[int, int, int]) -> None:
            c, sy, sx = place
            values = around[:, c, sy : sy + len(rows), sx : sx + len(cols)].reshape(-1).double()
            self.levels[c, sy, sx] += torch.bincount(members, values, nlist).cpu().numpy()

        in_threads(add_cell, np.ndindex(self.levels.shape[:3]))

    def mean_patch(self) -> Float[ndarray, "nlist d"]:
        """Mean window in [-1, 1]; zero for an empty list."""
        sums = rearrange(self.levels, "c sy sx l -> l (c sy sx)")
        mean: Float[ndarray, "nlist d"] = sums / (np.maximum(self.count, 1)[:, None] * LEVELS)
        return mean

    def mean_radius_sq(self) -> Float[ndarray, " nlist"]:
        """Mean squared distance of a list's patches to their mean."""
        mean_sq = self.levels_sq / (np.maximum(self.count, 1) * LEVELS**2)
        radius_sq: Float[ndarray, " nlist"] = mean_sq - np.square(self.mean_patch()).sum(axis=1)
        return radius_sq.clip(min=0)


def box_sums(
    values: Float[Tensor, "n 1 padded_rows padded_cols"], s: int
) -> Float[Tensor, "n 1 rows cols"]:
    """Sum of every s x s window; exact for whole numbers."""
    below = pad(values.cumsum(2).cumsum(3), (1, 0, 1, 0))
    return below[:, :, s:, s:] - below[:, :, :-s, s:] - below[:, :, s:, :-s] + below[:, :, :-s, :-s]
