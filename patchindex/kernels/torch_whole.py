"""The scan of the IS machine: whole training images, one weight per image, in torch."""

from collections.abc import Iterator

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from patchindex.images import to_unit
from patchindex.records import PosteriorRecord

IMAGES_PER_CHUNK = 1024


def scan_whole(
    pixels: UInt8[Tensor, "n c h w"], y: Float[Tensor, "b c h w"], sigma: float
) -> PosteriorRecord:
    """The sums over whole training images, one weight per image (equations 3-4); fields [b, h, w].

    Distances span the image and reach 1e5 in units of sigma^2, so they are formed in float64.
    """
    parts = [
        weighted_images(-dist_sq / (2 * sigma**2), centers)
        for centers, dist_sq in compared(pixels, y)
    ]
    return spread(PosteriorRecord.merged(parts), y)


def distances_sq(
    pixels: UInt8[Tensor, "n c h w"], y: Float[Tensor, "b c h w"]
) -> Float[Tensor, "b n"]:
    """Squared distances between every state and every whole training image, in float64."""
    return torch.cat([dist_sq for _, dist_sq in compared(pixels, y)], dim=1)


def compared(
    pixels: UInt8[Tensor, "n c h w"], y: Float[Tensor, "b c h w"]
) -> Iterator[tuple[Float[Tensor, "m d"], Float[Tensor, "b m"]]]:
    """Some images at a time as vectors beside the states, and their squared distances to them."""
    queries = rearrange(y.double(), "b c h w -> b (c h w)")
    for block in pixels.split(IMAGES_PER_CHUNK):
        centers = rearrange(to_unit(block.to(y.device)).double(), "n c h w -> n (c h w)")
        dist = torch.cdist(queries, centers, compute_mode="donot_use_mm_for_euclid_dist")
        yield centers, dist.square()


def weighted_images(
    log_weights: Float[Tensor, "b n"], centers: Float[Tensor, "n d"]
) -> PosteriorRecord:
    """The record of whole images: all their pixels are 'channels' of one center."""
    log_max = log_weights.amax(-1)
    weights = (log_weights - log_max[:, None]).exp()
    return PosteriorRecord.exact(
        log_max=log_max,
        sum_w=weights.sum(-1),
        sum_wc=weights @ centers,
        sum_w2=weights.square().sum(-1),
        num_scored=torch.full_like(log_max, len(centers), dtype=torch.int64),
    )


def spread(record: PosteriorRecord, y: Float[Tensor, "b c h w"]) -> PosteriorRecord:
    """A record per image as one per pixel: every pixel shares the image's weights."""
    _, c, h, w = y.shape
    plane = torch.ones(h, w, dtype=torch.int64, device=y.device)
    return PosteriorRecord.exact(
        log_max=record.log_max[:, None, None] * plane,
        sum_w=record.sum_w[:, None, None] * plane,
        sum_wc=rearrange(record.sum_wc, "b (c h w) -> b h w c", c=c, h=h, w=w),
        sum_w2=record.sum_w2[:, None, None] * plane,
        num_scored=record.num_scored[:, None, None] * plane,
    )
