"""Networks that are said to be what they are not, and honest ones, which are not accused."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from machine_network import machine_network
from small_index import small_images
from torch import Tensor, nn

from cli.sampler import main
from patchindex import ImageSet
from patchindex.images import to_unit
from sampler import ELSMachine
from sampler.networks import (
    DataPredictor,
    NetworkDenoiser,
    NoisePredictor,
    VelocityPredictor,
    as_network,
    open_network,
)
from sampler.noise import initial_noise
from sampler.results.run_result import SamplerConfig
from sampler.studies.calibrate import CalibrateConfig, calibrate
from sampler.studies.compare import CompareConfig, compare
from sampler.studies.denoise import DenoiseConfig, denoise_held_out
from sampler.studies.trial import tell_outside, try_network

IMAGES = ImageSet.load("sample")
SIGMAS = (30.0, 3.0, 1.0, 0.3, 0.1)
BUNDLED = open_network("fashion_mnist_resnet_zeros_small")
KINDS = {"noise": NoisePredictor, "velocity": VelocityPredictor, "data": DataPredictor}
SMALL = ImageSet.load("sample", resolution=8)


class Small(nn.Module):
    """A network of a few layers of (x, t)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(2, 16, 3, padding=1), nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 1, 3, padding=1),
        )  # fmt: skip

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        return self.layers(torch.cat([xt, t[:, None, None, None].expand_as(xt)], dim=1))


def briefly_trained(predicted: str, steps: int = 200) -> nn.Module:
    """After some steps of sixteen images of 8 x 8, on the paper's schedule."""
    torch.manual_seed(0)
    x0, module = to_unit(SMALL.tensor), Small()
    optimizer = torch.optim.Adam(module.parameters(), lr=5e-3)
    for _ in range(steps):
        batch, t = x0[torch.randint(len(x0), (16,))], torch.rand(16)
        alpha_bar = torch.cos(torch.pi * t / 2.016).square()[:, None, None, None]
        a, b, eps = alpha_bar.sqrt(), (1 - alpha_bar).sqrt(), torch.randn_like(batch)
        target = {"noise": eps, "velocity": a * eps - b * batch, "data": batch}[predicted]
        loss = (module(a * batch + b * eps, t) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return module.eval()


def said_to_be(kind: Callable[..., NetworkDenoiser] = VelocityPredictor, **said) -> NetworkDenoiser:
    """The bundled network, with what it is said to be."""
    return kind(BUNDLED.module, **{"num_classes": 10, "name": "hers", **said})


def test_a_trained_network_is_not_accused(caplog) -> None:
    trials = try_network(BUNDLED, IMAGES, SIGMAS)
    assert [trial.sigma for trial in trials] == [0.3, 1.0, 3.0]
    assert all(trial.error < trial.simplest for trial in trials)
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (VelocityPredictor, {"time": "step"}),
        (VelocityPredictor, {"time": "log_sigma"}),
        (VelocityPredictor, {"value_range": (0.0, 1.0)}),
        (VelocityPredictor, {"schedule": "ddpm"}),
        (VelocityPredictor, {"schedule": "linear"}),
        (NoisePredictor, {}),
        (DataPredictor, {}),
    ],
)
def test_a_network_that_is_said_to_be_another_is_told(caplog, kind, said) -> None:
    try_network(said_to_be(kind, **said), IMAGES, SIGMAS)
    (record,) = caplog.records
    message = record.getMessage()
    assert record.levelno == logging.WARNING
    assert message.startswith("hers denoises training images much worse than the simplest filters")
    assert " at sigma " in message
    assert "Check what it is said to predict, and its schedule, time and value_range; or" in message
    assert "\n" not in message


@pytest.mark.parametrize("predicted", KINDS)
def test_a_briefly_trained_network_is_not_accused(caplog, predicted) -> None:
    module = briefly_trained(predicted)
    trials = try_network(KINDS[predicted](module), SMALL, SIGMAS)
    assert caplog.text == "", trials
    others = [kind for name, kind in KINDS.items() if name != predicted]
    for wrong in [*(kind(module) for kind in others), KINDS[predicted](module, time="step")]:
        caplog.clear()
        try_network(wrong, SMALL, SIGMAS)
        assert len(caplog.records) == 1, wrong


