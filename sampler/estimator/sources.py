"""The heaviest patches of every pixel, named once its posterior is known.

A posterior is a sum, which forgets its terms. The patches that a search found for a pixel are
weighed again, and their weights divided by the pixel's mass, which also counts all others. Pixels
that were summed over all patches share their mass among all images, and nothing is unattributed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from math import log

import torch
from jaxtyping import Bool, Float, Int, UInt8
from numpy import ndarray
from torch import Tensor

from patchindex import ImageSet, PatchGeometry, PosteriorRecord
from patchindex.choices import DEFAULT_NPROBE
from patchindex.kernels import distances_sq, patch_distances
from sampler.estimator.head import FoundPatches, Head, search_pixels
from sampler.estimator.image_shares import ImageShares
from sampler.estimator.query import Query, cut, index_geometry
from sampler.estimator.regions import is_corner
from sampler.exact import ExactShares, share_exactly

# a patch of less counts as unattributed: there are hundreds, and together they come to nothing
LEAST_SHARE = 1e-6
# a few of those found are listed: as many more make up for the codes' rounding
# an image of less has no share: of a million such images nothing is missed
NOTHING = 1e-12
NUM_FOUND, NUM_PROBES = 32, DEFAULT_NPROBE // 2
# no patch of a pixel with a larger effective sample size has a weight that is worth a search
MOST_SHARED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where the posteriors of some states come from, as far as patches were named.

    Attributes:
        ids: the heaviest patches of each pixel, heaviest first; -1 where there are no more.
        weights: their shares of the pixel's posterior; 0 where there are no more.
        image_shares: shares of the training images, averaged over the pixels of a state. All named
            patches count here, more than are listed in `ids`.
        complete: whether every patch was named, so that the shares of a state's images sum to 1.
    """

    ids: Int[Tensor, "b h w m"]
    weights: Float[Tensor, "b h w m"]
    image_shares: ImageShares
    complete: bool = False

    @classmethod
    def joined(cls, parts: Sequence["Sources"]) -> "Sources":
        """The sources of several batches of states as one."""
        return cls(
            ids=torch.cat([part.ids for part in parts]),
            weights=torch.cat([part.weights for part in parts]),
            image_shares=ImageShares.joined([part.image_shares for part in parts]),
            complete=all(part.complete for part in parts),
        )

    @property
    def unattributed(self) -> Float[Tensor, "b h w"]:
        """Share of the posterior outside the list; with the weights it sums to 1."""
        return 1 - self.weights.sum(-1)


def find_sources(
    query: Query, record: PosteriorRecord, head: Head | None, num_sources: int
) -> Sources:
    """The heaviest patches of each pixel, as shares of its mass.

    Pixels that no patches were found for, because they were summed without a search, are searched
    now, unless very many patches share them. In corners, where each image has one patch, every
    image has its share.

    Args:
        record: the sums of all pixels; fields are [b, h, w].
        head: what was found while they were estimated.
        num_sources: patches listed for each pixel.
    """
    log_mass = log_mass_of(record).flatten()
    (b, _, height, width), device = query.y.shape, query.y.device
    all_ids = torch.full((b * height * width, num_sources), -1, device=device)
    all_weights = torch.zeros(all_ids.shape, device=device)
    per_image, image_shares = height * width, ImageShares.none(b, device)
    for found in chain(_found(query, head), _search_missing(query, record, head)):
        at, ids = query.places(found.signature)[found.pixels], found.ids
        log_shares = _log_weights(query, found)
        log_shares = log_shares - log_mass[at, None].to(log_shares.dtype)
        # at the lowest noise what was found may outweigh the mass, by more than a float can hold
        log_shares = log_shares - log_shares.amax(1, keepdim=True).clamp(min=0)
        pixel, column = (log_shares > log(LEAST_SHARE)).nonzero(as_tuple=True)
        shares = log_shares[pixel, column].exp()
        # an estimated mass may fall short of what was found, which is a part of it
        total = torch.zeros(len(at), dtype=torch.float64, device=device)
        total = _add_at(total, pixel, shares).to(shares.dtype).clamp(min=1)
        found_shares = ImageShares.summed(
            b,
            at[pixel] // per_image,
            ids[pixel, column] // per_image,
            shares / total[pixel] / per_image,
        )
        image_shares = image_shares.plus(found_shares)
        listed = min(ids.shape[1], num_sources)
        top = log_shares.topk(listed, dim=1)
        all_ids[at, :listed] = ids.gather(1, top.indices).where(top.values > -torch.inf, -1)
        all_weights[at, :listed] = top.values.exp() / total[:, None]
    corner = is_corner(query.geometry).to(device)
    if corner.any():
        corners = _corner_shares(query, log_mass.reshape(b, height, width), corner, num_sources)
        of_corners = _of_images(corners.images, query.label_indices)
        image_shares = image_shares.plus(of_corners)
        places = corner.repeat(b, 1, 1).flatten()
        all_ids[places] = corners.ids[:, corner].flatten(0, 1)
        all_weights[places] = corners.weights[:, corner].flatten(0, 1)
    return Sources(
        ids=all_ids.reshape(b, height, width, num_sources),
        weights=all_weights.reshape(b, height, width, num_sources),
        image_shares=image_shares,
    )


