"""Networks of others as denoisers, against float64 of the same weights and the definitions."""

from math import log, sqrt

import numpy as np
import pytest
import torch
from reference.networks import predicted_noise
from reference.reverse_process import legacy_cosine
from small_index import small_images
from small_networks import network_config, random_network
from torch import nn

from patchindex import ImageSet
from sampler import sample
from sampler.denoiser import of_class
from sampler.errors import NetworkError, SamplerConfigError
from sampler.networks import (
    DataPredictor,
    NetworkDenoiser,
    NoisePredictor,
    VelocityPredictor,
    as_network,
    check_fit,
)
from sampler.networks.adapters import BLOCK_IMAGES, _of_each
from sampler.schedule import plan_steps
from sampler.studies.calibrate import CalibrateConfig, calibrate
from sampler.studies.compare import CompareConfig, compare

KINDS = {"noise": NoisePredictor, "velocity": VelocityPredictor, "data": DataPredictor}
DDPM = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
SIGMAS = [0.15, 0.6, 2.5]


@pytest.fixture
def y() -> torch.Tensor:
    return 2 * torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def weights_of(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: value.double().numpy() for name, value in module.state_dict().items()}


def mean_of(predicted: str, out: np.ndarray, xt: np.ndarray, share: float) -> np.ndarray:
    """The clean image in xt = sqrt(share) x0 + sqrt(1 - share) eps, if `out` is right."""
    a, b = sqrt(share), sqrt(1 - share)
    return {"noise": (xt - b * out) / a, "velocity": a * xt - b * out, "data": out}[predicted]


def time_of(time: str, share: float, t: float) -> float:
    sigma = sqrt((1 - share) / share)
    return {"unit": t, "step": 1000 * t - 1, "log_sigma": log(sigma) / 4}[time]


@pytest.mark.parametrize("value_range", [(-1.0, 1.0), (0.0, 1.0), (-2.0, 1.5)])
@pytest.mark.parametrize("time", ["unit", "step", "log_sigma"])
@pytest.mark.parametrize("predicted", KINDS)
def test_the_mean_is_what_the_network_predicts(y, predicted, time, value_range) -> None:
    module = random_network(network_config()).module
    low, high = value_range
    half = (high - low) / 2
    found = KINDS[predicted](module, time=time, value_range=value_range)(y, torch.tensor(SIGMAS))
    for i, sigma in enumerate(SIGMAS):
        theirs = low + half * (y[i].double().numpy() + 1)
        share = 1 / (1 + (half * sigma) ** 2)
        # legacy cosine's own inverse
        t = 2.016 / np.pi * np.arccos(sqrt(share))
        assert legacy_cosine(t) == pytest.approx(share, rel=1e-9)
        xt = sqrt(share) * theirs
        out = predicted_noise(
            "resnet", weights_of(module), xt, time_of(time, share, t), padding="zeros"
        )
        mean = (mean_of(predicted, out, xt, share) - low) / half - 1
        # float32 angles of step numbers up to 1,000
        tolerance = 2e-2 if time == "step" else 2e-4
        np.testing.assert_allclose(found[i], mean, atol=tolerance)


@pytest.mark.parametrize("whole_steps", [True, False])
def test_a_discrete_process_is_asked_by_its_steps(y, whole_steps) -> None:
    asked = []

    def module(xt, t):
        asked.extend(t.tolist())
        return torch.zeros_like(xt)

    network = NoisePredictor(module, schedule=DDPM.tolist(), time="step", whole_steps=whole_steps)
    sigmas = [sqrt((1 - DDPM[k]) / DDPM[k]) for k in (0, 400, 999)]
    between = sqrt((1 - (shared := sqrt(DDPM[400] * DDPM[401]))) / shared)
    network(y, torch.tensor(sigmas, dtype=torch.float64))
    network(y[:1], between)
    assert asked[:3] == pytest.approx([0, 400, 999], abs=1e-4)
    assert asked[3] in (400, 401) if whole_steps else asked[3] == pytest.approx(400.5, abs=1e-3)


def test_a_time_may_be_any_function_of_the_noise(y) -> None:
    asked = []

    def module(xt, t):
        asked.extend(t.tolist())
        return torch.zeros_like(xt)

    DataPredictor(module, time=lambda sigma: 10 * sigma, value_range=(0.0, 1.0))(y, 0.5)
    assert asked == pytest.approx([2.5] * 3), "sigma is that of the network's own range"


