"""Exact sums over all training images, and each image's share in them.

Both are cut into blocks that any crew may share.

Images are summed in blocks of one size, and the blocks' records merge along a fixed binary tree. A
unit is a run of blocks that make a whole branch, so that sums have the same bits however many
workers there are.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchindex import ImageSet, PatchGeometry, PosteriorRecord
from patchindex.crew import LOCAL, Crew, ThisProcess, portion
from patchindex.kernels import exact_scan, scan_at, scan_shares, scan_whole

BLOCK_PIXELS = 2**22  # 4,096 images of 32 x 32: far more than a scan needs to be fast
# or less: the last to finish is waited for no longer than for one of them, and they can be counted
UNITS_PER_WORKER = 4
# a patch with less of a pixel is not listed: there may be thousands, and memory is bounded so
LEAST_LISTED = 0.002
STATES_AT_ONCE = 8  # whose large shares are held before the largest are chosen

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Dictionary:
    """The patches that are summed: see `sum_exactly`."""

    images: ImageSet
    geometry: PatchGeometry | None
    label: int | None


# log_max, sum_w, sum_wc, sum_w2 and num_scored, of which everything in an exact record is made
_Sums = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def sum_exactly(
    images: ImageSet,
    y: Float[Tensor, "b c h w"],
    sigma: float,
    geometry: PatchGeometry | None,
    label: int | None = None,
    *,
    places: Int[Tensor, "q 3"] | None = None,
) -> PosteriorRecord:
    """The sums of every pixel over all its legal patches of all images; fields are [b, h, w].

    The work is shared by the crew of the images, or by the devices that share scans.

    Args:
        y: states in data units.
        geometry: which patches are legal; None compares whole images.
        label: only images of this class.
        places: state, row and column of the only pixels that are asked for; fields are [q].

    Raises:
        DatasetError: no image has the label.
    """
    crew, units = _shared_work(images, label, y.device)
    dictionary = _Dictionary(images=images, geometry=geometry, label=label)
    sums = crew.run(_sum_branch, units, dictionary, y, sigma, places)
    return PosteriorRecord.merged_tree(_as_record(each, y.device) for each in sums)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExactShares:
    """How the pixels of some states divide among images and patches.

    Attributes:
        images: of each image that the label admits, the mean share over the pixels of a state.
        ids: the heaviest patches of each pixel among all images, heaviest first; -1 for none. None
            has less than LEAST_LISTED.
        weights: their shares; 0 for none.
    """

    images: Float[Tensor, "b m"]
    ids: Int[Tensor, "b h w k"]
    weights: Float[Tensor, "b h w k"]


def share_exactly(
    images: ImageSet,
    y: Float[Tensor, "b c h w"],
    sigma: float,
    geometry: PatchGeometry,
    label: int | None = None,
    *,
    log_mass: Float[Tensor, "b h w"],
    num_listed: int,
) -> ExactShares:
    """What each image has of the mass of every pixel, and the heaviest patches of each.

    This is a second pass over the images, shared like the first, which found the masses.

    Args:
        y, sigma, geometry, label: as for `sum_exactly`.
        log_mass: of each pixel; infinite for pixels that take no part.
        num_listed: patches of each pixel.

    Raises:
        DatasetError: no image has the label.

    Example:
        >>> record = sum_exactly(images, y, sigma, geometry)
        >>> log_mass = record.log_max + record.sum_w.log()
        >>> shares = share_exactly(images, y, sigma, geometry, log_mass=log_mass, num_listed=8)
        >>> shares.images.sum(1)  # ones
    """
    crew, units = _shared_work(images, label, y.device)
    dictionary = _Dictionary(images=images, geometry=geometry, label=label)
    parts = crew.run(_share_branch, units, dictionary, y, sigma, log_mass, num_listed)
    columns = list(zip(*parts, strict=True))
    of_images, places, ids, shares = ([part.to(y.device) for part in each] for each in columns)
    place, found, share = heaviest(torch.cat(places), torch.cat(ids), torch.cat(shares), num_listed)
    num_pixels = log_mass.numel()
    rank = _ranks(place)
    all_ids = torch.full((num_pixels, num_listed), -1, device=y.device)
    all_weights = torch.zeros(num_pixels, num_listed, device=y.device)
    all_ids[place, rank], all_weights[place, rank] = found, share.float()
    return ExactShares(
        images=torch.cat(of_images, dim=1) / log_mass[0].numel(),
        ids=all_ids.reshape(*log_mass.shape, num_listed),
        weights=all_weights.reshape(*log_mass.shape, num_listed),
    )


def heaviest(
    places: Int[Tensor, " m"], ids: Int[Tensor, " m"], shares: Float[Tensor, " m"], most: int
) -> tuple[Int[Tensor, " k"], Int[Tensor, " k"], Float[Tensor, " k"]]:
    """The largest shares of each place, heaviest first; of equal ones those with smaller ids."""
    order = ids.argsort(stable=True)
    order = order[shares[order].argsort(stable=True, descending=True)]
    order = order[places[order].argsort(stable=True)]
    places, ids, shares = places[order], ids[order], shares[order]
    kept = _ranks(places) < most
    return places[kept], ids[kept], shares[kept]


def _ranks(places: Int[Tensor, " m"]) -> Int[Tensor, " m"]:
    """How many of the same place are before each; places ascend."""
    return torch.arange(len(places), device=places.device) - torch.searchsorted(places, places)


class SharingDevices(ThisProcess):
    """A crew of the GPUs of this process: each has a thread, and takes units in turn."""

    def __init__(self, places: Sequence[torch.device]) -> None:
        self._places, self.size = places, len(places)

    def run(self, work: Callable[..., Result], units: Sequence[Any], *shared: Any) -> list[Result]:
        """See `Crew.run`; tensors that are shared are copied to each device."""
        if self.size == 1:
            return super().run(work, units, *shared)

        def turn(first: int) -> list[Result]:
            place = self._places[first]
            here = [each.to(place) if isinstance(each, Tensor) else each for each in shared]
            return [work(unit, *here) for unit in units[first :: self.size]]

        with ThreadPoolExecutor(self.size) as threads:
            done = list(threads.map(turn, range(self.size)))
        return [done[at % self.size][at // self.size] for at in range(len(units))]


def images_per_block(images: ImageSet) -> int:
    """A power of two."""
    return 1 << (max(1, BLOCK_PIXELS // (images.height * images.width)).bit_length() - 1)


def _shared_work(
    images: ImageSet, label: int | None, device: torch.device
) -> tuple[Crew, list[range]]:
    """Who sums the images of a label, and what is done at once."""
    num_blocks = -(-images.count(label) // images_per_block(images))
    crew = images.crew
    if crew is LOCAL:
        crew = SharingDevices(images.device.at(device).scanning)
    return crew, _branches(num_blocks, crew.size)


def _branches(num_blocks: int, size: int) -> list[range]:
    """Runs of blocks, each a branch of the tree over all."""
    step = 1
    most = UNITS_PER_WORKER * size
    while -(-num_blocks // step) > most:
        step *= 2
    return [range(first, min(first + step, num_blocks)) for first in range(0, num_blocks, step)]


def _sum_branch(
    blocks: range,
    dictionary: _Dictionary,
    y: Float[Tensor, "b c h w"],
    sigma: float,
    places: Int[Tensor, "q 3"] | None,
) -> _Sums:
    """The sums over the images of some blocks."""
    images, geometry = dictionary.images, dictionary.geometry
    pixels, step = images.pixels_on(y.device, dictionary.label), images_per_block(images)

    def records() -> Iterator[PosteriorRecord]:
        for number, block in enumerate(blocks):
            part = pixels[block * step : (block + 1) * step]
            with portion(number, len(blocks)):
                if geometry is None:
                    record = scan_whole(part, y, sigma)
                elif places is not None:
                    record = scan_at(part, y, places, sigma, geometry)
                else:
                    record = exact_scan(part, y, sigma, geometry, precision=images.device.precision)
            yield record

    record = PosteriorRecord.merged_tree(records())
    return record.log_max, record.sum_w, record.sum_wc, record.sum_w2, record.num_scored


def _as_record(sums: _Sums, device: torch.device) -> PosteriorRecord:
    """The record of these sums, beside the states."""
    log_max, sum_w, sum_wc, sum_w2, num_scored = (part.to(device) for part in sums)
    return PosteriorRecord.exact(
        log_max=log_max, sum_w=sum_w, sum_wc=sum_wc, sum_w2=sum_w2, num_scored=num_scored
    )


def _share_branch(  # noqa: PLR0917 - crews share values by their place
    blocks: range,
    dictionary: _Dictionary,
    y: Float[Tensor, "b c h w"],
    sigma: float,
    log_mass: Float[Tensor, "b h w"],
    num_listed: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Shares of the images of some blocks, and places, ids and shares of the heaviest patches."""
    images, geometry = dictionary.images, dictionary.geometry
    assert geometry is not None  # noqa: S101 - whole images are weighed by `image_sources`
    pixels, step = images.pixels_on(y.device, dictionary.label), images_per_block(images)
    numbers = torch.from_numpy(images.label_indices(dictionary.label)).to(y.device)
    per_image = geometry.height * geometry.width
    of_images, listed = [], []
    for block in blocks:
        part = pixels[block * step : (block + 1) * step]
        own = numbers[block * step : (block + 1) * step]
        of_block = []
        for first in range(0, len(y), STATES_AT_ONCE):
            states = slice(first, first + STATES_AT_ONCE)
            found = scan_shares(
                part, y[states], sigma, geometry, log_mass[states], least_share=LEAST_LISTED
            )
            of_block.append(found.images)
            ids = own[found.ids // per_image] * per_image + found.ids % per_image
            listed.append(heaviest(found.places + first * per_image, ids, found.shares, num_listed))
        of_images.append(torch.cat(of_block))
    places, ids, shares = (torch.cat(column) for column in zip(*listed, strict=True))
    return torch.cat(of_images, dim=1), *heaviest(places, ids, shares, num_listed)
