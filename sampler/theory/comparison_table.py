"""The comparison as text: a table like the paper's, with the published row beside ours."""

from collections.abc import Iterator
from typing import Any

COLUMNS = ("els", "ls", "is", "wiener", "nearest")
COMPARISON_HEADER = "network steps              ELS      LS      IS  ELS > IS  Wiener  nearest image"
PUBLISHED_LINE = "  {:<20} {:7.2f} {:7.2f} {:7.2f} {:9.2f}"


def table_lines(account: dict[str, Any]) -> Iterator[str]:
    """For each number of network steps: median r, r2 and R2 of each predictor, and published r."""
    yield COMPARISON_HEADER
    for steps, found in account["results"].items():
        yield f"{steps}"
        better = found["better_than_is"]["els"]
        yield measured_line("median r", "r", found["medians"], better)
        row = account["published"].get(steps)
        if row is not None:
            yield PUBLISHED_LINE.format("published", *row)
        yield measured_line("median r2", "r2", found["medians"], None)
        yield measured_line("median R2", "R2", found["medians"], None)


def measured_line(
    title: str, measure: str, medians: dict[str, dict[str, float]], better: float | None
) -> str:
    """One line under COMPARISON_HEADER; `better` is the share of samples that ELS predicts better than IS."""
    values = [medians[name][measure] for name in COLUMNS]
    machines = " ".join(f"{value:7.2f}" for value in values[:3])
    share = " " * 9 if better is None else f"{better:9.2f}"
    return f"  {title:<20} {machines} {share} {values[3]:7.2f} {values[4]:14.2f}"
