"""A question about one pixel of an image file, and the answer's account for `--json`."""

from dataclasses import asdict, dataclass, field
from math import sqrt
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from patchindex import ImageSet, PatchIndex
from patchindex.devices import CPU
from sampler.errors import SamplerConfigError
from sampler.noise import initial_noise
from sampler.provenance.image_file import read_image
from sampler.provenance.nearest_patches import LookupConfig
from sampler.provenance.pixel_sources import Provenance, find_sources
from sampler.schedules import alpha_bar, noise_level


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelQuery:
    """Which pixel is asked about.

    Attributes:
        image: a PNG, JPEG or .npy file.
        pixel: row and column.
        patch_size: a scale of the index.
        t: time of the noise level; None for no noise.
        noise_seed: add noise of this seed to the image; without it, the image at a time is itself
            taken as the noisy state.
        schedule: of alpha_bar(t).
        lookup: how sources are looked for.
    """

    image: Path
    pixel: tuple[int, int]
    patch_size: int
    t: float | None = None
    noise_seed: int | None = None
    schedule: str = "cosine"
    lookup: LookupConfig = field(default_factory=LookupConfig)

    def __post_init__(self) -> None:
        if self.noise_seed is not None and self.t is None:
            raise SamplerConfigError(
                f"noise seed {self.noise_seed} was given, but no noise level. "
                "Give the time t too, in [0, 1]."
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """Where a pixel comes from.

    Attributes:
        state: what was asked about, the image or the noisy state.
        training: the images that sources are in.
        account: what `--json` prints.
    """

    query: PixelQuery
    provenance: Provenance
    state: Float[Tensor, "1 c h w"]
    training: ImageSet
    account: dict[str, Any]


def answer(index: PatchIndex, query: PixelQuery, device: torch.device = CPU) -> Answer:
    """Look for the sources of the pixel in an index.

    Args:
        device: where distances are computed.

    Raises:
        UserError: a file, scale, pixel, label or time that the index does not admit.
    """
    index.arrays(query.patch_size)  # refuses a scale that the index lacks
    signal = 1.0 if query.t is None else alpha_bar(query.t, query.schedule)
    adds_noise = query.noise_seed is not None
    is_state = query.t is not None and not adds_noise
    state = read_image(query.image, index.images, is_state=is_state)
    if query.noise_seed is not None:
        noise = initial_noise(1, index.images, query.noise_seed)
        state = sqrt(signal) * state + sqrt(1 - signal) * noise
    provenance = find_sources(
        index,
        (state / sqrt(signal)).to(device),
        query.pixel,
        query.patch_size,
        sigma=noise_level(signal),
        config=query.lookup,
    )
    return Answer(
        query=query,
        provenance=provenance,
        state=state,
        training=index.images,
        account=account_of(provenance, query, signal) | describe_index(index),
    )


def account_of(provenance: Provenance, query: PixelQuery, signal: float) -> dict[str, Any]:
    """Answer and question as JSON has them."""
    rows, cols = provenance.signature.rows.centers, provenance.signature.cols.centers
    return {
        "neighbors": [asdict(source) for source in provenance.sources],
        "unattributed": provenance.unattributed,
        "unattributed_standard_error": provenance.standard_error,
        "multiplicity": [asdict(tie) for tie in provenance.ties],
        "all_patches_compared": provenance.complete,
        "image": str(query.image),
        "pixel": list(provenance.pixel),
        "patch_size": provenance.patch_size,
        "border": {
            "kind": provenance.border,
            "legal_rows": [rows.start, rows.stop - 1],
            "legal_columns": [cols.start, cols.stop - 1],
            "legal_patches": provenance.num_patches,
        },
        "t": query.t,
        "schedule": None if query.t is None else query.schedule,
        "alpha_bar": signal,
        "sigma": provenance.sigma,
        "noise_seed": query.noise_seed,
        "lookup": asdict(query.lookup),
    }


def describe_index(index: PatchIndex) -> dict[str, Any]:
    """What was searched."""
    return {
        "index": str(index.path),
        "boundary": index.boundary,
        "dataset": index.images.name,
        "num_images": len(index.images),
        "sha256": index.manifest["images_sha256"],
    }
