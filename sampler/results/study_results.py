"""What the files of studies hold: verifications, calibrations, comparisons, leave-out checks."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, get_args

from jaxtyping import Float
from numpy import ndarray
from pydantic import BeforeValidator, Field

from patchindex import Boundary
from sampler.networks import NetworkConfig
from sampler.results.json_files import (
    Amount,
    Between,
    Count,
    Flag,
    Measure,
    Natural,
    Shape,
    Should,
    Size,
    SizeOrNull,
    Text,
    TextOrNull,
    Versions,
    read_json,
)
from sampler.results.run_result import SamplerConfig, complete_settings
from sampler.results.source_result import ScalesResult, SourceResult
from sampler.scales import BY_SIGMA, SCHEDULE

VERIFY_FILE, CALIBRATE_FILE, COMPARE_FILE = "verify.json", "calibrate.json", "compare.json"
TARGET_R2, TARGET_COVERAGE = 0.995, 0.95  # of a step of a verification


@dataclass(frozen=True, slots=True, kw_only=True)
class PosteriorComparison:
    """Retrieval beside exact sums at one step, over all pixels that were compared.

    Attributes:
        patch_size: of both.
        sigma: noise in data units.
        R2: of retrieval's posterior mean, 1 - SSE / SST pooled over all values.
        rmse: of the same mean.
        standard_error: that retrieval states, root mean square; equals `rmse` where it is honest.
        coverage: share of values whose 95 % interval holds the exact one.
        head_mass: share of the mass that was summed and not sampled, median.
        effective_sample_size: of the exact weights, median; then its 10 % and 90 % quantiles.
        estimated_effective_sample_size: what retrieval states, median.
        num_scored: patches per pixel whose distance retrieval computed, mean.
        exact_seconds, retrieval_seconds: of all pixels of all samples.
    """

    t: Annotated[float, Between(0, 1)]
    patch_size: SizeOrNull
    sigma: Measure
    R2: Measure
    rmse: Measure
    standard_error: Measure
    coverage: Measure
    head_mass: Measure
    effective_sample_size: Measure
    effective_sample_size_10: Measure
    effective_sample_size_90: Measure
    estimated_effective_sample_size: Measure
    num_scored: Measure
    exact_seconds: Measure
    retrieval_seconds: Measure


@dataclass(frozen=True, slots=True, kw_only=True)
class StepComparison(PosteriorComparison):
    """Retrieval beside the exact scan at one step, over all pixels of all samples.

    Attributes:
        recall: share of the k nearest patches that the search finds, mean over the pixels tried.
    """

    recall: Measure


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalComparison:
    """Images that each machine reached on its own way from the same noise.

    Attributes:
        r: Pearson correlation of each pair of images.
        r2_median: of the squares of `r`.
        R2_median: of 1 - SSE / SST of each pair.
    """

    r: tuple[Measure, ...]
    r_median: Measure
    r_lowest: Measure
    r2_median: Measure
    R2_median: Measure


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstAndMedian:
    """Of a measure over the steps where it is known; nan where it never is."""

    lowest: Measure
    median: Measure


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifySummary:
    """Worst and middle of the steps of a verification, and the seconds of all."""

    R2: WorstAndMedian
    coverage: WorstAndMedian
    recall: WorstAndMedian
    steps_below_target_R2: Count  # noqa: N815 - R2 is no r2, the square of r
    exact_seconds: Measure
    retrieval_seconds: Measure


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifySettings(SamplerConfig):
    """The settings of retrieval; see `sampler.studies.verify.VerifyConfig`."""

    recall_pixels: Count
    finals: Flag


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyResult:
    """What `verify.json` holds.

    Attributes:
        device: that computed.
        finals: None where retrieval did not follow its own trajectory.
    """

    schema_version: Natural = 1
    config: Annotated[VerifySettings, BeforeValidator(complete_settings)]
    scales: ScalesResult
    source: SourceResult
    device: Text
    seconds: Amount
    steps: Annotated[tuple[StepComparison, ...], Field(min_length=1)]
    summary: VerifySummary
    finals: FinalComparison | None
    versions: Versions

    @property
    def title(self) -> str:
        """What was compared, in one line."""
        config = self.config
        return (
            f"{self.source.title}: "
            f"retrieval (k {config.k:,}, tail {config.tail:,}, nprobe {config.nprobe:,}) "
            "against the exact scan"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrateSettings(SamplerConfig):
    """The settings of a calibration; see `sampler.studies.calibrate.CalibrateConfig`."""

    candidates: tuple[Size, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedScale:
    """The patch size that serves best at a time."""

    t: Annotated[float, Between(0, 1)]
    patch_size: Size


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrateResult:
    """What `calibrate.json` holds.

    Attributes:
        network: name of the one that machines should agree with; None for images held out.
        scales: medians over the samples, the lowest time first.
        best_quartiles: of the samples' best patch sizes, in the order of `times`.
        times: in the order of the reverse process, the highest first.
        mean_merit: of each candidate at each time, over the samples.
        effective_width: side of the square that holds 90 % of the network's gradient, at each time.
        published: name of the paper's scales of such a network, if there are any.
    """

    schema_version: Natural = 1
    config: CalibrateSettings
    network: TextOrNull
    source: SourceResult
    device: Text
    scales: tuple[TimedScale, ...]
    best_quartiles: tuple[tuple[Size, ...], tuple[Size, ...]]
    times: tuple[Annotated[float, Between(0, 1)], ...]
    mean_merit: tuple[tuple[Measure, ...], ...]
    effective_width: tuple[Natural, ...] | None
    published: TextOrNull
    seconds: Amount
    versions: Versions

    @property
    def title(self) -> str:
        """What was calibrated, in one line."""
        return f"{self.source.title}, against {Path(self.network or 'held-out images').stem}"

    @property
    def scales_yaml(self) -> str:
        """Patch size by time of the schedule or by sigma, as --scales reads it."""
        by_sigma = self.config.sigmas is not None
        places = reversed(self.config.sigmas or ()) if by_sigma else [s.t for s in self.scales]
        schedule = BY_SIGMA if by_sigma else self.config.schedule
        lines = [f"# patch size at each {'sigma' if by_sigma else 'time t'}: {self.title}"]
        if schedule != "cosine":
            lines.append(f"{SCHEDULE}: {schedule}")
        for place, scale in zip(places, self.scales, strict=True):
            lines.append(f"{place:g}: {scale.patch_size}")
        return "\n".join([*lines, ""])


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareSettings(SamplerConfig):
    """The settings of the machines; see `sampler.studies.compare.CompareConfig`."""

    network_steps: tuple[Natural, ...]
    baselines: tuple[Text, ...] = ("wiener",)


@dataclass(frozen=True, kw_only=True)  # without slots, of which Python inherits one set alone
class _Named:
    name: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedNetwork(NetworkConfig, _Named):
    """A network, and where it comes from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedDenoiser:
    """A network that others made, and what is known of it.

    Attributes:
        image_shape: None if it takes any.
    """

    name: Text
    image_shape: Shape | None
    num_classes: Count
    boundary: Annotated[Boundary, Should(f"one of {', '.join(get_args(Boundary))}")]

    @property
    def kind(self) -> str:
        """Its name without folders."""
        return Path(self.name).name


