"""The bundled networks: small files, and denoisers worth comparing with."""

import json

import pytest
import torch
from asked import at

from patchindex import ImageSet, UserError
from patchindex.images import to_unit
from sampler import ELSMachine
from sampler.choices import DEFAULT_NETWORK
from sampler.denoiser import of_class
from sampler.follower import Follower
from sampler.networks import open_network
from sampler.networks.weights import bundled_networks
from sampler.scales import calibrated_scales
from sampler.schedule import plan_steps


@pytest.fixture
def images() -> ImageSet:
    return ImageSet.load("sample", limit=300)


@pytest.mark.parametrize("name", bundled_networks())
def test_a_bundled_network_is_small_and_says_what_it_is(name) -> None:
    path = bundled_networks()[name]
    assert path.stat().st_size < 2_000_000
    account = json.loads(path.with_suffix(".json").read_text())
    network = open_network(name)
    assert network.name == name
    config = network.config
    dataset = account["dataset"]["name"]
    assert name == f"{dataset}_{config.architecture}_{config.padding}_small"
    assert len(calibrated_scales()[name]) == 20


def test_the_default_network_denoises_garments(images) -> None:
    network = open_network(DEFAULT_NETWORK)
    x0, label = to_unit(images.tensor[:32]), torch.from_numpy(images.labels[:32])
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
    errors = []
    for step in plan_steps((3,), 10, "cosine"):
        xt = step.alpha_bar**0.5 * x0 + (1 - step.alpha_bar) ** 0.5 * eps
        mean = at(of_class(network, label), xt, step)
        errors.append(float((mean - x0).square().mean()))
    # images vary by about 0.5 about the mean of all, by less about that of their class
    assert errors[0] < 0.4
    assert errors[-1] < 0.01
    assert errors == sorted(errors, reverse=True), "less noise, less error"


def test_the_default_network_knows_its_classes(images) -> None:
    network = open_network(DEFAULT_NETWORK)
    x0, label = to_unit(images.tensor[:32]), torch.from_numpy(images.labels[:32])
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
    step = plan_steps((3,), 10, "cosine")[2]
    xt = step.alpha_bar**0.5 * x0 + (1 - step.alpha_bar) ** 0.5 * eps
    right, wrong = (
        float((at(of_class(network, given), xt, step) - x0).square().mean())
        for given in (label, (label + 3) % 10)
    )
    assert right < 0.9 * wrong


def test_the_machine_says_nearly_what_the_network_says(images) -> None:
    network = open_network(DEFAULT_NETWORK)
    label = torch.from_numpy(images.labels[:4])
    x0 = to_unit(images.tensor[:4])
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
    step = plan_steps(calibrated_scales()[DEFAULT_NETWORK], 20, "cosine")[8]
    xt = step.alpha_bar**0.5 * x0 + (1 - step.alpha_bar) ** 0.5 * eps
    trained = at(of_class(network, label), xt, step)
    sizes = {step.sigma: step.patch_size}
    theory = at(Follower(ELSMachine(images), label, sizes), xt, step)
    both = torch.stack([trained.flatten(), theory.flatten()])
    assert float(torch.corrcoef(both)[0, 1]) > 0.9


def test_a_folder_a_file_and_a_name_open_alike(tmp_path) -> None:
    source = bundled_networks()[DEFAULT_NETWORK]
    for suffix in (".safetensors", ".json"):
        (tmp_path / f"network{suffix}").write_bytes(source.with_suffix(suffix).read_bytes())
    named = open_network(DEFAULT_NETWORK)
    for place in (tmp_path, tmp_path / "network.safetensors"):
        assert open_network(str(place)).config == named.config


def test_a_network_that_is_nowhere_is_refused_with_what_there_is(tmp_path) -> None:
    message = rf"network '.*' is neither a file nor bundled \(bundled: .*{DEFAULT_NETWORK}"
    with pytest.raises(UserError, match=message):
        open_network("resnet50")
    with pytest.raises(UserError, match=message):
        open_network(str(tmp_path))
