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

TRIAL_IMAGES = 256
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
    kept = named[: max(made, num_fitting(images, named[:TRIAL_IMAGES], SHOWN_BYTES - bare))]
    return Explanation(
        html=render_page(header, arrays | picture_arrays(images, kept)),
        samples=tuple(samples),
        num_pictures=len(kept),
        num_named=len(named),
    )


def num_fitting(images: ImageSet, trial: Int[ndarray, " n"], room: int) -> int:
    """How many pictures fit into so many bytes of a page, judged by some of them."""
    if not len(trial):
        return 0
    taken = len(array_element("embedded", picture_arrays(images, trial)["embedded"]))
    return max(0, int(MARGIN * room * len(trial) / taken))
