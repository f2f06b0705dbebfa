r"""Exact sums for a few pixels, over every legal patch of any number of images, as matrix products.

An exact scan shares its work between all pixels of a state. Where only some are asked for, each
costs one product with every patch: log weights are

    (<p, y> - ||p||^2 / 2 - ||y||^2 / 2) / sigma^2,

formed for all pixels of one border signature together. The three terms cancel where the noise is
low: in float32 their rounding of 1e-5 would be one of 0.01 in the weights at sigma = 0.02. So all
is computed in float64, gray levels included, which leaves some 1e-9 of a weight; but in float32,
twice as fast, where the noise is so high that rounding cannot reach 1e-4 of one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from patchindex.geometry import AxisSignature, BorderSignature, PatchGeometry
from patchindex.images import HALF_RANGE
from patchindex.kernels.bounds import check_places, check_states
from patchindex.kernels.in_threads import in_threads
from patchindex.kernels.torch_scan import LOG_NOTHING
from patchindex.records import PosteriorRecord
from patchindex.windows import windows_at

# of the cells and log weights of one block: a processor's thread keeps them in its cache
_BLOCK_BYTES = {"cpu": 2**21}
_DEVICE_BLOCK_BYTES = 2**28
# a thread's turn: many blocks, so that few records are merged, and short enough for Ctrl-C
_TURN_IMAGES = 128
# float32 serves where a log weight's rounding stays below this
_LARGEST_ROUNDING = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Queries:
    """The places of one border signature.

    Attributes:
        order: their numbers among all places.
        cells: those cells of their windows that count, divided by sigma^2, row by row of a window;
            all sums are of their dtype.
        log_own: ||y||^2 / (2 sigma^2), which all log weights of a place have in common.
    """

    order: Int[Tensor, " q"]
    signature: BorderSignature
    cells: Float[Tensor, "sy q c_sx"]
    log_own: Float[Tensor, " q"]


def scan_at(
    pixels: UInt8[Tensor, "n c h w"],
    y: Float[Tensor, "b c h w"],
    places: Int[Tensor, "q 3"],
    sigma: float,
    geometry: PatchGeometry,
) -> PosteriorRecord:
    """Sum every legal patch of every image for some pixels of `y`; fields are [q].

    No patch is skipped. Images are taken some at a time, so that memory stays bounded however many
    there are; it grows with the places. Time does with places x patches x cells.

    Args:
        pixels: training images, beside the states or on the host.
        y: query states in data units, xt / sqrt(alpha_bar); finite.
        places: state, row and column of each pixel; any number, in any order, also repeated.
        sigma: noise in the same units.

    Raises:
        KernelInputError: sigma or y out of range, or places that are not there.

    Example:
        >>> places = torch.tensor([[0, 0, 0], [0, 14, 9]])  # the first state's corner, and within
        >>> record = scan_at(images.tensor, y, places, 0.5, geometry)
        >>> record.mean  # [2, c]
    """
    check_states(y, sigma)
    check_places(places, y)
    groups = list(_grouped(y, places, sigma, geometry))
    block_bytes = _BLOCK_BYTES.get(y.device.type, _DEVICE_BLOCK_BYTES)
    take_turn = partial(
        _sum_images, groups=groups, sigma=sigma, geometry=geometry, block_bytes=block_bytes
    )
    parts = in_threads(take_turn, pixels.split(_TURN_IMAGES))
    found = PosteriorRecord.merged(parts)
    order = torch.cat([group.order for group in groups]).to(y.device)
    return found.map(lambda values: values[order.argsort()])


def _grouped(
    y: Float[Tensor, "b c h w"], places: Int[Tensor, "q 3"], sigma: float, geometry: PatchGeometry
) -> Iterator[_Queries]:
    """The places of each signature that occurs."""
    numbers = torch.tensor([geometry.signature_at(row, col) for _, row, col in places.tolist()])
    for number in numbers.unique().tolist():
        signature, order = geometry.signatures[number], (numbers == number).nonzero()[:, 0]
        windows = torch.stack([_cells_at(y, place, geometry, signature) for place in places[order]])
        own = windows.flatten(1).square().sum(-1) / (2 * sigma**2)
        cells = rearrange(windows / sigma**2, "q c sy sx -> sy q (c sx)")
        cells = cells.to(_sufficient(windows, sigma)).contiguous()
        yield _Queries(order=order, signature=signature, cells=cells, log_own=own)


def _sufficient(windows: Float[Tensor, "q c sy sx"], sigma: float) -> torch.dtype:
    """The dtype in which products with these windows are exact enough."""
    size = windows[0].numel()
    # |<p, y>| is at most this, as no cell of p is beyond 1; sums err like a random walk
    largest = size**0.5 * float(windows.flatten(1).norm(dim=-1).max()) / sigma**2
    rounding = largest * torch.finfo(torch.float32).eps
    return torch.float32 if rounding < _LARGEST_ROUNDING else torch.float64


def _cells_at(
    y: Float[Tensor, "b c h w"],
    place: Int[Tensor, "3"],
    geometry: PatchGeometry,
    signature: BorderSignature,
) -> Float[Tensor, "c sy sx"]:
    """The cells that count of the window around one pixel."""
    state, row, col = place.tolist()
    here = range(row, row + 1), range(col, col + 1)
    window = windows_at(y[state : state + 1], *here, geometry)[0, 0, 0].double()
    sy, sx = (
        slice(geometry.radius + axis.offsets.start, geometry.radius + axis.offsets.stop)
        for axis in (signature.rows, signature.cols)
    )
    return window[:, sy, sx]


def _sum_images(
    pixels: UInt8[Tensor, "n c h w"],
    groups: Sequence[_Queries],
    sigma: float,
    geometry: PatchGeometry,
    block_bytes: int,
) -> PosteriorRecord:
    """The sums of all places over these images, group by group."""
    records = []
    for group in groups:
        size = _images_per_block(group, block_bytes)
        parts = [_sum_block(block, group, sigma, geometry) for block in pixels.split(size)]
        records.append(PosteriorRecord.merged(parts))
    return PosteriorRecord.joined(records)


def _images_per_block(group: _Queries, block_bytes: int) -> int:
    """So many images that their cells and log weights fit in a block; at least one."""
    sy, q, c_sx = group.cells.shape
    rows, cols = group.signature.rows, group.signature.cols
    values = len(cols.centers) * (c_sx * (len(rows.centers) + sy) + 2 * q * len(rows.centers))
    return max(1, block_bytes // (group.cells.element_size() * values))


def _sum_block(
    block: UInt8[Tensor, "m c h w"], group: _Queries, sigma: float, geometry: PatchGeometry
) -> PosteriorRecord:
    """The sums of one signature's places over a few images."""
    area = _area(block.to(group.cells.device), group, geometry)
    log_weights = _log_weights(area, group, sigma)
    log_max = log_weights.amax(-1)
    weights = log_weights.sub_(log_max[:, None]).clamp_(min=LOG_NOTHING).exp_()
    sums = (weights @ _centers_and_one(area, group.signature).t()).double()
    return PosteriorRecord.exact(
        log_max=log_max.double() - group.log_own,
        sum_w=sums[:, -1],
        sum_wc=sums[:, :-1],
        sum_w2=torch.linalg.vector_norm(weights, dim=-1).double().square(),
        num_scored=torch.full_like(log_max, weights.shape[1], dtype=torch.int64),
    )


