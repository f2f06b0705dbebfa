"""The trace of a run: what a machine saw, said and named of every pixel at every step.

trace.zarr/          one chunk per step, zstd; S steps, b samples, m sources per pixel
  state, mean              f2 [S, b, c, h, w]  xt, and the posterior mean
  source_ids               u4 or u8 [S, b, h, w, m]  heaviest first; the largest number for none
  source_weights           f2 [S, b, h, w, m]  shares of the posterior
  unattributed             f2 [S, b, h, w]     share outside the list
  effective_sample_size    f4 [S, b, h, w]
  head_mass                f2 [S, b, h, w]
  standard_error           f2 [S, b, h, w]     the largest of the channels
  image_numbers            i4 [S, b, n]        training images with the largest shares
  image_shares             f4 [S, b, n]        mean over the pixels, all named patches counted
  image_unattributed       f4 [S, b]           what no training image was named for
  chunk_crc32             u4 [S, 11]          checksums of the above, in the order of their names
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from jaxtyping import Float, Int, UInt
from numpy import ndarray
from torch import Tensor

from patchindex import ImageSet
from patchindex.device import CPU
from patchindex.errors import StoreError
from patchindex.geometry import id_dtype
from patchindex.step_store import StepStore
from sampler.estimator import ImageShares
from sampler.posterior import Posterior
from sampler.results.rest_result import Rest
from sampler.results.run_result import Attribution, ImageShare, TraceResult

TRACE = "trace.zarr"
SOURCES_PER_PIXEL = 8
IMAGES_PER_STEP = 64
_IMAGES_PER_SAMPLE = 10
_FORMAT = {"format": "sampler-trace", "version": 1}


class TraceWriter:
    """Writes one step after another, and averages the shares of the training images.

    Attributes:
        path: of the trace.
        seconds: spent here so far.
        total: sum over the steps of the shares of images; None before the first.

    Args:
        done: steps that were written before; without any, there must be nothing at `path`.
        total: after these.
        label: class of the images that have shares; None for all.
        complete: whether all shares of images are named.
    """

    def __init__(
        self,
        path: Path,
        images: ImageSet,
        num_steps: int,
        *,
        done: int = 0,
        total: ImageShares | None = None,
        label: int | None = None,
        complete: bool = False,
    ) -> None:
        self.path = path
        self.seconds = 0.0
        self.total = total
        self._images, self._num_steps, self._done = images, num_steps, done
        images.file_name(0)  # refuses names that are damaged before all steps are done
        self._num_admitted, self._complete = images.count(label), complete
        shape = {"height": images.height, "width": images.width}
        if done:
            self._store = StepStore.open(path, mode="r+")
        else:
            self._store = StepStore.create(path, _FORMAT | shape)

    def write(self, xt: Float[Tensor, "b c h w"], posterior: Posterior) -> None:
        """Add a step: the state that it began with, and the posterior with its sources."""
        start = perf_counter()
        sources = posterior.sources
        assert sources is not None  # noqa: S101 - whoever writes a trace has asked for them
        values = {
            "state": _half(xt),
            "mean": _half(posterior.mean),
            "source_ids": _stored_ids(sources.ids, self._images),
            "source_weights": _half(sources.weights),
            "unattributed": _half(sources.unattributed),
            "effective_sample_size": posterior.effective_sample_size.float().cpu().numpy(),
            "head_mass": _half(posterior.head_mass),
            "standard_error": _half(posterior.standard_error.amax(1)),
        }
        shares = _heaviest(sources.image_shares, IMAGES_PER_STEP, len(self._images))
        values["image_numbers"] = shares.numbers.int().cpu().numpy()
        values["image_shares"] = shares.shares.float().cpu().numpy()
        values["image_unattributed"] = shares.unattributed.float().cpu().numpy()
        self._store.write(self._done, self._num_steps, values)
        self._done += 1
        step_shares = sources.image_shares.to(CPU)
        self.total = step_shares if self.total is None else self.total.plus(step_shares)
        self.seconds += perf_counter() - start

    def result(self) -> TraceResult:
        """What `run.json` says of the trace."""
        return TraceResult(
            bytes=sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file()),
            sources_per_pixel=SOURCES_PER_PIXEL,
            seconds_of_writing=self.seconds,
            attribution=tuple(self._attribution()),
            complete=self._complete,
        )

    def _attribution(self) -> Iterator[Attribution]:
        """For each sample, the training images with the largest shares, averaged over the steps."""
        assert self.total is not None  # noqa: S101 - there is at least one step
        mean = replace(self.total, share=self.total.share / self._num_steps)
        shares = _heaviest(mean, _IMAGES_PER_SAMPLE, len(self._images))
        effective = self._store.read("effective_sample_size").mean((0, 2, 3), dtype=np.float64)
        for numbers, sample_shares, others, unattributed, *rest in zip(
            shares.numbers.tolist(),
            shares.shares.tolist(),
            shares.others.tolist(),
            shares.unattributed.tolist(),
            shares.num_others.tolist(),
            shares.largest_other.tolist(),
            shares.sum_squares.tolist(),
            effective.tolist(),
            strict=True,
        ):
            images = tuple(
                ImageShare(
                    image=image,
                    share=share,
                    label=self._images.label_of(image),
                    name=self._images.file_name(image),
                    class_name=self._images.class_name(self._images.label_of(image)),
                )
                for image, share in zip(numbers, sample_shares, strict=True)
                if share > 0
            )
            yield Attribution(
                images=images,
                others=others,
                unattributed=unattributed,
                rest=self._rest(*rest),
            )

    def _rest(self, num: int, largest: float, sum_squares: float, effective: float) -> Rest:
        """What is known of the other images of a sample."""
        return Rest(
            num_images=num,
            largest_share=largest,
            average_share=1 / self._num_admitted,
            effective_images=1 / sum_squares if self._complete and sum_squares else None,
            effective_patches=effective,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _HeaviestImages:
    """Training images by their share in each sample; with `others` and `unattributed` it sums to 1.

    Attributes:
        others: share of the named images that are not among these.
        unattributed: share for which no image was named.
        num_others, largest_other: how many there are, and what one of them has at most.
        sum_squares: of the shares of all images.
    """

    numbers: Int[Tensor, "b k"]
    shares: Float[Tensor, "b k"]
    others: Float[Tensor, " b"]
    unattributed: Float[Tensor, " b"]
    num_others: Int[Tensor, " b"]
    largest_other: Float[Tensor, " b"]
    sum_squares: Float[Tensor, " b"]


def _heaviest(image_shares: ImageShares, most: int, num_images: int) -> _HeaviestImages:
    """The images with the largest shares of each sample; where fewer are named, image 0 with 0."""
    k = min(most, num_images)
    numbers = torch.zeros(image_shares.num_states, k, dtype=torch.int64)
    shares = torch.zeros(image_shares.num_states, k, dtype=torch.float64)
    named, largest_other, sum_squares = torch.zeros(3, image_shares.num_states).double()
    num_others = torch.zeros(image_shares.num_states, dtype=torch.int64)
    for state in range(image_shares.num_states):
        images, found = image_shares.of(state)
        order = found.argsort(descending=True, stable=True)
        top, others = order[:k], order[k:]
        numbers[state, : len(top)], shares[state, : len(top)] = images[top], found[top]
        named[state], sum_squares[state] = found.sum(), found.square().sum()
        num_others[state] = len(others)
        largest_other[state] = found[others[0]] if len(others) else 0.0
    return _HeaviestImages(
        numbers=numbers,
        shares=shares,
        others=(named - shares.sum(1)).clamp(min=0),
        unattributed=(1 - named).clamp(min=0),
        num_others=num_others,
        largest_other=largest_other,
        sum_squares=sum_squares,
    )


def _half(values: Tensor) -> Float[ndarray, "..."]:
    """As 16-bit floats; what is too large for them becomes their largest number."""
    largest = float(np.finfo(np.float16).max)
    kept: Float[ndarray, "..."] = values.clamp(-largest, largest).cpu().numpy()
    return kept.astype(np.float16)


def _stored_ids(ids: Int[Tensor, "b h w m"], images: ImageSet) -> UInt[ndarray, "b h w m"]:
    """Ids in the smallest type that holds them; the type's largest number stands for none."""
    dtype = id_dtype(len(images) + 1, images.height, images.width)
    return ids.cpu().numpy().astype(dtype)  # -1 becomes the largest number


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace that was written; arrays are read when asked for."""

    store: StepStore

    @classmethod
    def open(cls, run_dir: Path) -> "Trace":
        """The trace of a run.

        Raises:
            StoreError: the run has none, or it cannot be read.
        """
        store = StepStore.open(run_dir / TRACE)
        found = {key: store.attributes.get(key) for key in _FORMAT}
        if found != _FORMAT:
            raise StoreError(
                f"{run_dir / TRACE} is {found}, but this version reads {_FORMAT}. "
                "Run `sampler run --trace` again."
            )
        return cls(store)

    def read(self, name: str, *selection: int | list[int]) -> ndarray:
        """An array of all steps, as the module's description says.

        Args:
            selection: of samples, rows, columns, in this order; all of those not given.
        """
        return self.store.read(name, *selection)

    def source_ids(self, *selection: int | list[int]) -> Int[ndarray, "s *places m"]:
        """Patch ids with -1 for none; arguments as for `read`."""
        stored = self.read("source_ids", *selection)
        ids: Int[ndarray, "s *places m"] = stored.astype(np.int64)
        ids[stored == np.iinfo(stored.dtype).max] = -1
        return ids

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the states: steps, samples, channels, height, width."""
        return self.store.shape("state")


def check_image_numbers(numbers: Int[ndarray, "..."], num_images: int) -> None:
    """Raise StoreError unless a trace names only images that there are."""
    if numbers.size and not 0 <= numbers.min() <= numbers.max() < num_images:
        raise StoreError(
            f"{TRACE} names images from {numbers.min()} to {numbers.max()}, but the run has "
            f"{num_images}. Run `sampler run --trace` again."
        )
