"""The heaviest patches of every pixel, noted while its posterior is summed.

A posterior is a sum, which forgets its terms. A collector that is handed along keeps the heaviest
patches of each pixel, and what each training image adds to all pixels of a state.
"""

from dataclasses import dataclass, field
from math import log

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# a patch of less counts as unattributed: there are hundreds, and together they come to nothing
LEAST_SHARE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where the posteriors of some states come from, as far as patches were named.

    Attributes:
        ids: the heaviest patches of each pixel, heaviest first; -1 where there are no more.
        weights: their shares of the pixel's posterior; 0 where there are no more.
        image_shares: share of each training image, averaged over the pixels of a state. All named
            patches count here, more than are listed in `ids`.
    """

    ids: Int[Tensor, "b h w m"]
    weights: Float[Tensor, "b h w m"]
    image_shares: Float[Tensor, "b n"]

    @property
    def unattributed(self) -> Float[Tensor, "b h w"]:
        """Share of the posterior outside the list; with the weights it sums to 1."""
        return 1 - self.weights.sum(-1)


@dataclass(frozen=True, slots=True)
class SourceCollector:
    """Room for the sources of some states, filled in place: `note` patches, then `settle`.

    Attributes:
        is_noted: pixels for which patches were noted.
    """

    found: Sources
    is_noted: Bool[Tensor, "b h w"]
    _noted: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)

    @classmethod
    def empty(
        cls,
        num_states: int,
        height: int,
        width: int,
        *,
        num_sources: int,
        num_images: int,
        device: torch.device | None = None,
    ) -> "SourceCollector":
        """Room for so many patches of each pixel, and so many training images."""
        shape = (num_states, height, width, num_sources)
        return cls(
            Sources(
                ids=torch.full(shape, -1, device=device),
                weights=torch.zeros(shape, device=device),
                image_shares=torch.zeros(
                    num_states, num_images, dtype=torch.float64, device=device
                ),
            ),
            torch.zeros(num_states, height, width, dtype=torch.bool, device=device),
        )

    def of_states(self, start: int, stop: int) -> "SourceCollector":
        """The room of some of the states; what is settled there is settled here."""
        found = self.found
        return SourceCollector(
            Sources(
                ids=found.ids[start:stop],
                weights=found.weights[start:stop],
                image_shares=found.image_shares[start:stop],
            ),
            self.is_noted[start:stop],
        )

    def note(
        self, at: Int[Tensor, " q"], ids: Int[Tensor, "q k"], log_weights: Float[Tensor, "q k"]
    ) -> None:
        """Remember patches of some pixels, each of which is noted once at most.

        Args:
            at: places of the pixels in the flattened states.
            ids: distinct patches; -1 for none, with a log weight of -inf.
            log_weights: -||y - p||^2 / (2 sigma^2).
        """
        self._noted.append((at, ids, log_weights))
        self.is_noted.flatten()[at] = True

    def settle(self, log_mass: Float[Tensor, "b h w"]) -> None:
        """Turn what was noted into shares of each pixel's mass."""
        for at, ids, log_weights in self._noted:
            log_shares = log_weights - log_mass.flatten()[at, None].to(log_weights.dtype)
            query, column = (log_shares > log(LEAST_SHARE)).nonzero(as_tuple=True)
            shares = log_shares[query, column].exp()
            # an estimated mass may fall short of what was noted, which is a part of it
            total = torch.zeros(len(at), dtype=torch.float64, device=at.device)
            total = add_at(total, query, shares).to(shares.dtype).clamp(min=1)
            self._add_up(at[query], ids[query, column], shares / total[query])
            self._list(at, ids, log_shares, total)
        self._noted.clear()

    def _list(
        self,
        at: Int[Tensor, " q"],
        ids: Int[Tensor, "q k"],
        log_shares: Float[Tensor, "q k"],
        total: Float[Tensor, " q"],
    ) -> None:
        listed = min(ids.shape[1], self.found.ids.shape[-1])
        top = log_shares.topk(listed, dim=1)
        heaviest = ids.gather(1, top.indices).where(top.values > -torch.inf, -1)
        self.found.ids.flatten(0, 2)[at, :listed] = heaviest
        self.found.weights.flatten(0, 2)[at, :listed] = top.values.exp() / total[:, None]

    def _add_up(
        self, at: Int[Tensor, " m"], ids: Int[Tensor, " m"], shares: Float[Tensor, " m"]
    ) -> None:
        _, height, width, _ = self.found.ids.shape
        per_image, image_shares = height * width, self.found.image_shares
        cells = at // per_image * image_shares.shape[1] + ids // per_image
        add_at(image_shares.view(-1), cells, shares / per_image)


def add_at(
    sums: Float[Tensor, " size"], places: Int[Tensor, " m"], values: Float[Tensor, " m"]
) -> Float[Tensor, " size"]:
    """Add each value to the float64 sum at its place; the sums."""
    # not index_add_, which on a GPU adds in any order, nor float32, which on a processor is added
    # by all threads at once: no two runs would agree
    return sums.index_put_((places,), values.double(), accumulate=True)
