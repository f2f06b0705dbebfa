"""Searching an index for sources alone: of pixels whose sum was had without a search."""

import torch
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from torch import Tensor

from patchindex import PosteriorRecord
from patchindex.kernels import distances_sq
from sampler.estimator.query import Query, cut
from sampler.estimator.sources import SourceCollector

# a few of those found are listed: as many more make up for the codes' rounding
NUM_FOUND, NUM_PROBES = 32, 8
# no patch of a pixel with a larger effective sample size has a weight that is worth a search
MOST_SHARED = 10_000


def settle_sources(query: Query, record: PosteriorRecord) -> None:
    """Settle the sources of a query, if anyone asked, once its sums are known.

    Pixels for which no patches were noted, because they were summed without a search, are searched
    now, unless very many patches share them.

    Args:
        record: the sums of all pixels.
    """
    if query.sources is None:
        return
    missing = (record.sum_w**2 / record.sum_w2 < MOST_SHARED) & ~query.sources.is_noted
    places = torch.arange(missing.numel(), device=missing.device).reshape(missing.shape)
    for number, signature in enumerate(query.geometry.signatures):
        mine = cut(missing, signature)
        if mine.any():
            windows = query.windows(number)[mine]
            ids = query.found_ids(number, windows, k=NUM_FOUND, nprobe=NUM_PROBES)
            query.note(number, cut(places, signature)[mine], windows, ids)
    query.sources.settle(record.log_max + record.sum_w.log())


def settle_images(
    sources: SourceCollector,
    pixels: UInt8[Tensor, "m c h w"],
    y: Float[Tensor, "b c h w"],
    sigma: float,
    *,
    members: Int[ndarray, " m"],
) -> None:
    """The same where whole images are weighed: every pixel has those, each at its own place.

    Args:
        members: numbers of the images among all images.
    """
    found, (height, width) = sources.found, y.shape[2:]
    weights = (distances_sq(pixels, y) / (-2 * sigma**2)).softmax(1).float()
    numbers = torch.from_numpy(members).to(y.device)
    found.image_shares[:, numbers] = weights.double()
    top = weights.topk(min(found.ids.shape[-1], len(members)), dim=1)
    listed = top.values.shape[1]
    found.weights[..., :listed] = top.values[:, None, None]
    places = torch.arange(height * width, device=y.device).reshape(height, width, 1)
    ids = numbers[top.indices][:, None, None] * (height * width) + places
    found.ids[..., :listed] = ids.where(found.weights[..., :listed] > 0, -1)
