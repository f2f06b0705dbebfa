"""What the file of an audit holds: retrieval beside exact sums for a few pixels of each step."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from sampler.results.json_files import (
    Amount,
    Count,
    Measure,
    Natural,
    Share,
    Text,
    Versions,
    read_json,
)
from sampler.results.run_result import SamplerConfig, complete_settings
from sampler.results.source_result import ScalesResult, SourceResult
from sampler.results.study_results import PosteriorComparison, WorstAndMedian

AUDIT_FILE = "audit.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedStep(PosteriorComparison):
    """Retrieval beside sums over every patch at one step, over random pixels of its states.

    `exact_seconds` are those that an exact scan of the whole states would take, extrapolated from
    a few images.

    Attributes:
        num_pixels: that were compared.
        unreliable: share of them whose Pareto k-hat is so large that their intervals are not
            vouched for, and do not count in `coverage`.
        audit_seconds: of the sums for these pixels.
    """

    num_pixels: Natural
    unreliable: Share
    audit_seconds: Measure


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSummary:
    """Worst and middle of the steps of an audit, and the seconds of all."""

    R2: WorstAndMedian
    coverage: WorstAndMedian
    steps_below_target_R2: Count  # noqa: N815 - R2 is no r2, the square of r
    exact_seconds: Measure
    retrieval_seconds: Measure
    audit_seconds: Measure


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings(SamplerConfig):
    """The settings of retrieval; see `sampler.studies.audit.AuditConfig`."""

    pixels: Natural


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditResult:
    """What `audit.json` holds.

    Attributes:
        device: that computed.
    """

    schema_version: Natural = 1
    config: Annotated[AuditSettings, BeforeValidator(complete_settings)]
    scales: ScalesResult
    source: SourceResult
    device: Text
    seconds: Amount
    steps: Annotated[tuple[AuditedStep, ...], Field(min_length=1)]
    summary: AuditSummary
    versions: Versions

    @property
    def title(self) -> str:
        """What was compared, in one line."""
        config = self.config
        return (
            f"{self.source.title}: "
            f"retrieval (k {config.k:,}, tail {config.tail:,}, nprobe {config.nprobe:,}) "
            f"against exact sums for {self.steps[0].num_pixels:,} pixels a step"
        )


def read_audit(path: Path | str) -> AuditResult:
    """What an `audit.json` says.

    Raises:
        FileNotFoundError: there is none.
        ResultsError: it cannot be read, or what it says cannot be.
        SamplerConfigError: a version of the future wrote it.
    """
    return read_json(Path(path), AuditResult)
