"""A network as a denoiser, and the reverse process that any denoiser can follow."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from asked import at
from reference.reverse_process import legacy_cosine, reverse_process
from small_networks import few_images, network_config, random_network
from torch import nn

from patchindex.images import to_unit
from sampler.denoiser import of_class
from sampler.errors import NetworkError
from sampler.networks import Network
from sampler.networks.adapters import BLOCK_IMAGES
from sampler.schedule import Step, plan_steps
from sampler.trajectory import reverse


class PerfectNoise(nn.Module):
    """Knows the clean image, one per label, and so the noise in any state."""

    def __init__(self, x0: torch.Tensor) -> None:
        super().__init__()
        self.x0 = nn.Parameter(x0, requires_grad=False)
        self.times: list[float] = []

    def forward(self, xt: torch.Tensor, t: torch.Tensor, label: torch.Tensor | None = None):
        self.times.append(float(t[0]))
        alpha_bar = torch.tensor([legacy_cosine(float(time)) for time in t])[:, None, None, None]
        x0 = self.x0[:1] if label is None else self.x0[label]
        return (xt - alpha_bar.sqrt() * x0) / (1 - alpha_bar).sqrt()


@pytest.fixture
def x0() -> torch.Tensor:
    return to_unit(few_images(3).pixels)


@pytest.fixture
def noise(rng: np.random.Generator) -> torch.Tensor:
    return torch.from_numpy(rng.standard_normal((4, 1, 8, 8), dtype=np.float32))


def one_step(t: float = 0.5) -> Step:
    return Step(
        t=t, t_next=0.0, patch_size=3, alpha_bar=legacy_cosine(t), alpha_bar_next=1.0
    )  # fmt: skip


def test_the_posterior_mean_takes_the_predicted_noise_out_of_the_state(noise) -> None:
    network = random_network(network_config())
    step = one_step(0.3)
    eps = network.module(noise, torch.full((4,), 0.3)).double().numpy()
    expected = (noise.double().numpy() - np.sqrt(1 - step.alpha_bar) * eps) / np.sqrt(
        step.alpha_bar
    )
    found = at(network.denoiser, noise, step)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 20])
def test_a_perfect_noise_predictor_leads_back_to_its_image(x0, noise, steps) -> None:
    network = Network(PerfectNoise(x0), network_config())
    found = reverse(network.denoiser, noise, plan_steps([3], steps, "cosine"))
    # at t = 1 float32 noise of 1e-7 is divided by sqrt(alpha_bar) = 0.012
    torch.testing.assert_close(found, x0[:1].expand(4, -1, -1, -1), rtol=0, atol=1e-4)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_a_velocity_is_turned_into_the_noise_that_it_belongs_to(noise, schedule) -> None:
    one = random_network(replace(network_config(), prediction="velocity"))
    network = replace(one, schedule=schedule)
    (step,) = plan_steps([3], 1, schedule)
    v = network.module(noise, torch.full((4,), 1.0)).double()
    # x0 = sqrt(alpha_bar) xt - sqrt(1 - alpha_bar) v
    expected = step.alpha_bar**0.5 * noise.double() - (1 - step.alpha_bar) ** 0.5 * v
    found = at(network.denoiser, noise, step)
    # the noise is found first: float32 of it, over sqrt(alpha_bar) = 0.012
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-4)


def test_every_sample_is_denoised_with_its_own_label(x0, noise) -> None:
    network = Network(PerfectNoise(x0), network_config(num_classes=3))
    label = torch.tensor([2, 0, 1, 2])
    found = reverse(of_class(network.denoiser, label), noise, plan_steps([3], 5, "cosine"))
    torch.testing.assert_close(found, x0[label], rtol=0, atol=1e-4)


def test_a_network_is_asked_at_the_times_of_the_steps(x0, noise) -> None:
    module = PerfectNoise(x0)
    denoiser = Network(module, network_config()).denoiser
    reverse(denoiser, noise, plan_steps([3], 4, "cosine"))
    assert module.times == [1.0, 0.75, 0.5, 0.25]


def test_any_denoiser_follows_the_published_process(noise) -> None:
    def shrink(y, sigma):  # the posterior mean of normal images with variance 1/4
        return y / (1 + 4 * sigma**2)

    found = reverse(shrink, noise, plan_steps([3], 10, "cosine"))
    for b, state in enumerate(noise.numpy()):
        expected = reverse_process(
            lambda xt, alpha_bar, _: xt * np.sqrt(alpha_bar) / (4 - 3 * alpha_bar),
            state,
            [3] * 10,
            steps=10,
        )
        np.testing.assert_allclose(found[b], expected, atol=1e-5)


def test_the_reverse_process_leaves_the_noise_alone_and_computes_in_float32(noise) -> None:
    before = noise.clone()
    found = reverse(lambda y, _: y * 0.5, noise.double(), plan_steps([3], 3, "cosine"))
    assert found.dtype == torch.float32
    assert noise.equal(before)


def test_the_number_of_samples_does_not_change_one(rng) -> None:
    network = random_network(network_config(num_classes=5))
    num = BLOCK_IMAGES + 7
    xt = torch.from_numpy(rng.standard_normal((num, 1, 8, 8), dtype=np.float32))
    label = torch.from_numpy(rng.integers(0, 5, num))
    together = at(of_class(network.denoiser, label), xt, one_step())
    assert together.shape == xt.shape
    for i in (0, 1, BLOCK_IMAGES - 1, BLOCK_IMAGES, num - 1):
        alone = at(of_class(network.denoiser, label[i : i + 1]), xt[i : i + 1], one_step())
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-5)


def test_no_gradients_are_kept(noise) -> None:
    network = random_network(network_config())
    network.module.requires_grad_(requires_grad=True)
    assert not at(network.denoiser, noise, one_step()).requires_grad


@pytest.mark.parametrize(
    ("num_classes", "label", "message"),
    [
        (0, [1], "network was trained without class labels. Leave the label out, or give a"),
        (3, None, "trained with class labels and needs one for each sample. .* from 0 to 2"),
        (3, [0, 3], "knows labels 0 to 2, but labels from 0 to 3 were given. Give labels that"),
        (3, [-1, 2], "knows labels 0 to 2, but labels from -1 to 2 were given"),
    ],
)
def test_labels_that_a_network_does_not_know_are_refused(num_classes, label, message) -> None:
    network = random_network(network_config(num_classes=num_classes))
    with pytest.raises(NetworkError, match=message):
        at(
            of_class(network.denoiser, None if label is None else torch.tensor(label)),
            torch.zeros(2 if label is None else len(label), 1, 8, 8),
            one_step(),
        )
