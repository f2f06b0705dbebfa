"""Exact sums of groups of pairs for parts of images, as the tail of an estimate asks for them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from patchindex.geometry import PatchGeometry
from patchindex.kernels.groups import PairGroups
from patchindex.records import PosteriorRecord


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupScan:
    """Pixels of states, and the groups of pairs that are summed for each of them.

    Attributes:
        rows, cols: the part of images and states that is scanned.
        geometry: of this part.
        own_rows, own_cols: of this part, the pixels whose sums are wanted.
    """

    rows: slice
    cols: slice
    geometry: PatchGeometry
    own_rows: range
    own_cols: range
    groups: PairGroups

    @property
    def num_own(self) -> int:
        """Pixels of a state whose sums are wanted."""
        return len(self.own_rows) * len(self.own_cols)

    def own(self, sums: Tensor) -> Tensor:
        """The wanted part of fields [g, b, rows, cols, ...] as [g, q, ...]."""
        rows, cols = self.own_rows, self.own_cols
        return sums[:, :, rows.start : rows.stop, cols.start : cols.stop].flatten(1, 3)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupSums:
    """Exact sums of each group over the patches of each query, scaled by exp(-log_max).

    Attributes:
        log_max, sum_w, sum_wc, sum_w2: as those of a `PosteriorRecord`.
    """

    log_max: Float[Tensor, "g q"]
    sum_w: Float[Tensor, "g q"]
    sum_wc: Float[Tensor, "g q c"]
    sum_w2: Float[Tensor, "g q"]


def groups_by_scan(
    exact_scan: Callable[..., PosteriorRecord],
    pixels: UInt8[Tensor, "n c h w"],
    y: Float[Tensor, "b c h w"],
    sigma: float,
    scans: Sequence[GroupScan],
) -> GroupSums:
    """What `scan_groups` gives, by one exact scan after another."""
    fields: dict[str, list[Tensor]] = {name: [] for name in GroupSums.__slots__}
    for scan in scans:
        seen = (slice(None), slice(None), scan.rows, scan.cols)
        record = exact_scan(pixels[seen], y[seen], sigma, scan.geometry, scan.groups)
        for name, parts in fields.items():
            parts.append(scan.own(getattr(record, name)))
    return GroupSums(
        **{
            name: parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
            for name, parts in fields.items()
        }
    )
