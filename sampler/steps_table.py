"""The table of a run's steps, as text."""

from math import isnan

from sampler.reverse import StepReport

HEADER = (
    "    t   scale   sigma   effective samples   head mass   standard error   patches   seconds"
)


def table_row(report: StepReport) -> str:
    """One step under HEADER; a dash stands for what cannot be known."""
    return (
        f"{report.t:5.2f} {report.patch_size:7d} {report.sigma:7.3f} "
        f"{report.effective_sample_size:19.1f} {or_dash(report.head_mass, '.3f'):>11} "
        f"{or_dash(report.standard_error, '.4f'):>16} {report.num_scored:9.0f} "
        f"{report.seconds:9.2f}"
    )


def or_dash(value: float, form: str) -> str:
    """The formatted value, or a dash for nan."""
    return "-" if isnan(value) else format(value, form)
