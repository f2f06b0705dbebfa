"""Groups of (image, displacement) pairs by float64 brute force, pair by pair, and cases to try.

Shares no code with patchindex: a pair is in a group if its image is, and if the share of its
displacement, looked up in a table that has displacement 0 in the middle, is that of the image.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from hypothesis import strategies as st
from numpy import ndarray
from reference.samples import Case, largest_patch_size
from reference.score_machines import as_unit, legal_centers, padded_windows, weighted

NONE = -1


@dataclass(frozen=True)
class PairCase:
    """Data, and groups of its images: numbers and shares [g, m], and shares of displacements."""

    case: Case
    images: ndarray
    image_shares: ndarray
    displacement_shares: ndarray
    equivariant: bool = True

    @property
    def sigma(self) -> float:
        """Of the states, in data units."""
        return ((1 - self.case.alpha_bar) / self.case.alpha_bar) ** 0.5

    @property
    def y(self) -> ndarray:
        """One state, in data units; float32 [c, h, w]."""
        return self.case.states(1)[0] / np.float32(self.case.alpha_bar**0.5)

    def share_of(self, dy: int, dx: int) -> int:
        """The share of a displacement."""
        rows, cols = self.displacement_shares.shape
        row, col = dy + rows // 2, dx + cols // 2
        if not (0 <= row < rows and 0 <= col < cols):
            return NONE
        return int(self.displacement_shares[row, col])

    def group_of(self, image: int, center: tuple[int, int], pixel: tuple[int, int]) -> int:
        """The group that has this pair."""
        share = self.share_of(center[0] - pixel[0], center[1] - pixel[1])
        group, own = self._groups.get(image, (NONE, NONE))
        return group if share == own else NONE

    @cached_property
    def _groups(self) -> dict[int, tuple[int, int]]:
        """The group and the share of each image that has one."""
        return {
            int(image): (group, int(share))
            for group, (images, shares) in enumerate(
                zip(self.images, self.image_shares, strict=True)
            )
            for image, share in zip(images, shares, strict=True)
        }

    def centers(self, pixel: tuple[int, int]) -> list[tuple[int, int]]:
        """Legal centers of a pixel."""
        case = self.case
        legal = legal_centers(
            "ELS" if self.equivariant else "LS",
            case.boundary,
            pixel,
            case.patch_size,
            (case.height, case.width),
        )
        return [(int(y), int(x)) for y, x in np.argwhere(legal)]

    def log_weights(self, pixel: tuple[int, int]) -> ndarray:
        """Of each image and legal center [n, k]."""
        case, centers = self.case, self.centers(pixel)
        y = self.y.astype(np.float64)
        query = padded_windows(y[None], case.patch_size, case.boundary)[0][:, pixel[0], pixel[1]]
        windows = padded_windows(as_unit(case.images()), case.patch_size, case.boundary)
        rows, cols = np.array(centers).T
        off = np.moveaxis(windows[:, :, rows, cols], 1, 2) - query
        return -(off**2).sum(axis=(2, 3, 4)) / (2 * self.sigma**2)


@dataclass(frozen=True)
class GroupSums:
    """What one group has for one pixel; nothing where it has no pair."""

    num: int
    log_mass: float
    mean: ndarray
    effective_sample_size: float


def group_sums(pairs: PairCase, pixel: tuple[int, int]) -> list[GroupSums]:
    """The sums of every group for one pixel."""
    clean, centers = as_unit(pairs.case.images()), pairs.centers(pixel)
    log_weights = pairs.log_weights(pixel)
    found: list[list[tuple[float, ndarray]]] = [[] for _ in pairs.images]
    for image in range(len(clean)):
        for place, (y, x) in enumerate(centers):
            group = pairs.group_of(image, (y, x), pixel)
            if group != NONE:
                found[group].append((log_weights[image, place], clean[image, :, y, x]))
    sums = []
    for members in found:
        if not members:
            sums.append(GroupSums(0, -np.inf, np.zeros(0), 0.0))
            continue
        weights, values = zip(*members, strict=True)
        mean, log_mass, size = weighted(np.array(weights), np.stack(values))
        sums.append(GroupSums(len(members), log_mass, mean, size))
    return sums


@st.composite
def pair_cases(
    draw: st.DrawFn,
    *,
    max_side: int = 6,
    most_images: int = 20,
    boundaries: tuple[str, ...] = ("zeros", "circular", "circular_interior"),
) -> PairCase:
    """Any boundary and size; shares in any order, some of them empty; tables of any size."""
    height, width = draw(st.integers(1, max_side)), draw(st.integers(1, max_side))
    boundary = draw(st.sampled_from(boundaries))
    radius = draw(st.integers(0, largest_patch_size(height, width, boundary) // 2))
    num_groups, per_group = draw(st.integers(1, 3)), draw(st.integers(1, most_images))
    case = Case(
        num_images=num_groups * per_group + draw(st.integers(0, 3)),
        channels=draw(st.sampled_from([1, 2, 3])),
        height=height,
        width=width,
        patch_size=2 * radius + 1,
        boundary=boundary,
        alpha_bar=draw(st.sampled_from([0.02, 0.3, 0.8, 0.97])),
        seed=draw(st.integers(0, 2**16)),
    )
    num_shares = draw(st.sampled_from([1, 2, 5]))
    chosen = case.rng.permutation(case.num_images)[: num_groups * per_group]
    # one share more than displacements have
    shares = case.rng.integers(0, num_shares + draw(st.booleans()), (num_groups, per_group))
    return PairCase(
        case=case,
        images=chosen.reshape(num_groups, per_group),
        image_shares=shares.astype(np.int32),
        displacement_shares=draw(share_tables(case, num_shares)),
        equivariant=boundary == "circular_interior" or draw(st.sampled_from([True, True, False])),
    )


@st.composite
def share_tables(draw: st.DrawFn, case: Case, num_shares: int) -> ndarray:
    """Shares of displacements, -1 for none; the same where they differ by the size of the image."""
    axes = []
    for size in (case.height, case.width):
        # where windows wrap round, a table of another size would part what has to be the same
        sizes = range(size + 2) if case.boundary == "zeros" else [0, size - 1]
        farthest = draw(st.sampled_from(sizes))
        axes.append(np.arange(-farthest, farthest + 1))
    dy, dx = axes
    if case.boundary != "zeros":
        dy, dx = dy % case.height, dx % case.width
    size = 2 * max(case.height, case.width) + 5
    run = draw(st.sampled_from([1, 2, 3]))
    pool = case.rng.integers(-1, num_shares, (size, size)).repeat(run, axis=1)
    return pool[dy[:, None], dx].astype(np.int32)
