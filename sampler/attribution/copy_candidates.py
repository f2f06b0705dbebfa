"""Which training images a picture may be copied from: nearest patches that agree on a displacement.

Every window that lies inside the picture is looked up in the index. A patch that is found names an
image and a displacement, where its pixels lie in that image minus where the window's pixels lie in
the picture. What many windows name is a candidate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor
from torch.nn.functional import fold, pad

from patchindex import PatchGeometry, PatchIndex
from patchindex.geometry import locate
from patchindex.images import to_unit
from patchindex.kernels import patch_distances
from sampler.estimator import Query

PLAIN = 0.02  # windows of a smaller standard deviation, in [-1, 1] units, are not looked up
NO_PATCH = -1
FEWEST = 8  # patches of a window
# Where a set holds an image so often that all patches of a window are equal, none stands out: so
# many times more are looked for then, and a few of the equal ones kept.
FURTHER, TIE = 16, 1e-6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Neighbors:
    """The nearest patches of the windows that lie inside one picture and are not plain.

    Attributes:
        top, left: first row and column of each window.
        plain: which windows were not looked up, by their first row and column.
        ids: of patches, nearest first; -1 where fewer were found.
        dist_sq: squared distances; infinite where there is no patch.
    """

    geometry: PatchGeometry
    top: Int[ndarray, " q"]
    left: Int[ndarray, " q"]
    plain: Bool[ndarray, "rows cols"]
    ids: Int[ndarray, "q k"]
    dist_sq: Float[ndarray, "q k"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidates:
    """Displacements of training images, those with most votes first.

    Attributes:
        image: number of the training image.
        dy, dx: pixel (y, x) of the picture is compared with (y + dy, x + dx) of the image.
        seen: pixels of the windows that voted for it.
    """

    image: Int[ndarray, " m"]
    dy: Int[ndarray, " m"]
    dx: Int[ndarray, " m"]
    seen: Bool[ndarray, "m h w"]

    def __len__(self) -> int:
        return len(self.image)


def find_neighbors(
    index: PatchIndex,
    pictures: Float[Tensor, "b c h w"],
    patch_size: int,
    *,
    k: int,
    nprobe: int,
    without: Sequence[int | None],
) -> list[Neighbors]:
    """The k nearest patches of every window inside each picture.

    Args:
        without: for each picture an image whose patches are left out; None for none.
    """
    geometry = index.geometry(patch_size)
    number = geometry.signature_at(geometry.height // 2, geometry.width // 2)
    windows = pictures.unfold(2, patch_size, 1).unfold(3, patch_size, 1)
    windows = windows.permute(0, 2, 3, 1, 4, 5)  # b rows cols c s s
    plain = windows.flatten(3).std(-1) < PLAIN
    asked = windows[~plain].contiguous()
    owner = torch.nonzero(~plain)
    query = Query(index=index, y=pictures, sigma=0.0, geometry=geometry, label=None)
    wanted = min(
        2 * k if any(i is not None for i in without) else k,
        # of a few images fewer, yet more than one, or there is nothing to compare the nearest with
        max(len(index.images), FEWEST),
    )
    left_out = torch.tensor([NO_PATCH - 1 if i is None else i for i in without])[owner[:, 0]]
    ids = torch.empty((0, wanted), dtype=torch.int64)
    dist_sq = torch.empty(ids.shape)
    if len(asked):
        search = partial(_measured, query, number, nprobe=nprobe)
        ids, dist_sq = search(asked, left_out, k=wanted)
        tied = _ties(dist_sq[:, :k]).all(dim=1) & (ids[:, :k] != NO_PATCH).all(dim=1)
        if tied.any():
            further = search(asked[tied], left_out[tied], k=FURTHER * wanted)
            ids[tied], dist_sq[tied] = _few_of_each_tie(*further, wanted)
    return [
        Neighbors(
            geometry=geometry,
            top=owner[own, 1].numpy(),
            left=owner[own, 2].numpy(),
            plain=plain[picture].numpy(),
            ids=ids[own, :k].numpy(),
            dist_sq=dist_sq[own, :k].double().numpy(),
        )
        for picture in range(len(pictures))
        for own in [owner[:, 0] == picture]
    ]


def _measured(
    query: Query,
    number: int,
    windows: Float[Tensor, "q c s s"],
    left_out: Int[Tensor, " q"],
    *,
    k: int,
    nprobe: int,
) -> tuple[Int[Tensor, "q k"], Float[Tensor, "q k"]]:
    """The nearest patches of windows but those of an image, by distance; -1, infinite for none."""
    found = query.search(number, windows, k=k, nprobe=nprobe, long_lists=True)
    ids = pad(found, (0, k - found.shape[1]), value=NO_PATCH)
    image = ids.div(query.num_pixels, rounding_mode="floor")
    ids = ids.where(image != left_out[:, None], NO_PATCH)
    dist_sq = patch_distances(
        query.pixels, windows, ids, query.geometry, query.geometry.signatures[number]
    )
    dist_sq, order = dist_sq.sort(dim=1, stable=True)
    return ids.gather(1, order), dist_sq


def _ties(dist_sq: Float[Tensor, "q k"]) -> Bool[Tensor, "q k"]:
    """Which patches are as near as the nearest, as those of the same image held twice are."""
    return dist_sq <= dist_sq[:, :1] * (1 + TIE) + TIE


def _few_of_each_tie(
    ids: Int[Tensor, "q m"], dist_sq: Float[Tensor, "q m"], k: int
) -> tuple[Int[Tensor, "q k"], Float[Tensor, "q k"]]:
    """The k nearest patches with only a few of those that tie for the nearest."""
    tie = _ties(dist_sq)
    beyond = tie & (tie.cumsum(1) > FEWEST // 2)
    dist_sq, order = dist_sq.masked_fill(beyond, torch.inf).sort(dim=1, stable=True)
    return ids.masked_fill(beyond, NO_PATCH).gather(1, order)[:, :k], dist_sq[:, :k]


def expected_error(
    index: PatchIndex, picture: Float[Tensor, "c h w"], near: Neighbors, compared: int
) -> Float[ndarray, "h w"]:
    """Mean squared error of each pixel where patches that are no copies stand for it.

    These are `compared` patches of the farther half of each window's nearest, averaged over all
    windows that cover the pixel; plain windows stand for themselves. So it is small where the
    picture looks as many others do, and has no detail.
    """
    size, (_, height, width) = near.geometry.patch_size, picture.shape
    k = near.ids.shape[1]
    ranks = np.linspace(k // 2, k - 1, min(compared, k - k // 2)).astype(int)
    errors = torch.zeros((len(near.top), size * size))
    weight = torch.zeros((len(near.top), 1))
    offsets = torch.arange(size)
    windows = picture.unfold(1, size, 1).unfold(2, size, 1)[:, near.top, near.left]
    pixels = index.images.tensor
    for rank in ranks:
        ids = near.ids[:, rank]
        there = torch.from_numpy(ids != NO_PATCH)
        image, y, x = (torch.from_numpy(part) for part in locate(np.maximum(ids, 0), height, width))
        rows = (y[:, None] - size // 2 + offsets)[:, :, None] % height
        cols = (x[:, None] - size // 2 + offsets)[:, None, :] % width
        patches = to_unit(pixels[image[:, None, None], :, rows, cols]).permute(3, 0, 1, 2)
        squared = (windows - patches).square().mean(0).flatten(1)
        errors += squared * there[:, None]
        weight += there[:, None]
    field = torch.zeros((height - size + 1, width - size + 1, size * size))
    field[near.top, near.left] = errors / weight.clamp(min=1)
    count = torch.ones_like(field)
    total, times = (
        fold(each.permute(2, 0, 1).reshape(1, size * size, -1), (height, width), size)[0, 0]
        for each in (field, count)
    )
    mean: Float[ndarray, "h w"] = (total / times).numpy()
    return mean


def vote(
    near: Neighbors, open_pixels: Bool[ndarray, "h w"], *, tolerance: float, most: int, values: int
) -> Candidates:
    """The displacements of images that most windows agree on.

    A window's vote counts the more, the nearer the patch is beside the farthest that was found.

    Args:
        open_pixels: windows whose center is not among them do not vote.
        tolerance: root mean square difference of a copy, in [-1, 1] units.
        most: candidates, at most.
        values: numbers in a window.
    """
    geometry, size = near.geometry, near.geometry.patch_size
    height, width, r = geometry.height, geometry.width, near.geometry.radius
    slack = values * tolerance**2
    found = near.ids != NO_PATCH
    farthest = np.where(found, near.dist_sq, 0).max(axis=1, keepdims=True, initial=0)
    weight = np.log((farthest + slack) / (np.where(found, near.dist_sq, 0) + slack))
    may = found & open_pixels[near.top + r, near.left + r][:, None] & (weight > 0)
    image, y, x = locate(np.maximum(near.ids, 0), height, width)
    dy, dx = y - r - near.top[:, None], x - r - near.left[:, None]
    if geometry.training_wraps:  # of displacements that are one, the shortest
        dy, dx = (dy + height // 2) % height - height // 2, (dx + width // 2) % width - width // 2
    keys = ((image * 2 * height + dy + height) * 2 * width + dx + width)[may]
    named, which = np.unique(keys, return_inverse=True)
    votes = np.bincount(which, weight[may], minlength=len(named))
    best = np.argsort(-votes, kind="stable")[:most]
    place = np.full(len(named), -1)
    place[best] = np.arange(len(best))
    windows, _ = np.nonzero(may)
    chosen = place[which] >= 0
    seen = np.zeros((len(best), height, width), dtype=np.bool_)
    for candidate, window in zip(place[which][chosen], windows[chosen], strict=True):
        top, left = near.top[window], near.left[window]
        seen[candidate, top : top + size, left : left + size] = True
    keys = named[best]
    return Candidates(
        image=keys // (4 * height * width),
        dy=keys // (2 * width) % (2 * height) - height,
        dx=keys % (2 * width) - width,
        seen=seen,
    )
