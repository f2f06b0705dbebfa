"""Small random training sets, noisy states and hypothesis cases that the tests share."""

from dataclasses import dataclass

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from numpy import ndarray

# derandomize: the same examples every time, so that a failure is a change in the code
PROPERTY = settings(
    deadline=None,
    derandomize=True,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def random_images(rng: np.random.Generator, *shape: int) -> ndarray:
    """Independent uint8 pixels [n, c, h, w]."""
    return rng.integers(0, 256, shape, dtype=np.uint8)


def noisy_states(rng: np.random.Generator, images: ndarray, num: int, alpha_bar: float) -> ndarray:
    """States xt float32 [num, c, h, w]: randomly chosen training images with noise."""
    x0 = images[rng.integers(0, len(images), num)] / 127.5 - 1
    noise = rng.standard_normal(x0.shape)
    return (np.sqrt(alpha_bar) * x0 + np.sqrt(1 - alpha_bar) * noise).astype(np.float32)


@dataclass(frozen=True)
class Case:
    """A geometry and the random data to try it on."""

    num_images: int
    channels: int
    height: int
    width: int
    patch_size: int
    boundary: str
    alpha_bar: float
    seed: int

    @property
    def rng(self) -> np.random.Generator:
        """A fresh generator, the same for every call."""
        return np.random.default_rng(self.seed)

    def images(self) -> ndarray:
        """uint8 [n, c, h, w]."""
        shape = (self.num_images, self.channels, self.height, self.width)
        return random_images(self.rng, *shape)

    def states(self, num: int = 2) -> ndarray:
        """float32 [num, c, h, w]."""
        return noisy_states(self.rng, self.images(), num, self.alpha_bar)


def largest_patch_size(height: int, width: int, boundary: str) -> int:
    """The largest odd patch side that the boundary admits."""
    if boundary == "circular_interior":
        return (min(height, width) - 1) // 2 * 2 + 1
    return 2 * max(height, width) - 1


@st.composite
def cases(
    draw: st.DrawFn,
    boundaries: tuple[str, ...] = ("zeros", "circular", "circular_interior"),
    max_side: int = 6,
) -> Case:
    """Any shape up to `max_side`, any patch size that it admits, noise from low to high."""
    height, width = draw(st.integers(1, max_side)), draw(st.integers(1, max_side))
    boundary = draw(st.sampled_from(boundaries))
    radius = draw(st.integers(0, largest_patch_size(height, width, boundary) // 2))
    return Case(
        num_images=draw(st.integers(1, 4)),
        channels=draw(st.sampled_from([1, 3])),
        height=height,
        width=width,
        patch_size=2 * radius + 1,
        boundary=boundary,
        alpha_bar=draw(st.sampled_from([0.02, 0.3, 0.8, 0.97])),
        seed=draw(st.integers(0, 2**16)),
    )
