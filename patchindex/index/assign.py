"""An inverted list and a code for every patch of some images.

Images are taken in blocks that begin at multiples of one number. On the processor a thread takes a
whole block, so that every sum has one order: no division of the images among shards, calls or
threads changes a bit. On a GPU sums run in another order, and a patch between two lists, or between
two codes, may get the other of them; which it gets is the same in every build on one kind of GPU.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from torch import Tensor
from torch.nn.functional import conv2d

from patchindex.device import CPU
from patchindex.geometry import PatchGeometry
from patchindex.images import shared_tensor
from patchindex.index.lists import CENTERED_RANGE, center_rectangle, num_patches
from patchindex.index.quantizer import Quantizer
from patchindex.index.trained import TrainedScale, encode
from patchindex.kernels.in_threads import in_threads
from patchindex.windows import padded

GPU_PATCHES = 2**21  # assigned at once on a GPU, about


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Assigner:
    """Assigns patches of one scale; make one with `of`, and use it for all images.

    Attributes:
        quantizers: of each border signature; None for those with a single list.
    """

    geometry: PatchGeometry
    signature_lists: Int[ndarray, " signatures_plus_1"]
    quantizers: tuple[Quantizer | None, ...]
    filters: Float[Tensor, "r c s s"]
    bias: Float[Tensor, " r"]
    code_min: Float[Tensor, " r"]
    code_span: Float[Tensor, " r"]

    @classmethod
    def of(
        cls, trained: TrainedScale, geometry: PatchGeometry, device: torch.device = CPU
    ) -> "Assigner":
        """One that computes on a device."""
        s, lists = geometry.patch_size, trained.signature_lists
        centroids = np.split(trained.centroids, lists[1:-1])
        filters = torch.from_numpy(trained.pca / CENTERED_RANGE).to(device)
        return cls(
            geometry=geometry,
            signature_lists=lists,
            quantizers=tuple(
                Quantizer.of(own).to(device) if len(own) > 1 else None for own in centroids
            ),
            filters=rearrange(filters, "r (c sy sx) -> r c sy sx", sy=s, sx=s),
            bias=torch.from_numpy(trained.pca_bias).to(device),
            code_min=torch.from_numpy(trained.code_min).to(device),
            code_span=torch.from_numpy(trained.code_span).to(device),
        )

    def assign(
        self,
        pixels: UInt8[ndarray, "n c h w"],
        block: int,
        progress: Callable[[int], None] = lambda _: None,
    ) -> tuple[Int[ndarray, " m"], UInt8[ndarray, "m r"]]:
        """List number and code of every legal patch of these images, in the order of patch ids.

        Args:
            block: images that are taken together on the processor.
            progress: told how many images are done, from whichever thread.
        """
        per_image = num_patches(self.geometry, 1)
        lists = np.empty(len(pixels) * per_image, dtype=np.int32)
        codes = np.empty((len(lists), len(self.bias)), dtype=np.uint8)
        on_gpu = self.bias.is_cuda
        step = max(block, GPU_PATCHES // per_image // block * block) if on_gpu else block

        lock, done = Lock(), 0

        def work(first: int) -> None:
            nonlocal done
            images = pixels[first : first + step]
            rows = slice(first * per_image, (first + len(images)) * per_image)
            with exact_float32():
                projected = self.project(images)
                lists[rows] = self.nearest_lists(projected).reshape(-1).cpu().numpy()
                coded = encode(projected.flatten(0, 2), self.code_min, self.code_span)
            codes[rows] = coded.cpu().numpy()
            with lock:
                done += len(images)
                progress(done)

        starts = range(0, len(pixels), step)
        if on_gpu:
            for first in starts:
                work(first)
        else:
            in_threads(work, starts)
        return lists, codes

    def project(self, pixels: UInt8[ndarray, "n c h w"]) -> Float[Tensor, "n rows cols r"]:
        """PCA of the window around every legal center: a convolution, so no window is ever cut."""
        rows, cols = center_rectangle(self.geometry)
        images = shared_tensor(np.asarray(pixels)).to(self.bias.device)
        shifted = images.float().mul_(2).sub_(CENTERED_RANGE)
        vectors = conv2d(padded(shifted, rows, cols, self.geometry), self.filters, self.bias)
        return rearrange(vectors, "n r rows cols -> n rows cols r").contiguous()

    def nearest_lists(
        self, projected: Float[Tensor, "n rows cols r"]
    ) -> Int[Tensor, "n rows cols"]:
        """List of every patch: that of its `Quantizer.nearest` among those of its signature."""
        rows, cols = center_rectangle(self.geometry)
        lists = torch.empty(projected.shape[:3], dtype=torch.int32, device=projected.device)
        for index, signature in enumerate(self.geometry.signatures):
            y, x = signature.rows.centers, signature.cols.centers
            across = slice(y.start - rows.start, y.stop - rows.start)
            along = slice(x.start - cols.start, x.stop - cols.start)
            mine = lists[:, across, along]
            mine[...] = int(self.signature_lists[index])
            quantizer = self.quantizers[index]
            if quantizer is not None:
                lead = projected[:, across, along, : quantizer.rows.shape[1]]
                mine += quantizer.nearest(lead.flatten(0, 2)).reshape(mine.shape)
        return lists


@contextmanager
def exact_float32() -> Iterator[None]:
    """On a GPU, products of float32 numbers keep all their bits, and sums are in one order."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
