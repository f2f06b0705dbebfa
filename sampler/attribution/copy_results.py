"""Settings of the search for near-copies, what it finds, and what held-out images score."""

from dataclasses import dataclass

from jaxtyping import Bool
from numpy import ndarray

from sampler.errors import SamplerConfigError

LARGEST_TOLERANCE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class CopySettings:
    """How near-copies are looked for.

    Attributes:
        patch_size: of the windows that are looked up: the index's nearest scale, of two the larger.
        k: nearest patches of each window.
        nprobe: inverted lists visited for each.
        candidates: displacements of images that are compared densely, in each search.
        tolerances: root mean square differences of a copy, in [-1, 1] units; for each picture that
            which gives the most evidence.
        region_tolerance: the one that the border of a region is found with.
        most_offset: largest difference in brightness, in [-1, 1] units.
        most: copies that are reported at most.
        least_score: evidence in nats that a region must have to be reported.
        mirrored: look for mirrored copies, too.

    Raises:
        SamplerConfigError: a number is out of range.
    """

    patch_size: int = 7
    k: int = 32
    nprobe: int = 16
    candidates: int = 64
    tolerances: tuple[float, ...] = (0.02, 0.04, 0.08)
    region_tolerance: float = 0.06
    most_offset: float = 0.2
    most: int = 8
    least_score: float = 5.0
    mirrored: bool = False

    def __post_init__(self) -> None:
        for name in ("nprobe", "candidates", "most"):
            if getattr(self, name) < 1:
                raise SamplerConfigError(f"{name} is {getattr(self, name)}. Give at least 1.")
        if self.k < 2:
            raise SamplerConfigError(
                f"k is {self.k}. Give at least 2 patches: the farther are compared with the nearer."
            )
        tolerances = (*self.tolerances, self.region_tolerance)
        if not self.tolerances or not all(0 < each <= LARGEST_TOLERANCE for each in tolerances):
            raise SamplerConfigError(
                f"tolerances are {self.tolerances} and {self.region_tolerance}. Give numbers above "
                f"0, at most {LARGEST_TOLERANCE}, in [-1, 1] units."
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NearCopy:
    """A region of a picture that is copied from a training image.

    Attributes:
        image: number of the training image.
        name: its file, if the images have names, or None.
        region: the copied pixels. Plain pixels at its outside, which any image has, are not in it.
        displacement: (dy, dx); pixel (y, x) of the region is pixel (y + dy, x + dx) of the image,
            or, mirrored, the pixel (y, width - 1 - x) of the picture flipped left to right is.
        mirrored: the picture flipped left to right holds the copy.
        offset: brightness added to the image, in [-1, 1] units.
        distance: root mean square difference in the region from the image so brightened, in
            [-1, 1] units.
        matching: share of all pixels of the picture that the image explains as well, plain ones
            included: 1 for a training image itself.
        score: evidence of the region, in nats; see `copy_regions`.
        p_value: how often a held-out image has a region with such a score, at least 1 / (1 + N);
            None if no null was given.
    """

    image: int
    name: str | None
    region: Bool[ndarray, "h w"]
    displacement: tuple[int, int]
    mirrored: bool
    offset: float
    distance: float
    matching: float
    score: float
    p_value: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CopyNull:
    """What held-out images score: see `copy_null.held_out`.

    Attributes:
        scores: evidence of the best region of each, 0 where it has none.
        distances: `NearCopies.nearest_distance` of each.
        origin: "left out" for training images asked without themselves, "held out" for others.
        settings: they were asked with.
        index: digest of the index.
    """

    scores: tuple[float, ...]
    distances: tuple[float, ...]
    origin: str
    settings: CopySettings
    index: str

    def p_value(self, score: float) -> float:
        """(1 + scores as large or larger) / (1 + N): never below 1 / (1 + N)."""
        return (1 + sum(each >= score for each in self.scores)) / (1 + len(self.scores))

    def novelty(self, distance: float) -> float:
        """Share of the held-out images that are nearer to their nearest patches, ties half."""
        nearer = sum((each < distance) + 0.5 * (each == distance) for each in self.distances)
        return nearer / len(self.distances)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NearCopies:
    """The near-copies in a picture, most evidence first.

    Attributes:
        copies: their regions do not overlap.
        score: of the first, 0 where there is none.
        nearest_distance: root mean square difference of windows from their nearest training
            patches, averaged over all windows that are not plain; 0 where all are.
        novelty: share of the null's images whose `nearest_distance` is smaller; None without null.
        null: that was compared with, or None.
        settings: the scale that was searched among them.
    """

    copies: tuple[NearCopy, ...]
    score: float
    nearest_distance: float
    novelty: float | None
    null: CopyNull | None
    settings: CopySettings
