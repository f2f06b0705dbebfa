"""What results were made from, at which scales, and by whom."""

from dataclasses import asdict, dataclass
from pathlib import Path

from patchindex.crew import Crew
from patchindex.file_names import one_line
from sampler.results.json_files import (
    Amount,
    Count,
    Natural,
    Shape,
    Size,
    SizesOrNull,
    Text,
    TextOrNull,
)
from sampler.scales import ChosenScales

_LONGEST_NAME = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalesResult:
    """Scales of a run.

    Attributes:
        name, asked, patch_sizes, sigmas: see `sampler.scales.ChosenScales`; without patch sizes
            whole images are compared.
    """

    name: Text
    asked: tuple[Size, ...]
    patch_sizes: SizesOrNull
    sigmas: tuple[Amount, ...] | None = None

    @classmethod
    def of(cls, chosen: ChosenScales) -> "ScalesResult":
        """The scales that were chosen."""
        sizes = tuple(size for size in chosen.patch_sizes if size is not None)
        return cls(
            name=chosen.name, asked=chosen.asked, patch_sizes=sizes or None, sigmas=chosen.sigmas
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceResult:
    """What samples were made from, enough to find it again.

    Attributes:
        index, index_scales: path and patch sizes of the index; None without one.
        dataset, num_images: name of the training set, and how many images it has.
        shape: channels, height and width of the images.
        crop: how they were cut; None in runs of versions that did not tell.
        sha256: checksum of the images.
    """

    index: TextOrNull
    index_scales: SizesOrNull
    dataset: Text
    num_images: Natural
    shape: Shape
    crop: TextOrNull = None
    sha256: Text

    @property
    def title(self) -> str:
        """Name and number of the images."""
        name = one_line(Path(self.dataset).name)
        if len(name) > _LONGEST_NAME:  # for which a figure has no room
            name = f"{name[: _LONGEST_NAME - 3]}..."
        return f"{name}, {self.num_images:,} images"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterResult:
    """Who did the work.

    Attributes:
        workers: how many there were in the end.
        lost: names of those that went away.
        kernels, devices: of all; more than one kind of each, if they were mixed.
    """

    workers: Count
    lost: tuple[Text, ...]
    kernels: tuple[Text, ...]
    devices: tuple[Text, ...]

    @classmethod
    def of(cls, crew: Crew) -> "ClusterResult | None":
        """The crew, unless it is this process."""
        told = crew.report()
        return None if told is None else cls(**asdict(told))
