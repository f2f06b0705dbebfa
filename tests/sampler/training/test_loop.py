"""Learning itself: the loss falls, in either precision and on either device."""

import numpy as np
import pytest
import torch
from small_networks import equal_weights, few_images, network_config
from torch.nn.functional import mse_loss

from patchindex import ImageSet
from sampler.networks import NetworkConfig
from sampler.training import TrainConfig
from sampler.training.loop import TrainingState, chosen_precision, fresh_state, train
from sampler.training.recipe import training_batch
from sampler.training.steps import never

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
        ],
    ),
]
NETWORKS = [("resnet", (16,)), ("unet", (12, 16)), ("unet_attention", (12, 16))]


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return few_images()


def trained(
    images: ImageSet, network: NetworkConfig, device: str = "cpu", **settings: object
) -> TrainingState:
    config = {"steps": 40, "batch_size": 16, "learning_rate": 5e-3, "precision": "float32"}
    return run(images, network, TrainConfig(**(config | settings)), device)


def run(
    images: ImageSet, network: NetworkConfig, config: TrainConfig, device: str
) -> TrainingState:
    state = fresh_state(network, config, torch.device(device))
    for _ in train(state, images, network, config, never):
        pass
    return state


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("architecture", "widths"), NETWORKS)
def test_the_loss_falls(images, architecture, widths, device, precision) -> None:
    network = network_config(architecture, widths=widths)
    state = trained(images, network, device, precision=precision)
    assert len(state.losses) == state.step == 40
    assert state.losses[0] == pytest.approx(1, abs=0.15)  # the mean of eps^2: it predicts none
    assert np.mean(state.losses[-10:]) < 0.5
    weights = list(state.module.parameters())
    assert all(weight.dtype == torch.float32 for weight in weights)
    assert all(weight.device.type == device for weight in weights)


@pytest.mark.parametrize("device", DEVICES)
def test_bfloat16_on_any_device_learns_what_float32_learns(images, device) -> None:
    network = network_config(widths=(16,))
    full = trained(images, network, "cpu")
    mixed = trained(images, network, device, precision="bfloat16")
    # 8 bits of mantissa: losses differ by a percent or two, as single products do
    np.testing.assert_allclose(mixed.losses, full.losses, rtol=0.05)
    assert mixed.losses != full.losses


def test_the_first_step_is_adams_down_the_gradient_of_the_squared_error(images) -> None:
    config = TrainConfig(steps=1, batch_size=16, learning_rate=0.01, precision="float32")
    network = network_config()
    after = run(images, network, config, "cpu").module
    before = fresh_state(network, config, torch.device("cpu")).module
    batch = training_batch(images, network_config(), config, 0)
    mse_loss(before(batch.xt, batch.t, None), batch.target).backward()
    for old, new in zip(before.parameters(), after.parameters(), strict=True):
        # Adam's first step is rate * gradient / (|gradient| + 1e-8); no weight decay
        step = 0.01 * old.grad / (old.grad.abs() + 1e-8)
        torch.testing.assert_close(new, old - step, rtol=0, atol=1e-4)
    assert not torch.equal(after.last.weight, before.last.weight)


def test_the_rate_of_every_step_is_the_recipes(images) -> None:
    config = TrainConfig(
        steps=4, batch_size=4, save_every=1, decay_per_step=0.5, precision="float32"
    )
    state = fresh_state(network_config(), config, torch.device("cpu"))
    rates = [
        state.optimizer.param_groups[0]["lr"]
        for _ in train(state, images, network_config(), config, never)
    ]
    assert rates == [1e-4, 0.5e-4, 0.25e-4, 0.125e-4]


def test_equal_seeds_train_equal_networks_and_others_do_not(images) -> None:
    network = network_config(num_classes=10)
    one, same, other = (trained(images, network, steps=5, seed=seed) for seed in (1, 1, 2))
    assert equal_weights(one.module, same.module)
    assert not equal_weights(one.module, other.module)


def test_a_conditional_network_learns_from_the_labels(images) -> None:
    state = trained(images, network_config(num_classes=10), steps=5)
    fresh = fresh_state(
        network_config(num_classes=10), TrainConfig(steps=5), torch.device("cpu")
    ).module
    moved = (state.module.embedding.classes.weight - fresh.embedding.classes.weight).abs().sum(1)
    assert (moved[images.labels] > 0).any()


def test_the_average_forgets_old_weights_by_the_factor_given(images) -> None:
    config = TrainConfig(
        steps=8, batch_size=4, averaging=0.7, save_every=1, learning_rate=0.01, precision="float32"
    )
    state = fresh_state(network_config(), config, torch.device("cpu"))
    expected = None
    for _ in train(state, images, network_config(), config, never):
        now = state.module.first.weight.detach().clone()
        if state.step > 2:  # the first quarter of the steps is left out
            expected = now if expected is None else 0.7 * expected + 0.3 * now
    torch.testing.assert_close(state.result().first.weight, expected, rtol=0, atol=1e-6)
    assert not torch.equal(state.result().first.weight, state.module.first.weight)


def test_without_averaging_the_last_weights_are_kept(images) -> None:
    state = trained(images, network_config(), steps=3)
    assert state.result() is state.module


def test_training_too_short_for_an_average_keeps_the_last_weights(images) -> None:
    state = trained(images, network_config(), steps=1, averaging=0.9)
    assert state.result() is state.module


@pytest.mark.parametrize(
    ("asked", "device", "expected"),
    [
        ("float32", "cuda", torch.float32),
        ("bfloat16", "cpu", torch.bfloat16),
        ("auto", "cuda", torch.bfloat16),
    ],
)
def test_precision_is_what_was_asked_or_what_the_device_is_fast_at(asked, device, expected) -> None:
    assert chosen_precision(asked, torch.device(device)) == expected