def _area(
    block: UInt8[Tensor, "m c h w"], group: _Queries, geometry: PatchGeometry
) -> Float[Tensor, "m c rows cols"]:
    """All pixels that the signature's patches are made of, in [-1, 1]."""
    axes = group.signature.rows, group.signature.cols
    rows, cols = (
        _covered(axis, size, wraps=geometry.training_wraps)
        for axis, size in zip(axes, block.shape[2:], strict=True)
    )
    chosen = block[:, :, rows][..., cols]
    return chosen.to(group.cells.dtype).div_(HALF_RANGE).sub_(1)


def _covered(axis: AxisSignature, size: int, *, wraps: bool) -> slice | list[int]:
    """The coordinates of an axis that windows around its centers cover, as often as they do."""
    first, stop = axis.centers.start + axis.offsets.start, axis.centers.stop + axis.offsets.stop - 1
    return [place % size for place in range(first, stop)] if wraps else slice(first, stop)


def _log_weights(
    area: Float[Tensor, "m c rows cols"], group: _Queries, sigma: float
) -> Float[Tensor, "q p"]:
    """Log weights of all patches but for what a place's have in common; p is (hc m wc).

    One product for each row of a window: its columns are laid out once, and the next row of every
    patch lies one row further.
    """
    m, _, num_rows, num_cols = area.shape
    sy, q, _ = group.cells.shape
    sx = len(group.signature.cols.offsets)
    wide = rearrange(area.unfold(3, sx, 1), "m c rows wc sx -> (c sx) (rows m wc)", sx=sx)
    line, num_centers = m * (num_cols - sx + 1), num_rows - sy + 1

    squares = area.square().sum(1).unfold(2, sx, 1).sum(-1)
    norms_sq = rearrange(squares, "m rows wc -> rows (m wc)").unfold(0, sy, 1).sum(-1)
    log_weights = (norms_sq / (-2 * sigma**2)).reshape(1, -1).repeat(q, 1)
    for row, cells in enumerate(group.cells):
        log_weights.addmm_(cells, wide[:, row * line : (row + num_centers) * line])
    return log_weights


def _centers_and_one(
    area: Float[Tensor, "m c rows cols"], signature: BorderSignature
) -> Float[Tensor, "c_and_1 p"]:
    """The center pixel of every patch, and a one, whose weighted sum is that of the weights."""
    rows, cols = signature.rows, signature.cols
    top, left = -rows.offsets.start, -cols.offsets.start
    centers = area[:, :, top : top + len(rows.centers), left : left + len(cols.centers)]
    flat = rearrange(centers, "m c hc wc -> c (hc m wc)")
    return torch.cat([flat, torch.ones_like(flat[:1])])
