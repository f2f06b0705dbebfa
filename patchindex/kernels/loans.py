"""Who lends candidates to whom along one axis of a grid of searched pixels."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoanAxis:
    """Every place borrows from the searched places before and behind it.

    Attributes:
        lenders: positions among the searched places; twice the same for a searched place.
        steps: pixels from the lender to the place.
        centers: coordinates that a training center may have.
    """

    lenders: Int[Tensor, "places 2"]
    steps: Int[Tensor, "places 2"]
    centers: range

    @classmethod
    def between(cls, searched: Int[Tensor, " s"], num_places: int, centers: range) -> "LoanAxis":
        """The axis of this many places; `searched` ascends and holds the first and the last."""
        places = torch.arange(num_places)
        before = torch.searchsorted(searched, places, right=True) - 1
        lenders = torch.stack([before, torch.searchsorted(searched, places)], dim=1)
        return cls(lenders=lenders, steps=places[:, None] - searched[lenders], centers=centers)