@dataclass(frozen=True, slots=True, kw_only=True)
class Medians:
    """Over images: Pearson r (the paper's "r^2"), its square, and R2 = 1 - SSE / SST."""

    r: Measure
    r2: Measure
    R2: Measure


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How well predictors agree with the network.

    Attributes:
        medians: of each predictor, by name.
        better_than_is: shares of images for which a local machine beats the ideal one.
    """

    medians: Mapping[str, Medians]
    better_than_is: Mapping[str, Measure]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareResult:
    """What `compare.json` holds; keys of `published`, `results` and `r` are network steps.

    Attributes:
        labels: class of each sample; None for a network without classes.
        published: the paper's medians for such a network: ELS, LS, IS, and the share ELS > IS.
        seconds: of the network and of each predictor, by name.
        r: of each sample, by predictor.
    """

    schema_version: Natural = 1
    config: CompareSettings
    network: NamedNetwork | NamedDenoiser
    scales: ScalesResult
    source: SourceResult
    device: Text
    labels: tuple[Count, ...] | None
    published: Mapping[str, tuple[Measure, ...]]
    seconds: Mapping[str, Amount]
    results: Mapping[str, Agreement]
    r: Mapping[str, Mapping[str, tuple[Measure, ...]]]
    versions: Versions

    @property
    def title(self) -> str:
        """Network and images in a few words."""
        return f"{Path(self.source.dataset).name}, {self.network.kind}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelValues:
    """Channels of a pixel in the sample, in its twin, and in that without other images."""

    sample: tuple[Measure, ...]
    without: tuple[Measure, ...]
    control: tuple[Measure, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveOutResult:
    """A leave-out check; distances are root mean squares in [-1, 1] units.

    Attributes:
        sample: its number in the run.
        pixel: row and column whose images were left out; None for those of the whole sample.
        exact: the twins are sums over every patch.
        removed, compared: numbers of the images that were left out, and of those for comparison.
        removed_names, compared_names: their files, in the same order, as `patchindex.file_names`
            shows them, whose `file_of` finds them again; None for images without files of their
            own, and in checks of versions that did not tell.
        at_pixel: the pixel, if there is one.
    """

    sample: Count
    pixel: tuple[Count, Count] | None
    exact: Flag = False
    removed: Annotated[tuple[Count, ...], Field(min_length=1)]
    compared: Annotated[tuple[Count, ...], Field(min_length=1)]
    removed_names: tuple[Text, ...] | None = None
    compared_names: tuple[Text, ...] | None = None
    distance: Amount
    control_distance: Amount
    at_pixel: PixelValues | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LeaveOut:
    """What leaving images out has done to a sample.

    Attributes:
        finished: the sample of the run; summed exactly, if only its twins are.
        without, control: what its noise becomes without the images, and without as many others.
    """

    result: LeaveOutResult
    finished: Float[ndarray, "c h w"]
    without: Float[ndarray, "c h w"]
    control: Float[ndarray, "c h w"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveOutResults:
    """What `leave_out.json` holds: the checks of a run."""

    schema_version: Natural = 1
    checks: tuple[LeaveOutResult, ...]


def read_verification(path: Path | str) -> VerifyResult:
    """What a `verify.json` says.

    Raises:
        FileNotFoundError: there is none.
        ResultsError: it cannot be read, or what it says cannot be.
        SamplerConfigError: a version of the future wrote it.
    """
    return read_json(Path(path), VerifyResult)
