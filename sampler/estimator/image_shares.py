"""Shares of training images in the posteriors of some states; most images have none."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageShares:
    """The share of each named image in each state, ordered by state and then by image.

    Attributes:
        num_states: how many there are.
        state, image, share: of each pair of a state and an image that is named for it.
    """

    num_states: int
    state: Int[Tensor, " m"]
    image: Int[Tensor, " m"]
    share: Float[Tensor, " m"]

    @classmethod
    def none(cls, num_states: int, device: torch.device | None = None) -> "ImageShares":
        """No image is named."""
        nothing = torch.zeros(0, dtype=torch.int64, device=device)
        return cls(num_states=num_states, state=nothing, image=nothing, share=nothing.double())

    @classmethod
    def summed(
        cls,
        num_states: int,
        state: Int[Tensor, " q"],
        image: Int[Tensor, " q"],
        share: Float[Tensor, " q"],
    ) -> "ImageShares":
        """Shares of which several may belong to the same state and image; they add in order."""
        wide = int(image.max()) + 1 if len(image) else 1
        cells, inverse = torch.unique(state * wide + image, return_inverse=True)
        total = torch.zeros(len(cells), dtype=torch.float64, device=share.device)
        # not index_add_, which on a GPU adds in any order: no two runs would agree
        total = total.index_put_((inverse,), share.double(), accumulate=True)
        return cls(num_states=num_states, state=cells // wide, image=cells % wide, share=total)

    @classmethod
    def joined(cls, parts: Sequence["ImageShares"]) -> "ImageShares":
        """Those of several batches of states as one."""
        firsts = torch.tensor([part.num_states for part in parts]).cumsum(0).tolist()
        states = [
            part.state + (first - part.num_states)
            for part, first in zip(parts, firsts, strict=True)
        ]
        return cls(
            num_states=firsts[-1],
            state=torch.cat(states),
            image=torch.cat([part.image for part in parts]),
            share=torch.cat([part.share for part in parts]),
        )

    def plus(self, other: "ImageShares") -> "ImageShares":
        """The sum of both."""
        return ImageShares.summed(
            self.num_states,
            torch.cat([self.state, other.state]),
            torch.cat([self.image, other.image]),
            torch.cat([self.share, other.share]),
        )

    def to(self, place: torch.device) -> "ImageShares":
        """The same on a device."""
        return ImageShares(
            num_states=self.num_states,
            state=self.state.to(place),
            image=self.image.to(place),
            share=self.share.to(place),
        )

    def of(self, state: int) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"]]:
        """The images that are named for a state, and their shares."""
        mine = self.state == state
        return self.image[mine], self.share[mine]

    def dense(self, num_images: int) -> Float[Tensor, "b n"]:
        """The share of every image, for small sets."""
        shares = self.share.new_zeros(self.num_states, num_images)
        shares[self.state, self.image] = self.share
        return shares
