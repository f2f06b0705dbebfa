"""Noise schedules against the values that the paper's code uses."""

import math
from itertools import pairwise

import numpy as np
import pytest
from reference.reverse_process import legacy_cosine

from patchindex import UserError
from sampler.schedule import alpha_bar

SCHEDULES = ["cosine", "cosine_offset", "linear", "exponential"]

# paper.md section 1.2, measured on the authors' code: t: (beta, sqrt(alpha_bar), sigma)
PUBLISHED = {
    1.00: (0.99984, 0.0125, 80.2), 0.95: (0.99185, 0.0903, 11.03), 0.90: (0.97194, 0.1675, 5.89),
    0.85: (0.94059, 0.2437, 3.98), 0.80: (0.89857, 0.3185, 2.98), 0.75: (0.84688, 0.3913, 2.35),
    0.70: (0.78679, 0.4617, 1.92), 0.65: (0.71975, 0.5294, 1.60), 0.60: (0.64738, 0.5938, 1.355),
    0.55: (0.57144, 0.6546, 1.155), 0.50: (0.49377, 0.7115, 0.988), 0.45: (0.41625, 0.7640, 0.844),
    0.40: (0.34076, 0.8119, 0.719), 0.35: (0.26913, 0.8549, 0.607), 0.30: (0.20309, 0.8927, 0.505),
    0.25: (0.14425, 0.9251, 0.411), 0.20: (0.09403, 0.9518, 0.322), 0.15: (0.05365, 0.9728, 0.238),
    0.10: (0.02409, 0.9879, 0.157), 0.05: (0.00606, 0.9970, 0.0781),
}  # fmt: skip
SIGMA_HALF_DIGIT = {80.2: 0.05, 0.0781: 5e-5, 1.355: 5e-4, 1.155: 5e-4}


@pytest.mark.parametrize("t", PUBLISHED)
def test_cosine_has_the_published_values_to_the_digits_printed(t: float) -> None:
    beta, root, sigma = PUBLISHED[t]
    ours = float(alpha_bar(t, "cosine"))
    assert 1 - ours == pytest.approx(beta, abs=0.51e-5)
    assert math.sqrt(ours) == pytest.approx(root, abs=0.51e-4)
    half_digit = SIGMA_HALF_DIGIT.get(sigma, 5e-4 if sigma < 1 else 5e-3)
    assert math.sqrt((1 - ours) / ours) == pytest.approx(sigma, abs=1.02 * half_digit)


def test_cosine_is_the_authors_formula_and_ends_without_noise() -> None:
    for t in np.linspace(0, 1, 41):
        assert float(alpha_bar(float(t), "cosine")) == pytest.approx(legacy_cosine(t), abs=1e-12)
    assert float(alpha_bar(0.0, "cosine")) == 1


def test_cosine_offset_is_that_of_nichol_and_dhariwal() -> None:
    def f(t: float) -> float:
        return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    for t in (0.0, 0.25, 0.5, 0.95):
        assert float(alpha_bar(t, "cosine_offset")) == pytest.approx(f(t) / f(0), rel=1e-6)


def test_exponential_is_that_of_the_authors_code() -> None:
    for t in (0.0, 0.3, 1.0):
        assert float(alpha_bar(t, "exponential")) == pytest.approx(math.exp(-2 * t), rel=1e-6)


def test_linear_is_that_of_the_authors_code() -> None:
    for t in (0.1, 0.5, 1.0):
        assert 1 - float(alpha_bar(t, "linear")) == pytest.approx(0.01 + 0.97 * t, rel=1e-6)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_noise_grows_with_time_and_stays_a_probability(schedule: str) -> None:
    values = [float(alpha_bar(float(t), schedule)) for t in np.linspace(0.05, 1, 20)]
    assert all(before > after for before, after in pairwise(values))
    assert 0 <= values[-1] < values[0] < 1


def test_an_unknown_schedule_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(UserError, match=r"schedule.*quadratic.*cosine"):
        alpha_bar(0.5, "quadratic")
