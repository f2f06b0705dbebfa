"""Noise schedules against the values that the paper's code uses."""

import math
from itertools import pairwise

import numpy as np
import pytest
from reference.reverse_process import legacy_cosine

from patchindex import UserError
from sampler.schedule import (
    DiscreteSchedule,
    alpha_bar,
    nearest_level,
    noise_level,
    parse_sigmas,
    plan_steps,
    rising_sigmas,
    time_at,
)

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


def test_ddpm_has_the_cumulative_products_of_its_betas() -> None:
    shares = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    for step in (1, 2, 500, 1000):
        assert alpha_bar(step / 1000, "ddpm") == pytest.approx(shares[step - 1], rel=1e-10)
    assert alpha_bar(0.0, "ddpm") == 1
    between = alpha_bar(0.5005, "ddpm")
    assert between == pytest.approx(np.sqrt(shares[499] * shares[500]), rel=1e-9)


@pytest.mark.parametrize("steps", [1, 2, 18])
def test_edm_has_the_published_levels(steps: int) -> None:
    # arXiv 2206.00364, equation 5
    places = np.arange(steps) / max(steps - 1, 1)
    sigmas = (80 ** (1 / 7) + places * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    plan = plan_steps((3,), steps, "edm")
    assert [step.sigma for step in plan] == pytest.approx(sigmas.tolist(), rel=1e-6)
    assert [step.sigma_next for step in plan] == pytest.approx([*sigmas[1:], 0], rel=1e-6)


def test_a_list_of_sigmas_is_taken_as_it_is() -> None:
    for sigmas in ([5.0, 1.0, 0.3], np.array([5.0, 1.0, 0.3, 0.0])):
        plan = plan_steps((3, 5, 7), 20, list(sigmas))
        assert [step.sigma for step in plan] == pytest.approx([5, 1, 0.3], rel=1e-12)
        assert [step.patch_size for step in plan] == [7, 5, 3]
        assert plan[-1].alpha_bar_next == 1


def test_scales_of_one_schedule_serve_another_at_the_same_noise() -> None:
    scales = list(range(1, 41, 2))
    own = plan_steps(scales, 20, "cosine")[3:9]
    rising = rising_sigmas("cosine", 20)
    # a list has other times; the sizes belong to the noise
    plan = plan_steps(scales, 1, [step.sigma for step in own], sigmas=rising)
    assert [step.patch_size for step in plan] == [step.patch_size for step in own]


def test_the_nearest_noise_level_is_that_of_the_nearest_time() -> None:
    rising = rising_sigmas("cosine", 20)
    for t in (0.01, 0.06, 0.074, 0.52, 0.99):
        expected = min(max(round(t * 20), 1), 20) - 1
        assert nearest_level(rising, noise_level(alpha_bar(t))) == expected
    assert nearest_level([0.1, 20.0, 80.0, 150.0], 140.0) == 3, "beyond the schedule's end, too"
    assert nearest_level([1e-4, 2e-4, 0.1], 1.9e-4) == 1
    middle = noise_level(alpha_bar(1.5 / 20))
    assert nearest_level(rising, middle) == 0, "of two that are as near the lower"


@pytest.mark.parametrize("schedule", [*SCHEDULES, "ddpm", "edm"])
def test_a_noise_level_has_its_time(schedule: str) -> None:
    for t in (0.02, 0.3, 0.77, 0.99):  # cosine_offset is cut at 1
        found = time_at(noise_level(alpha_bar(t, schedule)), schedule)
        assert found == pytest.approx(t, abs=1e-6)


@pytest.mark.parametrize(
    ("sigmas", "message"),
    [
        ([], "sigmas are none. Give falling noise levels"),
        ([1.0, 2.0], "sigmas are 1, 2. Give falling noise levels in data units, from 1000 to"),
        ([2.0, 2.0], "sigmas are 2, 2"),
        ([1e4], "sigmas are 10000"),
        ([float("nan")], "sigmas are nan"),
        ([3.0, 0.0, 0.0], "sigmas are 3, 0"),
    ],
)
def test_what_is_no_list_of_noise_levels_is_refused(sigmas, message) -> None:
    with pytest.raises(UserError, match=message):
        plan_steps((3,), 1, sigmas)


def test_sigmas_are_read_from_text_and_from_a_file(tmp_path) -> None:
    assert parse_sigmas("80, 10,1") == (80, 10, 1)
    path = tmp_path / "sigmas.txt"
    path.write_text("5\n0.5\n0\n")
    assert parse_sigmas(str(path)) == (5, 0.5)
    with pytest.raises(UserError, match="sigmas 'edm' are no list of numbers, and no file"):
        parse_sigmas("edm")
    many = [100 * 0.9**i for i in range(90)]  # longer than a file's name can be
    assert parse_sigmas(",".join(map(str, many))) == pytest.approx(tuple(many))


def test_a_function_may_be_a_schedule() -> None:
    assert alpha_bar(0.25, lambda t: 1 - t) == 0.75
    plan = plan_steps((3,), 4, lambda t: 1 - t / 2)
    assert [step.alpha_bar for step in plan] == [0.5, 0.625, 0.75, 0.875]
    with pytest.raises(UserError, match="alpha_bar does not fall from below 1 at 4 equal steps"):
        plan_steps((3,), 4, lambda t: t)
    with pytest.raises(UserError, match="alpha_bar does not fall from below 1"):
        plan_steps((3,), 10, lambda t: min(1.0, 1.2 - t))
    with pytest.raises(UserError, match=r"the schedule says alpha_bar = 1.5 at t = 0.5. Give a"):
        alpha_bar(0.5, lambda t: 1 + t)


@pytest.mark.parametrize("shares", [[], [0.5, 0.6], [1.0], [0.5, 0.0]])
def test_a_discrete_process_falls(shares) -> None:
    with pytest.raises(UserError, match="does not fall from below 1 to above 0"):
        DiscreteSchedule(shares)