def image_sources(
    pixels: UInt8[Tensor, "m c h w"],
    y: Float[Tensor, "b c h w"],
    sigma: float,
    *,
    label_indices: Int[ndarray, " m"],
    num_sources: int,
) -> Sources:
    """The same where whole images are weighed: every pixel has those, each at its own place.

    Args:
        label_indices: numbers of the images among all.
    """
    (height, width), numbers = y.shape[2:], torch.from_numpy(label_indices).to(y.device)
    image_weights = (distances_sq(pixels, y) / (-2 * sigma**2)).softmax(1).float()
    state, image = image_weights.nonzero(as_tuple=True)
    image_shares = ImageShares(
        num_states=len(y),
        state=state,
        image=numbers[image],
        share=image_weights[state, image].double(),
    )
    listed = min(num_sources, len(numbers))
    top = image_weights.topk(listed, dim=1)
    shape = (len(y), height, width, num_sources)
    weights = torch.zeros(shape, device=y.device)
    weights[..., :listed] = top.values[:, None, None]
    places = torch.arange(height * width, device=y.device).reshape(height, width, 1)
    ids = torch.full(shape, -1, device=y.device)
    ids[..., :listed] = numbers[top.indices][:, None, None] * (height * width) + places
    return Sources(
        ids=ids.where(weights > 0, -1), weights=weights, image_shares=image_shares, complete=True
    )


def exact_sources(
    images: ImageSet,
    y: Float[Tensor, "b c h w"],
    sigma: float,
    geometry: PatchGeometry,
    record: PosteriorRecord,
    *,
    label: int | None,
    num_sources: int,
) -> Sources:
    """The same where all patches were summed: every image has its share, without a search.

    Patches of at least `sampler.exact.LEAST_LISTED` of a pixel are listed.

    Args:
        record: the sums of all pixels; fields are [b, h, w].
    """
    shares = share_exactly(
        images, y, sigma, geometry, label, log_mass=log_mass_of(record), num_listed=num_sources
    )
    return Sources(
        ids=shares.ids,
        weights=shares.weights,
        image_shares=_of_images(shares.images, images.label_indices(label)),
        complete=True,
    )


def log_mass_of(record: PosteriorRecord) -> Float[Tensor, "*q"]:
    """Log of the sum of all weights."""
    return record.log_max + record.sum_w.log()


def _of_images(shares: Float[Tensor, "b m"], label_indices: Int[ndarray, " m"]) -> ImageShares:
    """Those that are not nothing, of the images with these numbers."""
    numbers = torch.from_numpy(label_indices).to(shares.device)
    state, image = (shares > NOTHING).nonzero(as_tuple=True)
    return ImageShares(
        num_states=len(shares), state=state, image=numbers[image], share=shares[state, image]
    )


def _found(query: Query, head: Head | None) -> Iterator[FoundPatches]:
    """What the head has of each pixel."""
    if head is None:
        return
    for number, signature in enumerate(query.geometry.signatures):
        ids = cut(head.ids, signature)
        pixels = (ids >= 0).any(-1)
        if pixels.any():
            yield FoundPatches(signature=number, pixels=pixels, ids=ids[pixels])


def _corner_shares(
    query: Query, log_mass: Float[Tensor, "b h w"], corner: Bool[Tensor, "h w"], num_sources: int
) -> ExactShares:
    """What every image has of the pixels in corners."""
    return share_exactly(
        query.index.images,
        query.y,
        query.sigma,
        index_geometry(query.index, query.geometry.patch_size, equivariant=False),
        query.label,
        log_mass=log_mass.where(corner, torch.inf),
        num_listed=num_sources,
    )


def _search_missing(
    query: Query, record: PosteriorRecord, head: Head | None
) -> Iterator[FoundPatches]:
    """Search for pixels that are not in the head, and whose weight is on few patches."""
    missing = record.sum_w**2 / record.sum_w2 < MOST_SHARED
    missing &= ~is_corner(query.geometry).to(missing.device)
    if head is not None:
        missing &= (head.ids < 0).all(-1)
    for number, signature in enumerate(query.geometry.signatures):
        pixels = cut(missing, signature)
        if pixels.any():
            ids = search_pixels(query, number, pixels, k=NUM_FOUND, nprobe=NUM_PROBES)
            yield FoundPatches(signature=number, pixels=pixels, ids=ids)


def _log_weights(query: Query, found: FoundPatches) -> Float[Tensor, "q k"]:
    """-||y - p||^2 / (2 sigma^2) of each pixel's patches, from their images; -inf for none."""
    signature = query.geometry.signatures[found.signature]
    windows = query.windows(found.signature)[found.pixels]
    dist_sq = patch_distances(query.pixels, windows, found.ids, query.geometry, signature)
    return dist_sq / (-2 * query.sigma**2)


def _add_at(
    sums: Float[Tensor, " size"], places: Int[Tensor, " m"], values: Float[Tensor, " m"]
) -> Float[Tensor, " size"]:
    """Add each value to the float64 sum at its place; the sums."""
    # not index_add_, which on a GPU adds in any order, nor float32, which on a processor is added
    # by all threads at once: no two runs would agree
    return sums.index_put_((places,), values.double(), accumulate=True)