def test_the_theory_itself_and_any_filter_are_not_accused(caplog) -> None:
    images = small_images(60, 10)
    try_network(machine_network(ELSMachine(images), (3, 5, 7, 9)), images, SIGMAS)
    variance = float(to_unit(images.tensor).square().mean())
    try_network(as_network(lambda y, sigma: y / (1 + sigma**2 / variance)), images, (0.3,))
    assert caplog.text == ""


@pytest.mark.parametrize("num", [1, 2, 3, 12])
def test_few_images_accuse_nobody(caplog, num) -> None:
    with caplog.at_level(logging.WARNING):
        try_network(BUNDLED, ImageSet.load("sample", limit=num), SIGMAS)
    assert caplog.text == ""


def test_it_is_asked_at_noise_of_the_study_and_draws_nothing_of_the_studys() -> None:
    asked: list[Tensor] = []

    def mean(y: Tensor, sigma: Tensor, label: Tensor | None) -> Tensor:
        assert label is None
        asked.append(sigma)
        return y / (1 + sigma**2).to(y)[:, None, None, None] + 1e-3 * torch.rand(1)

    torch.manual_seed(3)
    before = torch.get_rng_state()
    found = [try_network(NetworkDenoiser(mean), SMALL, [0.2, 2.0]) for _ in range(2)]
    assert torch.get_rng_state().equal(before)
    assert found[0] == found[1]
    assert [len(sigma) for sigma in asked] == [8] * 4
    assert torch.stack(asked).mean(1).tolist() == pytest.approx([0.2, 2.0] * 2)


def test_every_study_tells_of_it_before_its_work(caplog) -> None:
    wrong = VelocityPredictor(briefly_trained("noise"), time="step", name="hers")
    sampling, few = SamplerConfig(num=1, steps=2, scales="3,3"), SMALL.with_label(1)
    noise = initial_noise(1, few, 0)
    studies: list[Callable[[], object]] = [
        lambda: compare(wrong, few, noise, CompareConfig(sampling=sampling, network_steps=(2,))),
        lambda: calibrate(wrong, few, noise, CalibrateConfig(sampling=sampling, candidates=(3,))),
        lambda: denoise_held_out(
            few, to_unit(SMALL.with_label(2).tensor[:1]), network=wrong,
            config=DenoiseConfig(denoisers=("wiener",)),
        ),
    ]  # fmt: skip
    for study in studies:
        caplog.clear()
        study()
        told = [r.getMessage() for r in caplog.records if "much worse than" in r.getMessage()]
        assert len(told) == 1


def test_pixels_that_no_image_has_are_told_where_they_are_many(caplog) -> None:
    images = torch.zeros(2, 1, 10, 10)
    images[:, :, 0, :5] = 1.2
    tell_outside({4: images, 5: images.sign() * 1.04})
    assert caplog.text == "", "5 % are few, and any network overshoots"
    images[0, 0, 1, 0] = -3.0
    tell_outside({4: images, 5: images * 4})
    (record,) = caplog.records[:1]
    assert record.getMessage().startswith(
        "6 % of the pixels of the network's images in 4 steps lie outside [-1, 1] by more than 0.05"
    )
    assert "clipped" in record.getMessage()
    assert len(caplog.records) == 2


@pytest.mark.slow
def test_the_command_line_warns_and_goes_on(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "a_louder_network.py").write_text(
        "def louder():\n    return lambda y, s: 3 * y\n", encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(
        main,
        [
            "compare", "--network", "python:a_louder_network:louder", "--dataset", "sample",
            "--resolution", "8", "--limit", "60", "--num", "1", "--steps", "2", "--scales", "3,3",
            "--network-steps", "2", "--out", "out",
        ],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    lines = result.stderr.splitlines()
    assert sum("python:a_louder_network:louder denoises training images" in s for s in lines) == 1
    assert sum("% of the pixels of the network's images in 2 steps" in s for s in lines) == 1


@pytest.mark.parametrize(("scales", "told"), [(None, 1), ("3,3", 0)])
def test_scales_of_no_calibration_are_called_that(scales: str | None, told: int, caplog) -> None:
    network = VelocityPredictor(briefly_trained("velocity"), name="hers")
    config = CompareConfig(
        sampling=SamplerConfig(num=1, steps=2, scales=scales), network_steps=(2,)
    )
    compare(network, SMALL.with_label(1), config=config)
    lines = [record.getMessage() for record in caplog.records]
    assert sum("these scales are not calibrated to hers" in line for line in lines) == told
