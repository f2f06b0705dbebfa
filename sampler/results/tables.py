"""Tables for the terminal: steps of a run or a verification, a comparison, denoising errors."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isnan

from sampler.results.audit_result import AuditedStep, AuditResult
from sampler.results.denoise_result import DenoisedLevel, DenoiseResult, MeanOverImages
from sampler.results.run_result import RunStep
from sampler.results.study_results import CompareResult, Medians, StepComparison
from sampler.trajectory import StepReport

RUN_HEADER = (
    "    t   scale   sigma   effective samples   head mass   standard error   patches   seconds"
)
VERIFICATION_HEADER = (
    "    t   scale   sigma         R2   recall   head mass   effective samples   coverage"
    "   exact s   retrieval s"
)
AUDIT_HEADER = (
    "    t   scale   sigma         R2   coverage   k-hat >= 0.7   retrieval s   audit s"
    "   exact s, extrapolated"
)
_MACHINES = ("els", "ls", "is")
# columns of the other predictors, in their order
_OTHERS = {"wiener": "Wiener", "lukoianov": "Lukoianov", "pspc": "PSPC", "nearest": "nearest image"}
_COMPARISON_HEADER = "network steps              ELS      LS      IS  ELS > IS"
_PUBLISHED_LINE = "  {:<20} {:7.2f} {:7.2f} {:7.2f} {:9.2f}"


def run_row(report: StepReport) -> str:
    """One step under RUN_HEADER; a dash stands for what cannot be known.

    The scale is that of the patches that were compared, or the word image.
    """
    return (
        f"{report.t:5.2f} {report.patch_size or 'image':>7} {report.sigma:7.3f} "
        f"{report.effective_sample_size:19.1f} {_or_dash(report.head_mass, '.3f'):>11} "
        f"{_or_dash(report.standard_error, '.4f'):>16} {report.num_scored:9.0f} "
        f"{report.seconds:9.2f}"
    )


def verification_row(row: StepComparison) -> str:
    """One step under VERIFICATION_HEADER; a dash stands for what is not known."""
    return (
        f"{row.t:5.2f} {row.patch_size or 'image':>7} {row.sigma:7.3f} "
        f"{_or_dash(row.R2, '.6f'):>10} {_or_dash(row.recall, '.3f'):>8} "
        f"{_or_dash(row.head_mass, '.3f'):>11} "
        f"{row.effective_sample_size:19.1f} {_or_dash(row.coverage, '.3f'):>10} "
        f"{row.exact_seconds:9.2f} {row.retrieval_seconds:13.2f}"
    )


def audit_row(row: AuditedStep) -> str:
    """One step under AUDIT_HEADER; a dash stands for what is not known."""
    return (
        f"{row.t:5.2f} {row.patch_size or 'image':>7} {row.sigma:7.3f} "
        f"{_or_dash(row.R2, '.6f'):>10} {_or_dash(row.coverage, '.3f'):>10} "
        f"{row.unreliable:14.3f} {row.retrieval_seconds:13.2f} {row.audit_seconds:9.2f} "
        f"{row.exact_seconds:23.2f}"
    )


def audit_summary_lines(result: AuditResult) -> Iterator[str]:
    """Medians and worst of all steps, and what an audit costs beside the whole."""
    summary = result.summary
    for name, of_steps, form in (
        ("R2", summary.R2, ".6f"),
        ("coverage", summary.coverage, ".3f"),
    ):
        median, lowest = (_or_dash(value, form) for value in (of_steps.median, of_steps.lowest))
        yield f"{name}: median {median}, lowest {lowest} of {len(result.steps)} steps"
    yield (
        f"seconds: retrieval {summary.retrieval_seconds:,.1f}, audit {summary.audit_seconds:,.1f}, "
        f"exact scans {summary.exact_seconds:,.0f} (extrapolated)"
    )


def format_methods(steps: Sequence[RunStep], tolerance: float) -> str:
    """By which methods pixels came within the tolerance, as shares over all steps."""
    again = sum(step.estimated_again for step in steps) / len(steps)
    exactly = sum(step.summed_exactly for step in steps) / len(steps)
    return (
        f"tolerance {tolerance:g}: {1 - again - exactly:.1%} of the pixels accepted at once, "
        f"{again:.1%} estimated again, {exactly:.1%} summed exactly"
    )


def _or_dash(value: float, form: str) -> str:
    """The formatted value, or a dash for nan."""
    return "-" if isnan(value) else format(value, form)


def table_lines(result: CompareResult) -> Iterator[str]:
    """For each number of network steps: median r, r2 and R2 of each predictor, and published r."""
    known = {name for found in result.results.values() for name in found.medians}
    others = [name for name in _OTHERS if name in known]
    yield _COMPARISON_HEADER + "".join(f" {_OTHERS[name]:>{_width(name)}}" for name in others)
    for steps, found in result.results.items():
        yield f"{steps}"
        better = found.better_than_is["els"]
        yield _measured_line("median r", "r", found.medians, better)
        row = result.published.get(steps)
        if row is not None:
            yield _PUBLISHED_LINE.format("published", *row)
        yield _measured_line("median r2", "r2", found.medians, None)
        yield _measured_line("median R2", "R2", found.medians, None)


def _measured_line(
    title: str, measure: str, medians: Mapping[str, Medians], better: float | None
) -> str:
    """One line under the header; `better` is the share where ELS beats IS."""
    values = {name: getattr(found, measure) for name, found in medians.items()}
    machines = " ".join(f"{values[name]:7.2f}" for name in _MACHINES)
    share = " " * 9 if better is None else f"{better:9.2f}"
    others = [f"{values[name]:{_width(name)}.2f}" for name in _OTHERS if name in values]
    return " ".join([f"  {title:<20} {machines} {share}", *others])


def _width(name: str) -> int:
    """Characters of a column of the comparison, after its gap."""
    return max(7, len(_OTHERS[name]) + 1)


def denoising_lines(result: DenoiseResult) -> Iterator[str]:
    """By noise level and denoiser: error, what it has beyond ELS, R2, and seconds."""

    def beyond_els(level: DenoisedLevel) -> str:
        return "" if level.beyond_els is None else _with_interval(level.beyond_els, "+")

    blocks: dict[str, Callable[[DenoisedLevel], str]] = {
        "mean squared error, 95 % interval": lambda level: _with_interval(level.error),
        "error beyond that of ELS, paired, 95 % interval": beyond_els,
        "R2, median": lambda level: _or_dash(level.R2, ".3f"),
        "seconds": lambda level: f"{level.seconds:.2f}",
    }
    names = list(result.levels)
    for title, shown in blocks.items():
        if shown is beyond_els and "els" not in names:
            continue
        yield title
        yield "   sigma  patch" + "".join(f"{_denoiser_title(name):>20}" for name in names)
        for at, sigma in enumerate(result.config.sigmas or ()):
            row = [result.levels[name][at] for name in names]
            sizes = [level.patch_size for name, level in zip(names, row, strict=True)
                     if name in ("ls", "els")]  # fmt: skip
            yield f"{sigma:8g} {sizes[0] if sizes else '-':>6}" + "".join(
                f"{shown(level):>20}" for level in row
            )


def _with_interval(value: MeanOverImages, sign: str = "") -> str:
    """The mean and half its interval's width, or a dash for that of one image."""
    mean = _or_dash(value.mean, f"{sign}.5f")
    return f"{mean} +-{_or_dash(value.half_width, '.5f'):<7}"


def _denoiser_title(name: str) -> str:
    """The head of its column."""
    return _OTHERS.get(name, name if name == "network" else name.upper())