def test_a_network_computes_in_its_own_precision(y) -> None:
    module = random_network(network_config()).module.double()
    found = NoisePredictor(module)(y, 0.6)
    assert found.dtype == torch.float32
    xt = y[0].double().numpy() / sqrt(1.36)
    t = 2.016 / np.pi * np.arccos(sqrt(1 / 1.36))
    out = predicted_noise("resnet", weights_of(module), xt, t, padding="zeros")
    np.testing.assert_allclose(found[0], mean_of("noise", out, xt, 1 / 1.36), atol=1e-6)


def test_classes_reach_the_network_with_their_states() -> None:
    def module(xt, t, label):
        return label[:, None, None, None].to(xt).expand_as(xt)

    network = DataPredictor(module, num_classes=10)
    num = BLOCK_IMAGES + 5
    label = torch.arange(num) % 10
    found = network(torch.zeros(num, 1, 4, 4), 0.5, label=label)
    assert found[:, 0, 0, 0].tolist() == label.tolist()
    assert network(torch.zeros(2, 1, 4, 4), 0.5, label=7)[:, 0, 0, 0].tolist() == [7, 7]


@pytest.mark.parametrize(
    ("settings", "states", "asked", "message"),
    [
        ({"image_shape": (3, 8, 8)}, (1, 1, 8, 8), {}, "takes images of 3x8x8, but states of 1x8"),
        ({}, (1, 1, 8, 8), {"label": 1}, "was trained without class labels. Leave the label out"),
        (
            {"num_classes": 3},
            (1, 1, 8, 8),
            {},
            "needs one for each sample. Give labels from 0 to 2",
        ),
        ({"num_classes": 3}, (1, 1, 8, 8), {"label": 3}, "knows labels 0 to 2, but labels from 3"),
    ],
)
def test_what_a_network_cannot_be_asked_is_refused(settings, states, asked, message) -> None:
    network = DataPredictor(lambda xt, *_: xt, name="theirs", **settings)
    with pytest.raises(NetworkError, match=message):
        network(torch.zeros(states), 0.5, **asked)


def test_a_network_whose_output_is_larger_than_its_input_is_refused() -> None:
    network = NetworkDenoiser(lambda y, *_: torch.cat([y, y], dim=1), name="theirs")
    with pytest.raises(NetworkError, match=r"returns shape \(2, 2, 4, 4\) for states of \(2, 1, 4"):
        network(torch.zeros(2, 1, 4, 4), 0.5)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda y, _: y.numpy(), "returns a ndarray, not a tensor as large as the states"),
        (lambda *_: None, "returns a NoneType"),
        (lambda y, _: y * torch.nan, r"returns NaN or infinite numbers .* of sigma 0.5 to 0.5"),
    ],
)
def test_what_is_no_posterior_mean_is_refused(answer, message) -> None:
    with pytest.raises(NetworkError, match=message):
        as_network(answer)(torch.zeros(2, 1, 4, 4), 0.5)


def test_states_noise_and_classes_are_as_many(y) -> None:
    assert _of_each(y, torch.tensor(0.5), "sigma").tolist() == [0.5] * 3
    with pytest.raises(NetworkError, match=r"sigma has shape \(\) for 0 states. Give at least one"):
        _of_each(y[:0], 0.5, "sigma")
    with pytest.raises(NetworkError, match=r"label has shape \(4,\) for 3 states"):
        _of_each(y, torch.ones(4), "label")


def test_a_function_may_overwrite_what_it_is_given(y) -> None:
    def spoil(y, sigma):
        y /= 1 + sigma**2
        return y

    def spare(y, sigma):
        return y / (1 + sigma**2)

    for sampler in ("ddim", "heun"):
        found, expected = (
            sample(denoiser, y, steps=4, sampler=sampler).images
            for denoiser in (as_network(spoil), spare)
        )
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_network_in_half_precision_is_told_whole_steps(dtype) -> None:
    class Asked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.asked = nn.Parameter(torch.ones(1, dtype=dtype)), []

        def forward(self, xt, t):
            self.asked.extend(t.tolist())
            return xt * self.weight

    module = Asked()
    network = NoisePredictor(module, schedule=DDPM.tolist(), time="step", whole_steps=True)
    sigmas = [sqrt((1 - DDPM[k]) / DDPM[k]) for k in (997, 701, 301)]
    network(torch.zeros(3, 1, 4, 4), torch.tensor(sigmas, dtype=torch.float64))
    assert module.asked == [997, 701, 301]


def test_a_network_of_another_range_samples_at_its_own_times() -> None:
    asked = []

    def module(xt, t):
        asked.append(float(t[0]))
        return torch.zeros_like(xt)

    network = NoisePredictor(module, value_range=(0.0, 1.0))
    sample(network, torch.zeros(1, 1, 4, 4), schedule=network.levels(4))
    assert asked == pytest.approx([1, 0.75, 0.5, 0.25], abs=1e-6)


