"""What a user may choose about an index before it is built."""

from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, Literal, get_args

from patchindex.choices import DEFAULT_BOUNDARY, SCALES, Boundary
from patchindex.errors import IndexConfigError
from patchindex.geometry import check_boundary

CodeKind = Literal["sq8"]

# FAISS scans codes in groups of 16; with 25 dimensions a code takes 4 times as long as with 32
CODE_LANES = 16
DIMS_STEP = 8  # of projected windows: what AVX2 compares at once
MOST = 2**63  # whole numbers are below this
LEAST = {
    "seed": 0,
    "single_list_patches": 0,
    "plain_dims": 0,
    "least_dims": 1,
    "most_dims": 1,
    "list_dims": 1,
    "points_per_list": 1,
    "kmeans_iterations": 1,
    "train_patches": 1,
    "block_patches": 1,
    "shard_patches": 1,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexConfig:
    """How to build an index; two builds with the same config and images give the same bits.

    Attributes:
        scales: odd patch sides in pixels, one index each; kept sorted, doubles dropped.
        seed: of the training samples and of k-means.
        single_list_patches: a signature with no more patches than this gets one list.
        lists_per_sqrt: inverted lists per square root of a larger signature's patches.
        code: how patches are stored for the search: `sq8` is one byte per dimension.
        plain_dims: windows of at most this many values are stored as they are, without PCA.
        explained_variance: share of the variance of larger windows that their principal
            components must hold, within the next two.
        least_dims, most_dims: principal components that larger windows are projected to.
        list_dims: leading dimensions that lists are formed by; FAISS assigns patches to lists
            twice as fast with at most 32.
        points_per_list: training patches per list for k-means.
        kmeans_iterations: of each k-means.
        train_patches: patches that PCA and code ranges are learned from.
        block_patches: patches that are assigned to lists at once, about: whole images.
        shard_patches: patches that are stored together, and kept or lost at once when a build is
            interrupted, at most: whole blocks.

    Raises:
        IndexConfigError: a scale is even or not positive, or a number is out of range.
        GeometryError: there is no such boundary.
    """

    scales: tuple[int, ...] = SCALES
    boundary: Boundary = DEFAULT_BOUNDARY
    seed: int = 0
    single_list_patches: int = 16_384
    lists_per_sqrt: float = 1.0
    code: CodeKind = "sq8"
    plain_dims: int = 32
    explained_variance: float = 0.97
    least_dims: int = 40
    most_dims: int = 64
    list_dims: int = 32
    points_per_list: int = 64
    kmeans_iterations: int = 10
    train_patches: int = 65_536
    block_patches: int = 2**16
    shard_patches: int = 2**24

    def __post_init__(self) -> None:
        object.__setattr__(self, "scales", tuple(sorted(set(self.scales))))
        _check_scales(self.scales)
        check_boundary(self.boundary)
        if self.code not in get_args(CodeKind):
            known = ", ".join(get_args(CodeKind))
            raise IndexConfigError(f"code is {self.code!r}. Give one of these: {known}.")
        for name, least in LEAST.items():
            value = getattr(self, name)
            if value < least:
                raise IndexConfigError(f"{name} is {value}. Give at least {least}.")
        if not (self.lists_per_sqrt > 0 and isfinite(self.lists_per_sqrt)):
            raise IndexConfigError(
                f"lists_per_sqrt is {self.lists_per_sqrt}. Give a positive number, such as 1.0."
            )
        if not 0 < self.explained_variance <= 1:
            raise IndexConfigError(
                f"explained_variance is {self.explained_variance}. Give a share above 0, at most 1."
            )
        if self.least_dims > self.most_dims:
            raise IndexConfigError(
                f"least_dims is {self.least_dims}, but most_dims {self.most_dims}. Give no more."
            )

    def is_plain(self, channels: int, patch_size: int) -> bool:
        """Whether windows of this size are stored as they are."""
        return channels * patch_size**2 <= self.plain_dims

    def code_dims(self, channels: int, patch_size: int) -> range:
        """How many dimensions a code may have: one number for plain windows, which are filled up.

        Of others it depends on the images, see `explained_variance`.
        """
        dims = channels * patch_size**2
        if self.is_plain(channels, patch_size):
            filled = -(-dims // CODE_LANES) * CODE_LANES
            return range(filled, filled + 1)
        return range(min(dims, self.least_dims), min(dims, self.most_dims) + 1)

    def to_json(self) -> dict[str, Any]:
        """All fields, as JSON holds them."""
        return asdict(self) | {"scales": list(self.scales)}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "IndexConfig":
        """The config that `to_json` wrote.

        Raises:
            IndexConfigError: a field is unknown, of another type, or out of range.
        """
        _check_types(fields, cls().to_json())
        return cls(**(fields | {"scales": tuple(fields["scales"])}))


def _check_types(fields: dict[str, Any], defaults: dict[str, Any]) -> None:
    """Raise IndexConfigError unless the fields are known, and of the types of the defaults."""
    for name, value in fields.items():
        if name not in defaults:
            raise IndexConfigError(f"{name[:99]} is no setting of an index. Leave it out.")
        kinds = (int, float) if isinstance(defaults[name], float) else (type(defaults[name]),)
        if type(value) not in kinds or (isinstance(value, int) and abs(value) >= MOST):
            raise IndexConfigError(
                f"{name} is {value!r:.99}. Give a value such as {defaults[name]}."
            )
    scales = fields.get("scales")
    if not isinstance(scales, list) or not all(type(scale) is int for scale in scales):
        raise IndexConfigError(f"scales are {scales!r:.99}. Give a list of patch sizes.")


def _check_scales(scales: tuple[int, ...]) -> None:
    """Raise IndexConfigError unless there are scales and each can be a patch size."""
    if not scales:
        raise IndexConfigError("no scale was given. Give at least one patch size, such as 3.")
    for scale in scales:
        if scale < 1 or scale % 2 == 0:
            raise IndexConfigError(
                f"scale {scale} is not a patch size. Give odd positive numbers of pixels, "
                "so that each patch has a center pixel."
            )
