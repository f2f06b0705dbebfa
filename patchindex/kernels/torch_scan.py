"""Exact sums over every legal patch, and over whole images, in torch: the reference.

For one displacement between query pixel and training center, the squared difference of the two
images is formed once; a P x P box sum over it is the squared distance of *every* pair of windows
with that displacement. The boundary rule becomes one sentence per axis: at displacement 0,
out-of-image cells count as zero difference; elsewhere both windows must lie inside the image.
Images are the innermost axis, so that every operation runs over contiguous memory.

Where the boundary wraps, query and sums live on a plane of twice the image's size, so that every
displacement is still a plain slice; its four quadrants are merged in the end.
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn.functional import pad

from patchindex.choices import Precision
from patchindex.geometry import PatchGeometry
from patchindex.images import to_unit
from patchindex.kernels.bounds import check_groups, check_states
from patchindex.kernels.groups import PairGroups
from patchindex.kernels.in_threads import in_threads
from patchindex.records import PosteriorRecord, rescaling
from patchindex.windows import wrapped

# One map of squared differences: with its few temporaries it fits the L2 cache.
CHUNK_BYTES = 2**20
# Smaller weights count as this one, 2e-35: further down exp is many times slower.
LOG_NOTHING = -80.0


@dataclass(frozen=True, slots=True)
class AxisPairs:
    """The pairs (query coordinate, training coordinate) of one axis at one displacement.

    Attributes:
        displacement: from query to training coordinates; where the boundary wraps, modulo the size.
        query: cells of the query image that are compared.
        train: as many cells of the training image.
        padding: cells put on both sides before the box sum.
        centers: the training centers that come out of the box sum.
        pixels: the query pixels that they belong to.
    """

    displacement: int
    query: slice
    train: slice
    padding: int
    centers: slice
    pixels: slice


def exact_scan(
    pixels: UInt8[Tensor, "n c h w"],
    y: Float[Tensor, "b c h w"],
    sigma: float,
    geometry: PatchGeometry,
    groups: PairGroups | None = None,
    *,
    precision: Precision = "auto",  # noqa: ARG001 - float32 is all there is
    chunk_bytes: int = CHUNK_BYTES,
) -> PosteriorRecord:
    """See `patchindex.kernels`; each thread keeps about six maps of `chunk_bytes`."""
    check_states(y, sigma)
    scan_chunk = partial(_scan_block, y=y, sigma=sigma, geometry=geometry)
    if groups is not None:
        check_groups(groups, len(pixels), geometry)

        def scan_group(number: int) -> PosteriorRecord:
            numbers, shares = groups.images[number], groups.image_shares[number]
            parts = [
                scan_chunk(pixels[numbers[shares == share]], only=groups.displacements_of(share))
                for share in shares.unique().tolist()
            ]
            return PosteriorRecord.merged(parts)

        return PosteriorRecord.stacked(in_threads(scan_group, range(len(groups))))
    blocks = pixels.split(max(1, chunk_bytes // (4 * geometry.height * geometry.width)))
    # Threads over blocks, not inside the small operations of one: their barriers would cost more
    # than the work. The blocks do not depend on the number of threads, so neither does the result.
    return PosteriorRecord.merged(in_threads(scan_chunk, blocks))


def _scan_block(
    block: UInt8[Tensor, "n c h w"],
    y: Float[Tensor, "b c h w"],
    sigma: float,
    geometry: PatchGeometry,
    *,
    only: Container[tuple[int, int]] | None = None,
) -> PosteriorRecord:
    """The scan of one block of images, at all displacements (dy, dx) or at these only."""
    # -||y - p||^2 / (2 sigma^2) is the plain squared difference of images divided by sqrt(2) sigma
    scale = 1 / (2**0.5 * sigma)
    train = rearrange(to_unit(block), "n c h w -> c h w n").mul_(scale).contiguous()
    repeats = 2 if geometry.query_wraps else 1
    return PosteriorRecord.stacked(
        [
            _scan_query((query * scale).repeat(1, repeats, repeats), train, scale, geometry, only)
            for query in y
        ]
    )


def _scan_query(
    query: Float[Tensor, "c qh qw"],
    train: Float[Tensor, "c h w n"],
    scale: float,
    geometry: PatchGeometry,
    only: Container[tuple[int, int]] | None,
) -> PosteriorRecord:
    """One query image, repeated where the boundary wraps, against one block."""
    sums = _RunningSums.zeros(query)
    for rows, cols in displacements(geometry):
        if only is None or (rows.displacement, cols.displacement) in only:
            dist_sq = box_distances(query, train, rows, cols, geometry)
            sums.add(dist_sq, train[:, rows.centers, cols.centers], rows.pixels, cols.pixels)
    return sums.record(scale, (geometry.height, geometry.width))


def displacements(geometry: PatchGeometry) -> Iterator[tuple[AxisPairs, AxisPairs]]:
    """Every displacement at which some pixel has a legal center."""
    rows = _axis_pairs(geometry.height, geometry)
    cols = _axis_pairs(geometry.width, geometry)
    return ((row, col) for row in rows for col in cols)


def _axis_pairs(size: int, geometry: PatchGeometry) -> list[AxisPairs]:
    """The displacements of one axis: -(size-1) .. size-1, or modulo size where it wraps."""
    r, everything = geometry.radius, slice(0, size)
    stay = AxisPairs(0, everything, everything, r, everything, everything)
    if not geometry.equivariant:
        return [stay]
    if not geometry.query_wraps:
        moves = range(geometry.patch_size - size, size - geometry.patch_size + 1)
        return [stay, *(_shifted_pairs(size, r, d) for d in moves if d != 0)]
    padding, margin = (0, r) if geometry.boundary == "circular_interior" else (r, 0)
    centers = slice(margin, size - margin)
    return [
        AxisPairs(
            -d,
            slice(d, d + size),
            everything,
            padding,
            centers,
            slice(d + margin, d + size - margin),
        )
        for d in range(size)
    ]


def _shifted_pairs(size: int, radius: int, d: int) -> AxisPairs:
    """Pairs (v - d, v) whose windows lie inside the image on both sides."""
    first, last = max(0, d), size + min(0, d)
    return AxisPairs(
        displacement=d,
        query=slice(first - d, last - d),
        train=slice(first, last),
        padding=0,
        centers=slice(first + radius, last - radius),
        pixels=slice(first + radius - d, last - radius - d),
    )


def box_distances(
    query: Float[Tensor, "c qh qw"],
    train: Float[Tensor, "c h w n"],
    rows: AxisPairs,
    cols: AxisPairs,
    geometry: PatchGeometry,
) -> Float[Tensor, "hc wc n"]:
    """Squared distances of all window pairs at one displacement, one per legal center and image."""
    moved = query[:, rows.query, cols.query, None]
    difference_sq = (train[:, rows.train, cols.train] - moved).square_()
    dist_sq = difference_sq[0] if len(difference_sq) == 1 else difference_sq.sum(0)
    if rows.padding or cols.padding:
        dist_sq = _padded(dist_sq, rows.padding, cols.padding, geometry)
    dist_sq = _window_sum(dist_sq, geometry.patch_size, 0)
    return _window_sum(dist_sq, geometry.patch_size, 1)


def _padded(
    cells: Float[Tensor, "h w n"], rows: int, cols: int, geometry: PatchGeometry
) -> Float[Tensor, "hp wp n"]:
    """The map with its border cells: zero difference, or the other side of the image."""
    if not geometry.query_wraps:
        return pad(cells, (0, 0, cols, cols, rows, rows))
    height, width = cells.shape[:2]
    return cells[wrapped(height, rows)][:, wrapped(width, cols)]


def _window_sum(x: Float[Tensor, "a b n"], size: int, dim: int) -> Float[Tensor, "a2 b2 n"]:
    """Sums of `size` consecutive entries along `dim`, from sums of 1, 2, 4, ... entries.

    About 2 log2(size) additions an entry and no subtraction, so that rounding stays at that of
    log2(size) float32 additions; a running or cumulative sum would cancel.
    """
    num_out = x.shape[dim] - size + 1
    total, start, length = x.narrow(dim, 0, num_out), 1, 1  # an odd size has its first bit set
    while start < size:
        kept = x.shape[dim] - length
        x = x.narrow(dim, 0, kept) + x.narrow(dim, length, kept)
        length *= 2
        if size & length:
            total = total + x.narrow(dim, start, num_out)
            start += length
    return total


@dataclass(slots=True)
class _RunningSums:
    """The sums of one query while the scan runs, scaled by exp(-log_max); float64."""

    log_max: Float[Tensor, "qh qw"]
    sum_w: Float[Tensor, "qh qw"]
    sum_w2: Float[Tensor, "qh qw"]
    sum_wc: Float[Tensor, "c qh qw"]
    num_scored: Int[Tensor, "qh qw"]

    @classmethod
    def zeros(cls, query: Float[Tensor, "c qh qw"]) -> "_RunningSums":
        """No patch seen yet."""
        sum_wc = torch.zeros_like(query, dtype=torch.float64)
        plane = sum_wc[0]
        return cls(plane - torch.inf, plane.clone(), plane.clone(), sum_wc, plane.long())

    def add(
        self,
        dist_sq: Float[Tensor, "hc wc n"],
        centers: Float[Tensor, "c hc wc n"],
        rows: slice,
        cols: slice,
    ) -> None:
        """Add the patches of one displacement to the query pixels rows x cols; eats `dist_sq`."""
        # rounded to float32, because the shift must be the very number subtracted from distances
        log_max = torch.maximum(self.log_max[rows, cols].float(), -dist_sq.amin(-1))
        log_weights = torch.sub(-log_max[..., None], dist_sq, out=dist_sq)
        weights = log_weights.clamp_(min=LOG_NOTHING).exp_()
        shrink = rescaling(self.log_max[rows, cols], log_max.double())
        self.log_max[rows, cols] = log_max
        self.sum_w[rows, cols].mul_(shrink).add_(weights.sum(-1))
        for total, center in zip(self.sum_wc[:, rows, cols], centers, strict=True):
            total.mul_(shrink).add_((weights * center).sum(-1))
        self.sum_w2[rows, cols].mul_(shrink**2).add_(weights.square_().sum(-1))
        self.num_scored[rows, cols].add_(dist_sq.shape[-1])

    def record(self, scale: float, size: tuple[int, int]) -> PosteriorRecord:
        """The finished sums, centers back in [-1, 1] and quadrants of the plane merged."""
        height, width = size
        quadrants = [
            PosteriorRecord.exact(
                log_max=self.log_max[rows, cols],
                sum_w=self.sum_w[rows, cols],
                sum_wc=rearrange(self.sum_wc[:, rows, cols], "c h w -> h w c") / scale,
                sum_w2=self.sum_w2[rows, cols],
                num_scored=self.num_scored[rows, cols],
            )
            for top in range(0, self.sum_w.shape[0], height)
            for left in range(0, self.sum_w.shape[1], width)
            for rows, cols in [(slice(top, top + height), slice(left, left + width))]
        ]
        return PosteriorRecord.merged(quadrants)


IMAGES_PER_CHUNK = 1024


def scan_whole(
    pixels: UInt8[Tensor, "n c h w"], y: Float[Tensor, "b c h w"], sigma: float
) -> PosteriorRecord:
    """The sums over whole training images, one weight per image (equations 3-4); fields [b, h, w].

    Distances span the image and reach 1e5 in units of sigma^2, so they are formed in float64.
    """
    parts = [
        _weighted_images(-dist_sq / (2 * sigma**2), centers)
        for centers, dist_sq in _compared(pixels, y)
    ]
    return _spread(PosteriorRecord.merged(parts), y)


def distances_sq(
    pixels: UInt8[Tensor, "n c h w"], y: Float[Tensor, "b c h w"]
) -> Float[Tensor, "b n"]:
    """Squared distances between every state and every whole training image, in float64."""
    return torch.cat([dist_sq for _, dist_sq in _compared(pixels, y)], dim=1)


def _compared(
    pixels: UInt8[Tensor, "n c h w"], y: Float[Tensor, "b c h w"]
) -> Iterator[tuple[Float[Tensor, "m d"], Float[Tensor, "b m"]]]:
    """Some images at a time as vectors beside the states, and their squared distances to them."""
    queries = rearrange(y.double(), "b c h w -> b (c h w)")
    for block in pixels.split(IMAGES_PER_CHUNK):
        centers = rearrange(to_unit(block.to(y.device)).double(), "n c h w -> n (c h w)")
        dist = torch.cdist(queries, centers, compute_mode="donot_use_mm_for_euclid_dist")
        yield centers, dist.square()


def _weighted_images(
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


def _spread(record: PosteriorRecord, y: Float[Tensor, "b c h w"]) -> PosteriorRecord:
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
