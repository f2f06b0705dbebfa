"""What `denoise.json` holds: one-step denoising errors on held-out images, by noise level."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan, sqrt
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from sampler.results.json_files import (
    Amount,
    Flag,
    Measure,
    Natural,
    SizeOrNull,
    Text,
    TextOrNull,
    Versions,
    read_json,
)
from sampler.results.run_result import SamplerConfig
from sampler.results.source_result import ScalesResult, SourceResult

DENOISE_FILE = "denoise.json"
NORMAL_95 = 1.96  # standard deviations on either side that hold 95 % of a normal distribution


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanOverImages:
    """A mean over images with its normal 95 % interval, mean -+ half_width; nan for one image."""

    mean: Measure
    half_width: Measure

    @classmethod
    def of(cls, values: Float[Tensor, " b"]) -> "MeanOverImages":
        """The mean of one value for each image.

        Example:
            >>> MeanOverImages.of(torch.tensor([1.0, 2.0, 3.0])).half_width
            1.1316...
        """
        spread = float(values.std()) if len(values) > 1 else nan
        return cls(mean=float(values.mean()), half_width=NORMAL_95 * spread / sqrt(len(values)))


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoisedLevel:
    """How a denoiser did at a noise level.

    Attributes:
        sigma: noise in data units, y = x0 + sigma eps.
        patch_size: side of the windows or crops that were compared; None where there is none.
        error: mean squared error of the posterior mean, per value of an image in [-1, 1].
        beyond_els: its error less that of ELS on the same noisy images; None without ELS.
        R2: 1 - SSE / SST of an image about its own mean, median.
        seconds: of all images.
    """

    sigma: Amount
    patch_size: SizeOrNull
    error: MeanOverImages
    beyond_els: MeanOverImages | None
    R2: Measure
    seconds: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoiseSettings(SamplerConfig):
    """The settings of the machines; see `sampler.studies.denoise.DenoiseConfig`."""

    denoisers: tuple[Text, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoiseResult:
    """What `denoise.json` holds.

    Attributes:
        network: name of the network; None without one.
        network_labels: the network was told the classes of the images, which nothing else was.
        held_out: name of the set that the noisy images come from; None where they were held out of
            the training images.
        source: the training images, or an index of them.
        levels: of each denoiser by name, the highest noise first.
        errors: mean squared error of each image, in the same order.
    """

    schema_version: Natural = 1
    config: DenoiseSettings
    network: TextOrNull
    network_labels: Flag
    held_out: TextOrNull
    scales: ScalesResult
    source: SourceResult
    device: Text
    seconds: Amount
    levels: Mapping[str, tuple[DenoisedLevel, ...]]
    errors: Mapping[str, tuple[tuple[Measure, ...], ...]]
    versions: Versions

    @property
    def title(self) -> str:
        """What was denoised by what, in one line."""
        origin = "held out" if self.held_out is None else f"of {Path(self.held_out).name}"
        images = "image" if self.config.num == 1 else "images"
        return f"{self.source.title}: {self.config.num:,} {images} {origin}"


def read_denoising(path: Path | str) -> DenoiseResult:
    """What a `denoise.json` says.

    Raises:
        FileNotFoundError: there is none.
        ResultsError: it cannot be read, or what it says cannot be.
        SamplerConfigError: a version of the future wrote it.
    """
    return read_json(Path(path), DenoiseResult)
