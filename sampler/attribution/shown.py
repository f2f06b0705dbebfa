"""What a page shows: the samples of a traced run, or pictures that were attributed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from jaxtyping import Float
from numpy import ndarray

from patchindex import ImageSet
from sampler.results.run_result import Attribution
from sampler.results.trace import Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownLevel:
    """A step of a run, or a noise level of a picture.

    Attributes:
        t: its time; None where a level is no step.
        patch_size: of the windows that were compared; of one that always holds the whole image,
            where whole images were.
    """

    t: float | None
    sigma: float
    patch_size: int


@runtime_checkable
class Shown(Protocol):
    """A folder with a trace, and all that a page says of it."""

    @property
    def path(self) -> Path:
        """Where it lies."""
        ...

    @property
    def kind(self) -> Literal["run", "picture"]:
        """Samples of a run, or pictures that something else made."""
        ...

    @property
    def trace(self) -> Trace:
        """Every pixel at every level, the highest noise first."""
        ...

    @property
    def attribution(self) -> tuple[Attribution, ...]:
        """Of each sample or picture."""
        ...

    @property
    def label(self) -> int | None:
        """The class of the training images; None for all."""
        ...

    @property
    def boundary(self) -> str:
        """What windows do at the border."""
        ...

    @property
    def compares_whole_images(self) -> bool:
        """Whether there are no patches."""
        ...

    def title(self, num: int) -> str:
        """What a page of so many samples is called."""
        ...

    def levels(self, images: ImageSet) -> tuple[ShownLevel, ...]:
        """The steps or levels in the order of the trace."""
        ...

    def facts(self, images: ImageSet) -> list[list[str]]:
        """What determines all of this, as names and values for people."""
        ...

    def words_of(self, number: int) -> dict[str, Any]:
        """What else is known of a sample or picture, as JSON can hold it."""
        ...

    def pictures(self) -> Float[ndarray, "b c h w"] | None:
        """The pictures themselves; None where the posterior means lead to them."""
        ...

    def check_images(self, images: ImageSet) -> None:
        """Raise DatasetError unless these are the training images."""
        ...


def class_of(label: int | None, images: ImageSet) -> str:
    """The class that was asked for; empty for all."""
    if label is None:
        return ""
    name = images.class_name(label)
    return str(label) if name is None else f"{label}, {name}"
