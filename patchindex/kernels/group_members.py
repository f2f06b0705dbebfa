"""Which of the patches summed for a query belong to groups of images that are also summed whole."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupMembers:
    """One entry per patch and query.

    Attributes:
        query, group: positions.
        log_weights: -distance^2 / (2 sigma^2).
        centers: in [-1, 1].
    """

    query: Int[Tensor, " m"]
    group: Int[Tensor, " m"]
    log_weights: Float[Tensor, " m"]
    centers: Float[Tensor, "m c"]

    @classmethod
    def none(cls, channels: int, device: torch.device | None = None) -> "GroupMembers":
        """No patch at all."""
        nothing = torch.zeros(0, dtype=torch.int64, device=device)
        return cls(
            query=nothing,
            group=nothing,
            log_weights=torch.zeros(0, device=device),
            centers=torch.zeros(0, channels, device=device),
        )

    @classmethod
    def joined(cls, parts: Sequence["GroupMembers"]) -> "GroupMembers":
        """The entries of all parts, of which there must be one at least."""
        return cls(
            **{
                field.name: torch.cat([getattr(part, field.name) for part in parts])
                for field in fields(cls)
            }
        )
