"""How far retrieval is from the exact scan, in numbers: of a step, of final images, of a whole run.

What cannot be known is nan: coverage without an interval, recall that was not measured, head mass
where patches were left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import median
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor

from sampler.estimator.tolerance import LARGEST_K_HAT
from sampler.metrics import coefficient_of_determination, pearson_r
from sampler.posterior import Posterior
from sampler.reverse import Step
from sampler.schedules import noise_level

TARGET_R2 = 0.995
TARGET_COVERAGE = 0.95
STANDARD_ERRORS = 1.96
# the exact scan skips up to 1e-6 of a pixel's mass, and means are float32
ROUNDING = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class StepComparison:
    """Retrieval beside the exact scan at one step, over all pixels of all samples.

    Attributes:
        patch_size: of both machines.
        sigma: noise in data units.
        R2: of retrieval's posterior mean, 1 - SSE / SST pooled over all values.
        rmse: of the same mean.
        standard_error: that retrieval states, root mean square; equals `rmse` where it is honest.
        coverage: share of values whose 95 % interval holds the exact one.
        recall: share of the k nearest patches that the search finds, mean over the pixels tried.
        head_mass: share of the mass that was summed and not sampled, median.
        effective_sample_size: of the exact weights, median; then its 10 % and 90 % quantiles.
        estimated_effective_sample_size: what retrieval states, median.
        num_scored: patches per pixel whose distance retrieval computed, mean.
    """

    t: float
    patch_size: int | None
    sigma: float
    R2: float
    rmse: float
    standard_error: float
    coverage: float
    recall: float
    head_mass: float
    effective_sample_size: float
    effective_sample_size_10: float
    effective_sample_size_90: float
    estimated_effective_sample_size: float
    num_scored: float
    exact_seconds: float
    retrieval_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalComparison:
    """Images that each machine reached on its own way from the same noise.

    Attributes:
        r: Pearson correlation of each pair of images.
        r2_median: of the squares of `r`.
        R2_median: of 1 - SSE / SST of each pair.
    """

    r: tuple[float, ...]
    r_median: float
    r_lowest: float
    r2_median: float
    R2_median: float


def compare_step(
    step: Step,
    exact: Posterior,
    found: Posterior,
    *,
    exact_seconds: float,
    retrieval_seconds: float,
    recall: float = float("nan"),
) -> StepComparison:
    """The row of one step, from both machines' posteriors of the same states."""
    sizes = exact.effective_sample_size.double().flatten()
    low, middle, high = sizes.quantile(sizes.new_tensor([0.1, 0.5, 0.9])).tolist()
    return StepComparison(
        t=step.t,
        patch_size=step.patch_size,
        sigma=noise_level(step.alpha_bar),
        R2=pooled_r2(found.mean, exact.mean),
        rmse=root_mean_square(found.mean - exact.mean),
        standard_error=root_mean_square(found.standard_error),
        coverage=coverage(found, exact),
        recall=recall,
        head_mass=float(found.head_mass.median()),
        effective_sample_size=middle,
        effective_sample_size_10=low,
        effective_sample_size_90=high,
        estimated_effective_sample_size=float(found.effective_sample_size.median()),
        num_scored=float(found.num_scored.double().mean()),
        exact_seconds=exact_seconds,
        retrieval_seconds=retrieval_seconds,
    )


def compare_finals(
    own: Float[Tensor, "b c h w"], exact: Float[Tensor, "b c h w"]
) -> FinalComparison:
    """Final images of retrieval's own trajectories beside those of the exact machine."""
    r = pearson_r(own, exact)
    return FinalComparison(
        r=tuple(r.tolist()),
        r_median=float(r.quantile(0.5)),
        r_lowest=float(r.min()),
        r2_median=float(r.square().quantile(0.5)),
        R2_median=float(coefficient_of_determination(own, exact).quantile(0.5)),
    )


def pooled_r2(estimate: Float[Tensor, "b c h w"], exact: Float[Tensor, "b c h w"]) -> float:
    """R2 over all values of all samples together."""
    return float(coefficient_of_determination(estimate.flatten()[None], exact.flatten()[None]))


def root_mean_square(values: Float[Tensor, "*shape"]) -> float:
    """Root of the mean square over all values."""
    return float(values.double().square().mean().sqrt())


def coverage(found: Posterior, exact: Posterior) -> float:
    """Share of the values whose 95 % interval holds the exact one, of those that have one."""
    inside = (found.mean - exact.mean).abs() <= STANDARD_ERRORS * found.standard_error + ROUNDING
    stated = has_interval(found)
    return float(inside[stated].double().mean()) if stated.any() else float("nan")


def has_interval(found: Posterior) -> Bool[Tensor, "b c h w"]:
    """Where the posterior states an error that it vouches for.

    Not where it is exact, nor where it is biased (nan), nor where few weights carry the tail.
    """
    return (found.standard_error > 0) & (found.k_hat < LARGEST_K_HAT)[:, None]


def summarize(rows: Sequence[StepComparison]) -> dict[str, Any]:
    """Worst and middle of the steps, and the seconds of all."""
    return {
        **{name: worst_and_median(rows, name) for name in ("R2", "coverage", "recall")},
        "steps_below_target_R2": sum(row.R2 < TARGET_R2 for row in rows),
        "exact_seconds": sum(row.exact_seconds for row in rows),
        "retrieval_seconds": sum(row.retrieval_seconds for row in rows),
    }


def worst_and_median(rows: Sequence[StepComparison], name: str) -> dict[str, float | None]:
    """Lowest and median of a field over the steps where it is known; None where it never is."""
    known = [value for row in rows if isfinite(value := getattr(row, name))]
    return {"lowest": min(known, default=None), "median": median(known) if known else None}
