"""Numbers that say how far retrieval is from exact: by hand, and what cannot be known."""

from dataclasses import replace
from math import isnan, nan

import numpy as np
import pytest
import torch

from sampler import Posterior
from sampler.results.json_files import as_json
from sampler.results.study_results import StepComparison, WorstAndMedian
from sampler.results.tables import VERIFICATION_HEADER, verification_row
from sampler.schedule import Step
from sampler.studies.verify import (
    compare_finals,
    compare_step,
    coverage,
    pooled_r2,
    summarize,
)

STEP = Step(t=0.5, t_next=0.45, patch_size=9, alpha_bar=0.2, alpha_bar_next=0.3)


def posterior(mean: np.ndarray, standard_error: np.ndarray | float = 0.0) -> Posterior:
    """One with this mean; the sizes are 1, 2, 3, ..., the head mass is 0.25."""
    b, _, h, w = mean.shape
    sizes = torch.arange(1, b * h * w + 1, dtype=torch.float64).reshape(b, h, w)
    return Posterior(
        mean=torch.from_numpy(mean.astype("f4")),
        log_mass=torch.zeros(b, h, w),
        effective_sample_size=sizes,
        head_mass=torch.full((b, h, w), 0.25),
        standard_error=torch.from_numpy(np.broadcast_to(standard_error, mean.shape).astype("f4")),
        num_scored=torch.full((b, h, w), 7),
        k_hat=torch.zeros(b, h, w, dtype=torch.float64),
        rounds=torch.zeros(b, h, w, dtype=torch.int64),
        mse_deviation=torch.zeros(b, dtype=torch.float64),
    )


def compare(exact: Posterior, found: Posterior) -> StepComparison:
    return compare_step(STEP, exact, found, exact_seconds=8.0, retrieval_seconds=0.5)


def test_a_row_holds_the_numbers_of_both_machines(rng) -> None:
    truth, error = rng.standard_normal((2, 1, 5, 5)), 0.1 * rng.standard_normal((2, 1, 5, 5))
    row = compare(posterior(truth), posterior(truth + error, 0.1))
    assert (row.t, row.patch_size, row.sigma) == (0.5, 9, pytest.approx(2))
    sst = ((truth - truth.mean()) ** 2).sum()
    assert abs(row.R2 - (1 - (error**2).sum() / sst)) < 1e-6  # means are float32
    assert row.rmse == pytest.approx(np.sqrt((error**2).mean()), rel=1e-5)
    assert row.standard_error == pytest.approx(0.1)
    assert row.effective_sample_size == 25.5
    assert row.effective_sample_size_10 == pytest.approx(5.9)
    assert row.effective_sample_size_90 == pytest.approx(45.1)
    assert (row.head_mass, row.num_scored) == (0.25, 7)
    assert (row.exact_seconds, row.retrieval_seconds) == (8.0, 0.5)


def test_r2_is_pooled_over_samples_and_not_averaged() -> None:
    """A flat sample would have no R2 of its own."""
    exact = torch.zeros(2, 1, 2, 2)
    exact[1] = 1
    assert pooled_r2(exact + 0.1, exact) == pytest.approx(1 - 8 * 0.01 / 2)


def test_exact_beside_itself_is_perfect_and_states_no_interval(rng) -> None:
    exact = posterior(rng.standard_normal((1, 3, 4, 4)))
    row = compare(exact, exact)
    assert (row.R2, row.rmse) == (1, 0)
    assert isnan(row.coverage)


@pytest.mark.parametrize(("scale", "expected"), [(1.0, 0.95), (2.0, 0.6729)])
def test_coverage_of_normal_errors_is_known(rng, scale, expected) -> None:
    """An error twice as large as stated is within 1.96 standard errors with 0.6729."""
    truth, stated = rng.standard_normal((4, 1, 50, 50)), rng.uniform(0.1, 1, (4, 1, 50, 50))
    found = truth + scale * stated * rng.standard_normal(truth.shape)
    covered = coverage(posterior(found, stated), posterior(truth))
    assert covered == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 1e4))


def test_coverage_leaves_out_what_is_exact_or_biased() -> None:
    truth = np.zeros((1, 1, 2, 2))
    found = posterior(np.full((1, 1, 2, 2), 0.5), np.array([[1.0, 0.1], [0.0, nan]]))
    assert coverage(found, posterior(truth)) == 0.5
    assert isnan(coverage(replace(found, standard_error=torch.full((1, 1, 2, 2), nan)), found))


def test_final_images_are_compared_by_all_three_measures() -> None:
    exact = torch.tensor([[0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 0.0, 1.0]]).reshape(2, 1, 2, 2)
    own = torch.stack([2 * exact[0], 1 - exact[1]])
    finals = compare_finals(own, exact)
    assert finals.r == pytest.approx([1, -1])
    assert (finals.r_median, finals.r_lowest) == pytest.approx((0, -1), abs=1e-7)
    assert finals.r2_median == pytest.approx(1)
    # SSE / SST: 14 / 5 and 4 / 1
    assert finals.R2_median == pytest.approx(1 - (2.8 + 4) / 2)


def test_the_summary_gives_the_worst_and_the_median_of_what_is_known(rng) -> None:
    exact = posterior(rng.standard_normal((1, 1, 4, 4)))
    row = compare(exact, exact)
    rows = [
        replace(row, R2=r2, recall=recall) for r2, recall in ((1.0, nan), (0.9, 0.5), (0.99, 1.0))
    ]
    summary = summarize(rows)
    assert WorstAndMedian(lowest=0.9, median=0.99) == summary.R2
    assert summary.recall == WorstAndMedian(lowest=0.5, median=0.75)
    assert as_json(summary)["coverage"] == {"lowest": None, "median": None}
    assert summary.steps_below_target_R2 == 2
    assert (summary.exact_seconds, summary.retrieval_seconds) == (24, 1.5)


def test_the_table_lines_up_and_shows_a_dash_for_the_unknown(rng) -> None:
    exact = posterior(rng.standard_normal((1, 1, 4, 4)))
    row = verification_row(compare(exact, exact))
    assert len(row) == len(VERIFICATION_HEADER)
    assert row.split() == [
        "0.50",
        "9",
        "2.000",
        "1.000000",
        "-",
        "0.250",
        "8.5",
        "-",
        "8.00",
        "0.50",
    ]
