"""Tables for the terminal: steps of a run or a verification, a comparison, denoising errors."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import isnan
from statistics import quantiles

from sampler.results.audit_result import AuditedStep, AuditResult
from sampler.results.denoise_result import DenoisedLevel, DenoiseResult, MeanOverImages
from sampler.results.run_result import RunStep
from sampler.results.study_results import CalibrateResult, CompareResult, StepComparison
from sampler.schedule import rising_sigmas
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
FEWEST_FOR_QUARTERS = 4  # samples


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


def calibration_lines(result: CalibrateResult) -> Iterator[str]:
    """The patch size of each noise level, the lowest first, and how clear a choice it is."""
    yield "    t     sigma   patch size   middle half   merit  best other"
    low, high = ([*reversed(sizes)] for sizes in result.best_quartiles)
    merits = [*reversed(result.mean_merit)]
    sigmas = rising_sigmas(result.config.sigmas or result.config.schedule, result.config.steps)
    for at, scale in enumerate(result.scales):
        merit = dict(zip(result.config.candidates, merits[at], strict=True))
        own = merit.pop(scale.patch_size)
        best = max(merit, key=merit.__getitem__, default=None)
        rest = "" if best is None else f"{best}: {merit[best]:.3f}"
        yield (
            f"{scale.t:5.2f} {sigmas[at]:9.4g} {scale.patch_size:12d} "
            f"{f'{low[at]} to {high[at]}':>13} {own:7.3f} {rest:>11}"
        )
    if result.network is None:
        yield "merit: minus the mean squared error on images held out, mean over the samples."
    else:
        yield "merit: cosine between the scores of theory and network, mean over the samples."
    yield f"Below sigma {sigmas[0]:.3g} and above {sigmas[-1]:.3g} the nearest of these serves."


def _or_dash(value: float, form: str) -> str:
    """The formatted value, or a dash for nan."""
    return "-" if isnan(value) else format(value, form)


def table_lines(result: CompareResult) -> Iterator[str]:
    """For each number of network steps: r and R2 of each predictor, published r, and what it means.

    r is of each sample; a line has its median, one the middle half of all samples, and in place of
    the share of samples for which ELS beats IS their number.
    """
    known = {name for found in result.results.values() for name in found.medians}
    names = [*_MACHINES, *(name for name in _OTHERS if name in known)]
    num = result.config.num
    yield _compared_line(
        f"{num} {'sample' if num == 1 else 'samples'}", map(_denoiser_title, names), "ELS > IS"
    )
    for steps, found in result.results.items():
        yield f"network in {steps} steps, theory in {result.config.steps}"
        medians = [found.medians[name] for name in names]
        better = f"{round(found.better_than_is['els'] * num)} of {num}"
        yield _compared_line("r, median", [f"{each.r:.2f}" for each in medians], better)
        if num >= FEWEST_FOR_QUARTERS:
            of_samples = [result.r[steps][name] for name in names]
            yield _compared_line("r, middle half", map(_middle_half, of_samples))
        row = result.published.get(steps)
        if row is not None:
            yield _compared_line("r, published", [f"{r:.2f}" for r in row[:-1]], f"{row[-1]:.0%}")
        yield _compared_line("R2, median", [f"{each.R2:.2f}" for each in medians])
    yield "r: correlation of pixels with those of the network's image from the same noise."
    yield "R2: 1 - squared error / variance of the network's image; contrast counts here, too."
    if result.published:
        yield "published: of the paper's larger network of this kind, 100 samples."


def _compared_line(title: str, cells: Iterable[str], better: str = "") -> str:
    """One line of a comparison; how often ELS beats IS stands between machines and others."""
    shown = list(cells)
    shown[len(_MACHINES) : len(_MACHINES)] = [better]
    return (f"  {title:<14}" + "".join(f"{cell:>14}" for cell in shown)).rstrip()


def _middle_half(values: Sequence[float]) -> str:
    """The quartiles around the median."""
    low, _, high = quantiles(values, n=4, method="inclusive")
    return f"{low:.2f} to {high:.2f}"


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
