"""The training patches that one pixel comes from, with their posterior weights.

The weight of a patch p in the window y is exp(-||y - p||^2 / (2 sigma^2)) / Z, where Z sums over
the whole dictionary of the pixel (arXiv 2412.20292, equation 10). Without noise it is the limit of
small sigma: the nearest patches share it equally, and all others have none.
"""

from dataclasses import dataclass, field
from math import inf, sqrt
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from patchindex import BorderSignature, Boundary, ImageSet, PatchIndex, windows_at
from patchindex.device import CPU
from patchindex.geometry import locate
from sampler.attribution.image_file import read_image
from sampler.attribution.nearest_patches import (
    LookupConfig,
    NearestPatches,
    nearest_patches,
    tie_reach,
)
from sampler.errors import SamplerConfigError
from sampler.estimator import NeighborSearch, Query, index_geometry
from sampler.noise import initial_noise
from sampler.schedule import alpha_bar, noise_level

Border = Literal["interior", "edge", "corner"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One training patch.

    Attributes:
        image, y, x: its training image, and its center in it.
        distance: Euclidean, between the windows in [-1, 1] data units.
        weight: its share of the posterior.
        label: class of the image; None without labels.
        name: its file, as `patchindex.file_names` shows it, whose `file_of` finds it again; None
            for images without files of their own.
        class_name: of the label; None without one.
    """

    image: int
    y: int
    x: int
    distance: float
    weight: float
    label: int | None
    name: str | None = None
    class_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tie:
    """Patches at one distance, such as duplicates.

    Attributes:
        listed: how many of them are among the sources.
        patches: how many were found.
        at_least: there may be more, because no more were kept.
    """

    distance: float
    listed: int
    patches: int
    at_least: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """The sources of one pixel.

    Attributes:
        sources: by distance, then by image and place.
        ties: one for each distance among the sources, in their order.
        unattributed: share of the posterior outside the list; with the weights it sums to 1.
        standard_error: of `unattributed`, from drawing patches that were not found; 0 where all
            were summed.
        complete: every legal patch was compared, so that no nearer one exists.
        sigma: noise in data units; 0 for none.
        border: whether the window crosses no image border, one, or one of each axis.
        signature: the border signature, which says which patches are legal.
        num_patches: how many they are.
    """

    sources: tuple[Source, ...]
    ties: tuple[Tie, ...]
    unattributed: float
    standard_error: float
    complete: bool
    pixel: tuple[int, int]
    patch_size: int
    sigma: float
    border: Border
    signature: BorderSignature
    num_patches: int


def find_sources(
    index: NeighborSearch,
    y: Float[Tensor, "1 c h w"],
    pixel: tuple[int, int],
    patch_size: int,
    *,
    sigma: float = 0.0,
    config: LookupConfig | None = None,
) -> Provenance:
    """The training patches nearest to the window around a pixel, weighted.

    Args:
        y: a state in data units; without noise an image in [-1, 1].
        pixel: row and column.
        patch_size: a scale of the index.
        sigma: noise of `y`.

    Raises:
        GeometryError: the pixel lies outside the image, or there are no such patches.
        DatasetError: no image has the label.
    """
    config = config or LookupConfig()
    geometry = index_geometry(index, patch_size)
    row, col = pixel
    number = geometry.signature_at(row, col)
    signature = geometry.signatures[number]
    query = Query(index=index, y=y, sigma=sigma, geometry=geometry, label=config.label)
    window = windows_at(y, range(row, row + 1), range(col, col + 1), geometry)[:, 0, 0]
    nearest = nearest_patches(query, number, window.contiguous(), config)
    num_patches = query.candidates(number).num_patches
    weights = _posterior_weights(nearest, sigma, config.k)
    attributed = sum(weights.tolist())
    unattributed = max(0.0, 1 - attributed)
    return Provenance(
        sources=_located(nearest, weights, index),
        ties=_tied(nearest, len(weights), num_patches),
        unattributed=unattributed,
        standard_error=attributed * nearest.mass_error,
        complete=nearest.complete,
        pixel=pixel,
        patch_size=patch_size,
        sigma=sigma,
        border=_border_of(signature, patch_size),
        signature=signature,
        num_patches=num_patches,
    )


def _posterior_weights(nearest: NearestPatches, sigma: float, k: int) -> Float[ndarray, " k"]:
    """The shares of the k nearest patches in the dictionary's mass; all if there are fewer."""
    dist_sq = nearest.dist_sq[:k]
    if sigma:
        log_weights = -dist_sq / (2 * sigma**2)
    else:
        log_weights = np.where(dist_sq <= tie_reach(dist_sq[0]), 0.0, -inf)
    # an estimated mass may fall short of what is listed, which is a part of it
    log_mass = max(nearest.log_mass, float(np.logaddexp.reduce(log_weights)))
    weights: Float[ndarray, " k"] = np.exp(log_weights - log_mass)
    return weights


def _located(
    nearest: NearestPatches, weights: Float[ndarray, " k"], index: NeighborSearch
) -> tuple[Source, ...]:
    """The nearest patches as sources, one for each weight."""
    images = index.images
    ids: Int[ndarray, " k"] = nearest.ids[: len(weights)]
    places = zip(*(part.tolist() for part in locate(ids, images.height, images.width)), strict=True)
    distances = np.sqrt(nearest.dist_sq[: len(weights)])
    return tuple(
        Source(
            image=image,
            y=y,
            x=x,
            distance=distance,
            weight=weight,
            label=images.label_of(image),
            name=images.file_name(image),
            class_name=images.class_name(images.label_of(image)),
        )
        for (image, y, x), distance, weight in zip(
            places, distances.tolist(), weights.tolist(), strict=True
        )
    )


def _tied(nearest: NearestPatches, num_listed: int, num_patches: int) -> tuple[Tie, ...]:
    """How many patches were found at each distance that is listed."""
    dist_sq = nearest.dist_sq
    starts = [0, *(i for i in range(1, len(dist_sq)) if dist_sq[i] > tie_reach(dist_sq[i - 1]))]
    ties = []
    for start, stop in zip(starts, [*starts[1:], len(dist_sq)], strict=True):
        if start >= num_listed:
            break
        counted = start == 0 and nearest.complete
        ties.append(
            Tie(
                distance=sqrt(dist_sq[start]),
                listed=min(stop, num_listed) - start,
                patches=nearest.num_nearest if start == 0 else stop - start,
                at_least=not counted and len(dist_sq) == stop < num_patches,
            )
        )
    return tuple(ties)


def _border_of(signature: BorderSignature, patch_size: int) -> Border:
    """How many axes of the image a window crosses the border of."""
    crossed = sum(len(axis.offsets) < patch_size for axis in (signature.rows, signature.cols))
    kinds: tuple[Border, ...] = ("interior", "edge", "corner")
    return kinds[crossed]


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
        resize: a picture file of another size is resized first; the pixel is one of the result.
    """

    image: Path
    pixel: tuple[int, int]
    patch_size: int
    t: float | None = None
    noise_seed: int | None = None
    schedule: str = "cosine"
    lookup: LookupConfig = field(default_factory=LookupConfig)
    resize: bool = False

    def __post_init__(self) -> None:
        if self.noise_seed is not None and self.t is None:
            raise SamplerConfigError(
                f"noise seed {self.noise_seed} was given, but no noise level. "
                "Give the time t too, in [0, 1]."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class BorderResult:
    """The border case of a pixel; ranges of centers hold both ends."""

    kind: Border
    legal_rows: tuple[int, int]
    legal_columns: tuple[int, int]
    legal_patches: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryResult:
    """Answer and question as `--json` prints them; see `Provenance` and `PixelQuery`."""

    neighbors: tuple[Source, ...]
    unattributed: float
    unattributed_standard_error: float
    multiplicity: tuple[Tie, ...]
    all_patches_compared: bool
    image: str
    pixel: tuple[int, int]
    patch_size: int
    border: BorderResult
    t: float | None
    schedule: str | None
    alpha_bar: float
    sigma: float
    noise_seed: int | None
    lookup: LookupConfig
    index: str
    boundary: Boundary
    dataset: str
    num_images: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """Where a pixel comes from.

    Attributes:
        state: what was asked about, the image or the noisy state.
        training: the images that sources are in.
        result: what `--json` prints.
    """

    query: PixelQuery
    provenance: Provenance
    state: Float[Tensor, "1 c h w"]
    training: ImageSet
    result: QueryResult


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
    state = read_image(query.image, index.images, is_state=is_state, resize=query.resize)
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
        result=_result_of(provenance, query, signal, index),
    )


def _result_of(
    provenance: Provenance, query: PixelQuery, signal: float, index: PatchIndex
) -> QueryResult:
    """Answer and question."""
    rows, cols = provenance.signature.rows.centers, provenance.signature.cols.centers
    return QueryResult(
        neighbors=provenance.sources,
        unattributed=provenance.unattributed,
        unattributed_standard_error=provenance.standard_error,
        multiplicity=provenance.ties,
        all_patches_compared=provenance.complete,
        image=str(query.image),
        pixel=provenance.pixel,
        patch_size=provenance.patch_size,
        border=BorderResult(
            kind=provenance.border,
            legal_rows=(rows.start, rows.stop - 1),
            legal_columns=(cols.start, cols.stop - 1),
            legal_patches=provenance.num_patches,
        ),
        t=query.t,
        schedule=None if query.t is None else query.schedule,
        alpha_bar=signal,
        sigma=provenance.sigma,
        noise_seed=query.noise_seed,
        lookup=query.lookup,
        index=str(index.path),
        boundary=index.boundary,
        dataset=index.images.name,
        num_images=len(index.images),
        sha256=index.manifest["images_sha256"],
    )