def test_scales_that_came_with_a_network_belong_to_its_noise_levels() -> None:
    images = small_images(20, 8)
    network = NetworkDenoiser(
        lambda y, sigma, _: y / (1 + 4 * sigma**2).to(y)[:, None, None, None],
        schedule="linear",
        scales=(1, 3, 5, 7),
    )
    noise = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    own = [step.sigma for step in plan_steps((None,), 4, "linear")]
    for levels in (None, own):  # the same noise, by name and by number
        config = CompareConfig(network_steps=(4,), levels=levels)
        result = compare(network, images, noise, config).result
        assert result.scales.patch_sizes == (1, 3, 5, 7)
        assert result.scales.sigmas == pytest.approx(own[::-1])
        assert result.scales.name == "the network's own"


def test_a_list_of_noise_levels_has_its_own_number_of_steps() -> None:
    noise = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    config = CompareConfig(network_steps=(150, 20), levels=(5.0, 1.0, 0.2))
    found = compare(shrink, small_images(20, 8), noise, config)
    assert list(found.outputs) == [3]
    assert found.result.config.network_steps == (3,)


def test_settings_that_no_network_has_are_refused() -> None:
    with pytest.raises(NetworkError, match=r"value_range is .*the lower one first"):
        NoisePredictor(nn.Identity(), value_range=(1.0, 0.0))
    with pytest.raises(NetworkError, match=r"time is .seconds.\. Give one of unit, step"):
        NoisePredictor(nn.Identity(), time="seconds")
    with pytest.raises(SamplerConfigError, match="sigma is nan"):
        NoisePredictor(nn.Identity())(torch.zeros(1, 1, 4, 4), float("nan"))
    images = ImageSet.load("sample", limit=10, resolution=8)
    with pytest.raises(NetworkError, match=r"theirs was trained on images of 3x8x8, but those of"):
        check_fit(DataPredictor(nn.Identity(), name="theirs", image_shape=(3, 8, 8)), images)


def test_a_network_says_what_it_is() -> None:
    network = NoisePredictor(nn.Identity(), name="theirs", image_shape=(1, 8, 8), num_classes=4)
    assert repr(network) == "NoisePredictor('theirs', 1x8x8, 4 classes)"
    assert repr(DataPredictor(nn.Identity())) == "DataPredictor('Identity', any size)"


def shrink(y: torch.Tensor, sigma: float) -> torch.Tensor:
    return y / (1 + 4 * sigma**2)


def test_any_function_of_states_and_noise_can_be_studied(tmp_path) -> None:
    images = small_images(20, 8)
    noise = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    found = compare(shrink, images, noise, CompareConfig(network_steps=(3,)))
    assert found.result.network.name == "shrink"
    assert found.result.config.num == 2
    torch.testing.assert_close(found.outputs[3], sample(shrink, noise, steps=3).images)
    found.write(tmp_path / "compared")
    assert (tmp_path / "compared" / "samples.png").stat().st_size > 1000
    scales = calibrate(shrink, images, noise, CalibrateConfig(candidates=(1, 3)))
    assert set(scales.calibration.scales().values()) <= {1, 3}
    assert scales.maps is not None
    assert scales.maps.abs().max() == 0, "it looks at the center alone"


def test_the_noise_levels_of_a_comparison_are_the_networks_or_those_asked_for() -> None:
    images = small_images(20, 8)
    network = NetworkDenoiser(
        lambda y, sigma, _: y / (1 + 4 * sigma**2).to(y)[:, None, None, None],
        schedule=[9.0, 1.0, 0.2],
    )
    noise = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    own = compare(network, images, noise, CompareConfig(network_steps=(3,)))
    assert own.result.config.sigmas == pytest.approx((9.0, 1.0, 0.2))
    asked = compare(network, images, noise, CompareConfig(network_steps=(3,), levels="edm"))
    assert asked.result.config.sigmas is None
    assert asked.result.config.schedule == "edm"
    assert not asked.outputs[3].allclose(own.outputs[3])


def test_a_wrapped_function_answers_state_by_state(y) -> None:
    network = as_network(shrink)
    assert as_network(network) is network
    found = network(y, torch.tensor(SIGMAS, dtype=torch.float64))
    for i, sigma in enumerate(SIGMAS):
        torch.testing.assert_close(found[i : i + 1], shrink(y[i : i + 1], sigma))
    with pytest.raises(NetworkError, match="shrink was trained without class labels"):
        of_class(network, torch.tensor([1, 2, 3]))(y, 0.5)
