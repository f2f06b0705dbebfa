"""A finished run as a folder holds it: its result, its trace, and the images it was made from."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from patchindex import ImageSet
from patchindex.errors import DatasetError
from patchindex.file_names import one_line
from sampler.attribution.shown import ShownLevel, class_of
from sampler.errors import SamplerConfigError
from sampler.results.output import reserve_output
from sampler.results.run_result import RUN_FILE, Attribution, RunResult, read_run
from sampler.results.source_result import ScalesResult
from sampler.results.trace import Trace


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run with a trace.

    Attributes:
        result: what `run.json` holds.
        attribution: of each sample.
    """

    path: Path
    result: RunResult
    attribution: tuple[Attribution, ...]
    trace: Trace

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Read the result and open the trace.

        Raises:
            ResultsError: what the result says cannot be.
            SamplerConfigError: the folder holds no run, or one without a trace.
            StoreError: the trace cannot be read.
        """
        try:
            result = read_run(path / RUN_FILE)
        except FileNotFoundError:
            raise _no_run(path) from None
        if result.trace is None:
            raise SamplerConfigError(
                f"the run in {path} has no trace. Sample it again with `sampler run --trace`."
            )
        trace = Trace.open(path)
        told = (len(result.steps), len(result.trace.attribution))
        if trace.shape[:2] != told:
            raise SamplerConfigError(
                f"the trace in {path} has {trace.shape[0]} steps of {trace.shape[1]} samples, but "
                f"{RUN_FILE} tells of {told[0]} and {told[1]}. Sample the run again."
            )
        return cls(path, result, result.trace.attribution, trace)

    def samples(self) -> Float[ndarray, "b c h w"]:
        """The finished samples.

        Raises:
            SamplerConfigError: they cannot be read.
        """
        file = self.path / "samples.npy"
        try:
            samples = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise SamplerConfigError(
                f"{file} cannot be read ({error}). Sample the run again."
            ) from error
        wanted, plain = self.trace.shape[1:], isinstance(samples, ndarray)
        if not plain or samples.dtype != np.float32 or samples.shape != wanted:
            raise SamplerConfigError(
                f"{file} does not hold the samples of the trace, float32 of {wanted}. "
                "Sample the run again."
            )
        found: Float[ndarray, "b c h w"] = samples
        return found

    def check_images(self, images: ImageSet) -> None:
        """Raise DatasetError unless the run was made from these images.

        Raises:
            SamplerConfigError: its trace was not.
        """
        source = self.result.source
        if images.sha256 != source.sha256:
            raise DatasetError(
                f"the run in {self.path} was made from {source.num_images} images of "
                f"{source.dataset}, but these are {len(images)} of {images.name}, and not the "
                "same ones. Give the --index that the run used, or its --dataset with the same "
                "--limit and --resolution."
            )
        shape = (images.channels, images.height, images.width)
        if self.trace.shape[2:] != shape:
            raise SamplerConfigError(
                f"the trace in {self.path} is of images of {self.trace.shape[2:]}, but the run's "
                f"are of {shape}. Sample the run again."
            )

    @property
    def kind(self) -> Literal["run", "picture"]:
        """See `Shown`, as for all that follows."""
        return "run"

    @property
    def label(self) -> int | None:
        """The class that was sampled; None for all."""
        return self.result.config.label

    @property
    def boundary(self) -> str:
        """What windows do at the border; whole images never wrap."""
        config = self.result.config
        return "zeros" if config.machine == "is" else config.boundary or "zeros"

    @property
    def compares_whole_images(self) -> bool:
        """Whether there are no patches."""
        return self.result.scales.patch_sizes is None

    def title(self, num: int) -> str:
        """Which machine made what, in a line."""
        machine = self.result.config.machine.upper()
        dataset = one_line(self.result.source.dataset)
        return f"{machine} machine over {dataset}: {num} sample{'s' if num > 1 else ''}"

    def levels(self, images: ImageSet) -> tuple[ShownLevel, ...]:
        """The steps."""
        whole = 2 * max(images.height, images.width) - 1  # holds the image, wherever its pixel lies
        return tuple(
            ShownLevel(t=step.t, sigma=step.sigma, patch_size=step.patch_size or whole)
            for step in self.result.steps
        )

    def facts(self, images: ImageSet) -> list[list[str]]:
        """What determines the samples."""
        run, config, source = self.result, self.result.config, self.result.source
        exact = config.exact or config.machine != "els"
        shape = " x ".join(map(str, source.shape))
        facts = {
            "Machine": config.machine.upper(),
            "Sums": "exact" if exact else f"retrieved: k {config.k}, tail {config.tail}",
            "Training images": f"{source.num_images:,} of {one_line(source.dataset)}, {shape}",
            "Checksum of the images": source.sha256,
            "Border rule": self.boundary,
            "Class": class_of(config.label, images),
            "Patch sizes": _sizes_of(run.scales),
            "Steps": f"{len(run.steps)}, {config.process}",
            "Noise": config.noise or f"seed {config.seed}",
            "Samples in the run": str(config.num),
            "Seconds": str(timedelta(seconds=round(run.seconds))),
            "Versions": ", ".join(f"{name} {number}" for name, number in run.versions.items()),
        }
        return [[name, value] for name, value in facts.items() if value]

    def words_of(self, number: int) -> dict[str, Any]:
        """Whether the shares of a sample are complete, and what is not listed."""
        complete = self.result.trace is not None and self.result.trace.complete
        sentence = self.attribution[number].sentence(complete=complete)
        return {"complete": complete, "sentence": sentence}

    def pictures(self) -> None:
        """The last posterior means are the samples."""


def _sizes_of(scales: ScalesResult) -> str:
    """Patch sizes that were compared, what placed them, and which were asked for if others."""
    if scales.patch_sizes is None:
        return "whole images are compared"
    listed = ", ".join(map(str, sorted(set(scales.patch_sizes))))
    asked = sorted(set(scales.asked) - set(scales.patch_sizes))
    instead = f"; {', '.join(map(str, asked))} were asked for too" if asked else ""
    return f"{listed} ({scales.name}{instead})"


@contextmanager
def held_run(path: Path) -> Iterator[RunFolder]:
    """A run with a trace, into whose folder no other process writes meanwhile.

    Raises:
        LockedError: another process writes into it.
        OutputError: it cannot be written to.
        SamplerConfigError, StoreError: as for `RunFolder.open`.
    """
    if not path.is_dir():  # which must not be made
        raise _no_run(path)
    with reserve_output(path, overwrite=True):
        yield RunFolder.open(path)


def _no_run(path: Path) -> SamplerConfigError:
    """The error of a folder without a run."""
    return SamplerConfigError(
        f"{path} holds no run: there is no {RUN_FILE}. Give the folder that "
        "`sampler run --trace` wrote."
    )
