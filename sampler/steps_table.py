"""Tables of steps, as text: of a run, and of retrieval beside the exact scan."""

from collections.abc import Sequence
from math import isnan

from sampler.reverse import StepReport
from sampler.verification import StepComparison

STEPS_HEADER = (
    "    t   scale   sigma   effective samples   head mass   standard error   patches   seconds"
)
COMPARISON_HEADER = (
    "    t   scale   sigma         R2   recall   head mass   effective samples   coverage"
    "   exact s   retrieval s"
)


def table_row(report: StepReport) -> str:
    """One step under STEPS_HEADER; a dash stands for what cannot be known.

    The scale is that of the patches that were compared, or the word image.
    """
    return (
        f"{report.t:5.2f} {report.patch_size or 'image':>7} {report.sigma:7.3f} "
        f"{report.effective_sample_size:19.1f} {or_dash(report.head_mass, '.3f'):>11} "
        f"{or_dash(report.standard_error, '.4f'):>16} {report.num_scored:9.0f} "
        f"{report.seconds:9.2f}"
    )


def comparison_row(row: StepComparison) -> str:
    """One step under COMPARISON_HEADER; a dash stands for what is not known."""
    return (
        f"{row.t:5.2f} {row.patch_size or 'image':>7} {row.sigma:7.3f} {row.R2:10.6f} "
        f"{or_dash(row.recall, '.3f'):>8} {or_dash(row.head_mass, '.3f'):>11} "
        f"{row.effective_sample_size:19.1f} {or_dash(row.coverage, '.3f'):>10} "
        f"{row.exact_seconds:9.2f} {row.retrieval_seconds:13.2f}"
    )


def told_ways(steps: Sequence[StepReport], tolerance: float) -> str:
    """How many pixels took which way to the tolerance, over all steps."""
    again = sum(step.estimated_again for step in steps) / len(steps)
    exactly = sum(step.summed_exactly for step in steps) / len(steps)
    return (
        f"tolerance {tolerance:g}: {1 - again - exactly:.1%} of the pixels accepted at once, "
        f"{again:.1%} estimated again, {exactly:.1%} summed exactly"
    )


def or_dash(value: float, form: str) -> str:
    """The formatted value, or a dash for nan."""
    return "-" if isnan(value) else format(value, form)
