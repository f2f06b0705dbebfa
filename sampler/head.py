"""The head: retrieved patches, rescored exactly from the images."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from patchindex import BorderSignature, PatchGeometry, PosteriorRecord
from patchindex.kernels import centers_of, rescore


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """The dictionary of one border signature.

    Attributes:
        pixels: all training images.
        num_patches: patches in the dictionary, of those images that the label admits.
    """

    pixels: UInt8[Tensor, "n c h w"]
    geometry: PatchGeometry
    signature: BorderSignature
    num_patches: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Patches of each query that are summed one by one.

    Attributes:
        ids: without repeats; -1 where there is none.
        log_weights: -inf where there is none.
        centers: in [-1, 1].
    """

    ids: Int[Tensor, "q k"]
    log_weights: Float[Tensor, "q k"]
    centers: Float[Tensor, "q k c"]

    def record(self) -> PosteriorRecord:
        """The exact sums."""
        log_max, weights = shifted_weights(self.log_weights)
        return PosteriorRecord.exact(
            log_max=log_max.double(),
            sum_w=weights.sum(-1).double(),
            sum_wc=torch.einsum("qk,qkc->qc", weights, self.centers).double(),
            sum_w2=weights.square().sum(-1).double(),
            num_scored=(self.ids >= 0).sum(-1),
        )


def rescored_head(
    candidates: Candidates,
    windows: Float[Tensor, "q c s s"],
    sigma: float,
    ids: Int[Tensor, "q k"],
) -> Head:
    """The head made of these patches; weights by exact distances."""
    dist_sq = rescore(candidates.pixels, windows, ids, candidates.geometry, candidates.signature)
    return Head(
        ids=ids,
        log_weights=dist_sq / (-2 * sigma**2),
        centers=centers_of(candidates.pixels, ids.clamp(min=0)),
    )


def shifted_weights(
    log_weights: Float[Tensor, "q k"],
) -> tuple[Float[Tensor, " q"], Float[Tensor, "q k"]]:
    """(log_max, exp(log_weights - log_max)); zeros where there is nothing at all."""
    log_max = log_weights.amax(-1)
    shift = torch.where(torch.isneginf(log_max), 0.0, log_max)
    return log_max, (log_weights - shift[:, None]).exp()
