"""Who lends candidates to whom along one axis of the pixels."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoanAxis:
    """Every place has what was found for itself, and borrows from the place beside it.

    Attributes:
        lenders: places, the own one first; twice the same where there is no other.
        steps: pixels from the lender to the place.
        centers: coordinates that a training center may have.
    """

    lenders: Int[Tensor, "places 2"]
    steps: Int[Tensor, "places 2"]
    centers: range

    @classmethod
    def beside(
        cls, num_places: int, centers: range, device: torch.device | None = None
    ) -> "LoanAxis":
        """The axis of this many places; the last one borrows from the one before it."""
        own = torch.arange(num_places, device=device)
        other = torch.where(own + 1 < num_places, own + 1, own - 1).clamp(min=0)
        lenders = torch.stack([own, other], dim=1)
        return cls(lenders=lenders, steps=own[:, None] - lenders, centers=centers)
