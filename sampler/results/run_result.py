"""What determines a run, and what `run.json` holds of it, whichever version wrote that."""

from dataclasses import dataclass, field, fields
from math import nan
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from patchindex import Boundary
from patchindex.file_names import one_line
from patchindex.geometry import nearest_scale
from sampler.choices import (
    DEFAULT_MACHINE,
    DEFAULT_SAMPLER,
    DEFAULT_SCHEDULE,
    DEFAULT_STEPS,
    RUN_SAMPLES,
    MachineName,
    Sampler,
)
from sampler.errors import SamplerConfigError
from sampler.estimator import Retrieval, check_numbers
from sampler.noise import check_num
from sampler.results.json_files import (
    LACKS,
    LARGEST,
    MANY,
    SIZE_WORDS,
    SIZES_WORDS,
    Amount,
    Between,
    Count,
    Flag,
    Label,
    Measure,
    Natural,
    Share,
    Should,
    SizeOrNull,
    Text,
    TextOrNull,
    Versions,
    lacking,
    read_json,
    wrong,
)
from sampler.results.rest_result import Rest, complete_sentence, retrieved_sentence
from sampler.results.source_result import ClusterResult, ScalesResult, SourceResult
from sampler.schedule import LARGEST_SIGMA, NoiseLevels, check_steps, checked_sigmas

