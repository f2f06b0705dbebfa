"""From a run's folder to the finished page."""

from collections.abc import Sequence
from dataclasses import dataclass

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
    # what the page takes without pictures, and what a picture takes
    bare = len(render_page(header, arrays | picture_arrays(images, named[:0])))
    trial = named[:TRIAL_IMAGES]
    each = len(array_element("embedded", picture_arrays(images, trial)["embedded"])) / len(trial)
    count = max(TRIAL_IMAGES, int(MARGIN * (SHOWN_BYTES - bare) / each))
    kept = named[:count]
    return Explanation(
        html=render_page(header, arrays | picture_arrays(images, kept)),
        samples=tuple(samples),
        num_pictures=len(kept),
        num_named=len(named),
    )
