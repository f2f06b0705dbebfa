"""Exact sums over all training images, cut into blocks that any crew may share.

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
from patchindex.crew import LOCAL, ThisProcess
from patchindex.kernels import exact_scan, scan_at, scan_whole

BLOCK_PIXELS = 2**22  # 4,096 images of 32 x 32: far more than a scan needs to be fast
# or less: the last to finish is waited for no longer than for one of them, and they can be counted
UNITS_PER_WORKER = 4

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
    num_blocks = -(-images.count(label) // images_per_block(images))
    crew = images.crew
    if crew is LOCAL:
        crew = SharingDevices(images.device.at(y.device).scanning)
    units = _branches(num_blocks, crew.size)
    dictionary = _Dictionary(images=images, geometry=geometry, label=label)
    sums = crew.run(_sum_branch, units, dictionary, y, sigma, places)
    return PosteriorRecord.merged_tree(_as_record(each, y.device) for each in sums)


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
        for block in blocks:
            part = pixels[block * step : (block + 1) * step]
            if geometry is None:
                yield scan_whole(part, y, sigma)
            elif places is not None:
                yield scan_at(part, y, places, sigma, geometry)
            else:
                yield exact_scan(part, y, sigma, geometry)

    record = PosteriorRecord.merged_tree(records())
    return record.log_max, record.sum_w, record.sum_wc, record.sum_w2, record.num_scored


def _as_record(sums: _Sums, device: torch.device) -> PosteriorRecord:
    """The record of these sums, beside the states."""
    log_max, sum_w, sum_wc, sum_w2, num_scored = (part.to(device) for part in sums)
    return PosteriorRecord.exact(
        log_max=log_max, sum_w=sum_w, sum_wc=sum_wc, sum_w2=sum_w2, num_scored=num_scored
    )