RUN_FILE = "run.json"
# 1, which bears no number, has the patch sizes that were asked for in place of those compared
SCHEMA_VERSION = 2
ADDED_SETTINGS = (
    "strict_scales", "scales", "steps", "reference_steps", "parts", "sigmas", "sampler"
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerConfig:
    """Everything that determines the samples, besides the images.

    Attributes:
        machine: els, ls or is.
        exact: sum over every patch instead of retrieving; LS and IS always do.
        boundary: of a machine without an index; None means zeros.
        k, tail, nprobe, tolerance, strict_scales: see `sampler.estimator.estimate.Retrieval`.
        parts: see there, too; None is as few as the memory of a cluster's workers admits.
        scales: published name, file, or list; None: see `sampler.scales.default_scales`.
        num, seed, noise: how much noise and from where; a noise file overrides the other two.
        label: class to sample; None for all.
        schedule, steps, reference_steps, sampler: see `sampler.trajectory.sample`.
        sigmas: the noise levels themselves, falling; they override schedule and steps.
    """

    machine: Annotated[MachineName, Should("one of els, ls, is")] = DEFAULT_MACHINE
    exact: Flag = False
    boundary: Annotated[Boundary | None, Should(f"one of {', '.join(get_args(Boundary))}")] = None
    k: Count = Retrieval.k
    tail: Count = Retrieval.tail
    nprobe: Count = Retrieval.nprobe
    tolerance: Annotated[float | None, Between(0, LARGEST)] = Retrieval.tolerance
    strict_scales: Flag = Retrieval.strict_scales
    parts: Annotated[int | None, Between(1, MANY)] = None
    scales: TextOrNull = None
    num: Natural = RUN_SAMPLES
    seed: Annotated[int, Between(0, 2**64 - 1)] = 0
    noise: TextOrNull = None
    label: Label = None
    schedule: Text = DEFAULT_SCHEDULE
    steps: Natural = DEFAULT_STEPS
    reference_steps: Flag = False
    sigmas: tuple[Annotated[float, Between(0, LARGEST_SIGMA)], ...] | None = None
    sampler: Annotated[Sampler, Should(f"one of {', '.join(get_args(Sampler))}")] = DEFAULT_SAMPLER

    @property
    def levels(self) -> NoiseLevels:
        """The sigmas, or the schedule."""
        return self.schedule if self.sigmas is None else self.sigmas

    @property
    def process(self) -> str:
        """Noise levels and sampler in words."""
        levels = f"schedule {self.schedule}" if self.sigmas is None else "own noise levels"
        return levels if self.sampler == "ddim" else f"{levels}, {self.sampler}"

    def __post_init__(self) -> None:
        if self.machine not in get_args(MachineName):
            raise SamplerConfigError(
                f"machine is {self.machine!r}. Give one of {', '.join(get_args(MachineName))}."
            )
        if self.parts is not None and self.parts < 1:
            raise SamplerConfigError(f"parts is {self.parts}. Give at least 1 part of the index.")
        check_numbers(
            k=self.k, tail=self.tail, nprobe=self.nprobe, tolerance=self.tolerance, seed=self.seed
        )
        check_num(self.num)
        if self.sampler not in get_args(Sampler):
            known = ", ".join(get_args(Sampler))
            raise SamplerConfigError(f"sampler is {self.sampler!r}. Give one of {known}.")
        if self.sigmas is not None:
            object.__setattr__(self, "sigmas", checked_sigmas(self.sigmas))
            object.__setattr__(self, "steps", len(self.sigmas))
        check_steps(self.steps, fewest=2 if self.reference_steps else 1)


def complete_settings(config: object) -> object:
    """The values of a configuration, none of which but those of later versions may be lacking."""
    if isinstance(config, dict):
        for name in [field.name for field in fields(SamplerConfig)]:
            if name not in config and name not in ADDED_SETTINGS:
                raise PydanticCustomError(LACKS, name)
    return config


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStep:
    """A step; see `sampler.trajectory.StepReport`.

    Attributes:
        mse_deviation: nan in runs of versions that did not tell.
        asked_patch_size: that the index may lack, so that `patch_size` served in its place.
    """

    t: Annotated[float, Between(0, 1)]
    patch_size: SizeOrNull
    sigma: Measure
    effective_sample_size: Measure
    head_mass: Measure
    standard_error: Measure
    num_scored: Measure
    estimated_again: Measure
    summed_exactly: Measure
    seconds: Measure
    asked_patch_size: SizeOrNull
    mse_deviation: Measure = nan


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageShare:
    """A training image's share of a sample, averaged over the steps.

    Attributes:
        name: its file, as `patchindex.file_names` shows it, whose `file_of` finds it again; None
            for images without files of their own, and in runs of versions that did not tell.
        class_name: of the label; None without one, and in runs of versions that did not tell.
    """

    image: Count
    share: Share
    label: Label
    name: TextOrNull = None
    class_name: TextOrNull = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """The training images with the largest shares of a sample.

    Attributes:
        others: share of all other images that were named.
        unattributed: share for which no image was named.
        rest: what is known of the others; None in runs of versions that did not tell.
    """

    images: tuple[ImageShare, ...]
    others: Share
    unattributed: Share
    rest: Rest | None = None

    @property
    def heaviest_share(self) -> float:
        """Of the images that are listed, together."""
        return sum((image.share for image in self.images), 0.0)

    def sentence(self, *, complete: bool) -> str:
        """What the weight that is not listed means."""
        if complete:
            return complete_sentence(self.others, self.rest)
        return retrieved_sentence(self.others, self.unattributed, self.rest)


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceResult:
    """What a run says of its trace.

    Attributes:
        bytes: size of the trace on disk.
        sources_per_pixel: training patches that are listed of each pixel and step.
        seconds_of_writing: that the run took longer by.
        attribution: of each sample.
        complete: whether every image's share was counted; no run of older versions tells so.
    """

    bytes: Count = 0
    sources_per_pixel: Count = 0
    seconds_of_writing: Amount = 0.0
    attribution: Annotated[tuple[Attribution, ...], Field(min_length=1)]
    complete: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What `run.json` holds; `output.write_run` writes it.

    `read_run` reads it for `sampler plot`, `explain` and `leave-out`.

    Attributes:
        schema_version: of this layout; older ones are read.
        config: with the boundary and the number of samples that there were in the end.
        device: that computed.
        seconds: of all steps together, without writing.
        trace: None without one.
        cluster: None for a process alone.
        versions: of the libraries that computed, by name.
    """

    schema_version: Natural = SCHEMA_VERSION
    config: Annotated[SamplerConfig, BeforeValidator(complete_settings)]
    scales: ScalesResult
    source: SourceResult
    device: Text = "cpu"
    seconds: Amount
    steps: Annotated[tuple[RunStep, ...], Field(min_length=1)]
    trace: TraceResult | None = None
    cluster: ClusterResult | None = None
    versions: Versions = field(default_factory=dict)

    @property
    def is_retrieved(self) -> bool:
        """Whether an index found the patches."""
        config = self.config
        return self.source.index is not None and config.machine == "els" and not config.exact

    @property
    def title(self) -> str:
        """Images, machine and samples, in one line."""
        config = self.config
        how = f"exact {config.machine.upper()}"
        if self.is_retrieved:
            how = (
                f"ELS by retrieval (k {config.k:,}, tail {config.tail:,}, nprobe {config.nprobe:,})"
            )
        samples = "sample" if config.num == 1 else "samples"
        return f"{self.source.title}: {how}, {config.num:,} {samples}"

    @property
    def caption(self) -> tuple[str, ...]:
        """The title, and how the samples were made, in lines of printable characters."""
        config = self.config
        noise = f"seed {config.seed}"
        if config.noise is not None:
            noise = f"noise of {one_line(Path(config.noise).name)}"
        label = "" if config.label is None else f", class {config.label}"
        return self.title, f"{config.steps} steps, {config.process}, {noise}{label}"


def read_run(path: Path | str) -> RunResult:
    """What a `run.json` says.

    Raises:
        FileNotFoundError: there is none.
        ResultsError: it cannot be read, or what it says cannot be.
        SamplerConfigError: a version of the future wrote it, or it lacks what it must have.
    """
    path = Path(path)
    run = read_json(path, RunResult, with_compared_sizes)
    _check_trace(run, path)
    _check_sizes(run, path)
    return run


def with_compared_sizes(values: dict[str, Any], path: Path) -> dict[str, Any]:
    """A run of version 1 as version 2 has it: with the patch sizes that were compared.

    Args:
        path: names it in errors.

    Raises:
        ResultsError: it lacks a whole part.
        SamplerConfigError: a part lacks what it must have.
    """
    for part in ("config", "scales", "source", "steps"):
        if part not in values:
            raise lacking(part, path)
    try:
        config, source, asked = values["config"], values["source"], values["scales"]["patch_sizes"]
        whole = config["machine"] == "is"
        retrieved = source["index"] is not None and config["machine"] == "els"
        searched = source["index_scales"] if retrieved and not config["exact"] else None

        def compared(size: int) -> int | None:
            if whole:
                return None
            return size if searched is None else nearest_scale(searched, size)

        steps = [
            step
            | {"patch_size": compared(step["patch_size"]), "asked_patch_size": step["patch_size"]}
            for step in values["steps"]
        ]
        sizes = {"asked": asked, "patch_sizes": None if whole else [compared(s) for s in asked]}
        scales = values["scales"] | sizes
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise SamplerConfigError(
            f"{path} tells of no run, or lacks a part ({error}). Sample the run again."
        ) from error
    return values | {"schema_version": SCHEMA_VERSION, "scales": scales, "steps": steps}


def _check_trace(run: RunResult, path: Path) -> None:
    """Raise ResultsError unless a trace is of the run's samples and images."""
    if run.trace is None:
        return
    last, num = run.source.num_images - 1, len(run.trace.attribution)
    for position, sample in enumerate(run.trace.attribution):
        for place, part in enumerate(sample.images):
            if part.image > last:
                where = f"trace.attribution[{position}].images[{place}].image"
                raise wrong(part.image, f"a whole number from 0 to {last}", where, path)
    if run.config.num != num:
        raise wrong(run.config.num, f"a whole number from {num} to {num}", "config.num", path)


def _check_sizes(run: RunResult, path: Path) -> None:
    """Raise ResultsError unless there are patch sizes where, and only where, there are patches."""
    whole = run.config.machine == "is"
    words = "null, as whole images are compared" if whole else SIZES_WORDS
    if (run.scales.patch_sizes is None) != whole:
        raise wrong(run.scales.patch_sizes, words, "scales.patch_sizes", path)
    words = words if whole else SIZE_WORDS
    for position, step in enumerate(run.steps):
        if (step.patch_size is None) != whole:
            raise wrong(step.patch_size, words, f"steps[{position}].patch_size", path)
        if step.asked_patch_size is None and not whole:
            raise wrong(None, words, f"steps[{position}].asked_patch_size", path)
