"""From a run's folder to the finished page."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Int
from numpy import ndarray

from patchindex import ImageSet
from sampler.explain.page import array_element, render_page
from sampler.explain.payload import (
    SHOWN_BYTES,
    chosen_samples,
    heaviest_images,
    make_payload,
    picture_arrays,
)
from sampler.explain.run_folder import RunFolder

TRIAL_IMAGES = 1024
PICTURE_BITS = (8, 6, 5, 4)
MARGIN = 0.95  # of the room: images of less weight may be larger when deflated


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The page of a run.

    Attributes:
        samples: numbers of the samples that it shows.
        num_pictures, num_named: training images that it holds, and that it names.
    """

    html: str
    samples: tuple[int, ...]
    num_pictures: int
    num_named: int


def explain(run: RunFolder, images: ImageSet, wanted: Sequence[int] | None = None) -> Explanation:
    """The page that shows where each pixel of a run's samples comes from.

    Args:
        images: what the run was made from.
        wanted: numbers of samples; as many of the first as a page of fair size holds if None.

    Raises:
        DatasetError: these are not the run's images.
        SamplerConfigError: there is no such sample.
        StoreError: the trace is damaged.
    """
    samples = chosen_samples(run, wanted)
    header, arrays = make_payload(run, images, samples)
    named = heaviest_images(header, arrays)
    bare = len(render_page(header, arrays | picture_arrays(images, named[:0])))
    made = len({entry["image"] for shown in header["samples"] for entry in shown["images"]})
    bits, count = pictures_fitting(images, named, SHOWN_BYTES - bare)
    kept = named[: max(made, count)]
    levels = f"{len(kept):,} of the {len(named):,} images named here, {2**bits} levels a channel"
    header["facts"].append(["Pictures in this file", levels])
    return Explanation(
        html=render_page(header, arrays | picture_arrays(images, kept, bits)),
        samples=tuple(samples),
        num_pictures=len(kept),
        num_named=len(named),
    )


def pictures_fitting(images: ImageSet, named: Int[ndarray, " n"], room: int) -> tuple[int, int]:
    """Bits a pixel and number of the pictures that fit into so many bytes of a page.

    All of them with as many bits as they can have, or else as many as fit with the fewest.
    """
    trial = named[:TRIAL_IMAGES]
    for bits in PICTURE_BITS:
        taken = len(array_element("embedded", picture_arrays(images, trial, bits)["embedded"]))
        count = max(0, int(MARGIN * room * len(trial) / taken))
        if count >= len(named):
            break
    return bits, min(count, len(named))
