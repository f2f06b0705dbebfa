"""Machines as denoisers of y = x0 + sigma eps, and samples of any denoiser."""

import pickle
from functools import partial
from itertools import pairwise
from math import sqrt

import numpy as np
import pytest
import torch
from reference.score_machines import posterior
from small_index import build_small, small_images

from patchindex import PatchIndex
from patchindex.crew import watched
from sampler import ELSMachine, ISMachine, LSMachine, sample
from sampler.denoiser import groups, of_class, score
from sampler.errors import SamplerConfigError
from sampler.follower import Follower
from sampler.scales import find_scales, published_scales
from sampler.schedule import alpha_bar, noise_level, plan_steps, rising_sigmas, signal_share
from sampler.trajectory import in_data_units, reverse

IMAGES = small_images(12, 8)
SIGMAS = [0.2, 3.0, 0.2, 0.7]
LABELS = [2, 0, 5, 2]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> PatchIndex:
    return build_small(tmp_path_factory.mktemp("index") / "i.zarr", small_images(40, 8))


@pytest.fixture
def y() -> torch.Tensor:
    return torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def brute(y: torch.Tensor, sigma: float, patch_size: int, label: int | None = None) -> np.ndarray:
    """The posterior mean of one state, from the definition."""
    share = 1 / (1 + sigma**2)
    pixels = IMAGES.pixels if label is None else IMAGES.pixels[IMAGES.labels == label]
    return posterior(sqrt(share) * y.double().numpy(), share, pixels, patch_size).mean


@pytest.mark.parametrize("labels", [None, 2, LABELS])
@pytest.mark.parametrize("sigmas", [0.7, SIGMAS])
def test_each_state_has_its_own_noise_and_class(y, sigmas, labels) -> None:
    sigma = torch.tensor(sigmas) if isinstance(sigmas, list) else sigmas
    label = torch.tensor(labels) if isinstance(labels, list) else labels
    found = ELSMachine(IMAGES).denoise(y, sigma, 3, label=label)
    for i in range(4):
        level = sigmas[i] if isinstance(sigmas, list) else sigmas
        value = labels[i] if isinstance(labels, list) else labels
        np.testing.assert_allclose(found[i], brute(y[i], level, 3, value), atol=2e-5)


def test_states_in_data_units_are_those_of_the_reverse_process(y) -> None:
    share = 0.3
    machine = LSMachine(IMAGES)
    expected = machine.posterior(sqrt(share) * y, share, 5).mean
    found = machine.denoise(y, noise_level(share), 5)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_without_a_patch_size_the_machines_own_scales_decide(y) -> None:
    machine = ELSMachine(IMAGES, scales=[1, 3, 5, 7])
    for t, patch_size in ((0.1, 1), (0.25, 1), (0.5, 3), (0.7, 5), (1.0, 7)):
        sigma = noise_level(alpha_bar(t))
        assert machine.patch_size_at(sigma) == patch_size
        assert machine(y, sigma).equal(machine.denoise(y, sigma, patch_size))


def test_a_machines_own_scales_are_those_of_its_images(index: PatchIndex) -> None:
    scales = ELSMachine(IMAGES, scales="cifar10_resnet_zeros").scales
    assert scales.patch_sizes == published_scales()["cifar10_resnet_zeros"]
    assert scales.sigmas == pytest.approx([noise_level(alpha_bar(i / 20)) for i in range(1, 21)])
    assert set(ELSMachine(index).scales.patch_sizes) <= set(index.scales)
    assert ISMachine(IMAGES).scales is None
    with pytest.raises(SamplerConfigError, match="scales given contain 4"):
        LSMachine(IMAGES, scales=[3, 4])


@pytest.mark.parametrize("schedule", ["edm", "linear", "sigmas"])
def test_scales_of_a_file_are_found_at_their_own_noise_levels(tmp_path, schedule) -> None:
    sigmas = rising_sigmas("edm" if schedule == "sigmas" else schedule, 10)
    places = sigmas if schedule == "sigmas" else [i / 10 for i in range(1, 11)]
    sizes = list(range(1, 20, 2))
    lines = [f"{place!r}: {size}" for place, size in zip(places, sizes, strict=True)]
    path = tmp_path / "scales.yaml"
    path.write_text("\n".join([f"schedule: {schedule}", *lines]))
    machine = ELSMachine(IMAGES, scales=str(path))
    assert [machine.patch_size_at(sigma) for sigma in sigmas] == sizes
    found = find_scales(str(path))
    plan = plan_steps(found.patch_sizes, 1, sigmas[::-1], sigmas=found.sigmas)
    assert [step.patch_size for step in plan] == sizes[::-1]


def test_the_score_has_two_parametrizations(y) -> None:
    machine, share = ELSMachine(IMAGES, scales=[3]), 0.4
    sigma = noise_level(share)
    mean = machine.denoise(y, sigma)
    of_y = machine.score(y=y, sigma=sigma)
    torch.testing.assert_close(of_y, (mean - y) / sigma**2)
    torch.testing.assert_close(score(machine, y, sigma), of_y)
    of_xt = machine.score(sqrt(share) * y, share, 3)
    torch.testing.assert_close(of_xt, of_y / sqrt(share), rtol=1e-4, atol=1e-4)
    each = machine.score(y=y, sigma=torch.tensor(SIGMAS))
    torch.testing.assert_close(each[1:2], machine.score(y=y[1:2], sigma=3.0))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"xt": 0, "sigma": 1.0},
            "a score needs states and their noise. Give xt and alpha_bar, or",
        ),
        ({"y": 0}, "a score needs states and their noise"),
        ({"xt": 0, "alpha_bar": 1.0}, "alpha_bar is 1.0. Give a value between 0 and 1"),
        ({"y": 0, "sigma": 0.0}, r"sigma is 0.0. Give the standard deviation of the noise"),
        ({"y": 0, "sigma": torch.tensor([1.0, -2.0, 1.0, 1.0])}, "sigma is -2.0"),
    ],
)
def test_what_is_no_noise_is_refused(y, asked, message) -> None:
    states = {name: y if isinstance(value, int) else value for name, value in asked.items()}
    with pytest.raises(SamplerConfigError, match=message):
        ELSMachine(IMAGES, scales=[3]).score(**states)


def test_one_noise_level_and_class_for_each_state() -> None:
    with pytest.raises(SamplerConfigError, match=r"sigma has shape \(3,\) for 4 states. Give one"):
        list(groups(4, torch.ones(3), None))
    with pytest.raises(SamplerConfigError, match=r"label has shape \(5,\) for 4 states"):
        list(groups(4, 1.0, torch.ones(5).long()))


def shrink(y: torch.Tensor, sigma: float) -> torch.Tensor:
    """The posterior mean of normal images with mean 0.2 and variance 1/4."""
    return 0.2 + (y - 0.2) / (1 + 4 * sigma**2)


def ends(y: torch.Tensor, sigma: float) -> torch.Tensor:
    """Where the process of `shrink` leads: distances to the mean shrink as the spread does."""
    return 0.2 + (y - 0.2) * 0.5 / sqrt(0.25 + sigma**2)


@pytest.mark.parametrize(("sampler", "order"), [("ddim", 1), ("heun", 2)])
def test_the_order_of_each_sampler_is_what_it_should_be(y, sampler, order) -> None:
    errors = []
    for steps in (16, 32, 64):
        # equal steps of log sigma down to where the last one is no error
        sigmas = np.geomspace(20, 1e-3, steps + 1).tolist()
        plan = plan_steps((None,), 1, sigmas)
        found = reverse(shrink, y, plan, sampler=sampler)
        exact = ends(in_data_units(y, signal_share(20.0)), 20.0)
        errors.append(float((found - exact).abs().max()))
    rates = [np.log2(before / after) for before, after in pairwise(errors)]
    assert rates == pytest.approx([order] * 2, abs=0.3)


def test_heuns_steps_are_those_of_its_definition(y) -> None:
    plan = plan_steps((None,), 4, "cosine")
    state = in_data_units(y.double(), plan[0].alpha_bar)
    for step in plan:
        slope = (state - shrink(state, step.sigma)) / step.sigma
        reached = state + (step.sigma_next - step.sigma) * slope
        if step.sigma_next:
            other = (reached - shrink(reached, step.sigma_next)) / step.sigma_next
            reached = state + (step.sigma_next - step.sigma) * (slope + other) / 2
        state = reached
    found = sample(shrink, y, steps=4, sampler="heun")
    torch.testing.assert_close(found.images.double(), state, rtol=0, atol=2e-5)
    assert found.steps == ()


def test_a_machine_follows_any_noise_levels(y) -> None:
    machine = ELSMachine(IMAGES, scales=[3, 5])
    sigmas = [10.0, 1.0, 0.1]
    found = sample(machine, y, schedule=sigmas, sampler="heun")
    expected = reverse(machine, y, plan_steps((None,), 1, sigmas), sampler="heun")
    torch.testing.assert_close(found.images, expected, rtol=0, atol=1e-5)
    assert [report.sigma for report in found.steps] == pytest.approx(sigmas)
    assert [report.patch_size for report in found.steps] == [5, 3, 3]


def test_retrieval_follows_heuns_steps_like_the_exact_machine(index: PatchIndex) -> None:
    noise = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    process = {"scales": [3, 7], "steps": 4, "sampler": "heun"}
    exact = sample(ELSMachine(index.images), noise, **process)
    found = sample(ELSMachine(index, k=64, tail=2048), noise, **process)
    both = torch.stack([exact.images.flatten(), found.images.flatten()])
    assert float(torch.corrcoef(both)[0, 1]) > 0.98


@pytest.mark.parametrize("steps", [7, 20, 40])
def test_a_machine_and_its_denoiser_lead_to_the_same_images(y, steps) -> None:
    machine = ELSMachine(IMAGES, scales=[1, 3, 5, 7])
    found, expected = (sample(each, y, steps=steps).images for each in (machine.denoise, machine))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_what_belongs_to_machines_is_refused_for_others(y) -> None:
    with pytest.raises(SamplerConfigError, match="scales and label belong to machines"):
        sample(shrink, y, scales=[3])
    with pytest.raises(SamplerConfigError, match=r"sampler is .euler.\. Give one of"):
        sample(shrink, y, sampler="euler")


def test_a_machine_says_what_it_is(index: PatchIndex) -> None:
    assert repr(ISMachine(IMAGES)) == f"ISMachine({IMAGES!r})"
    assert repr(ELSMachine(IMAGES)) == f"ELSMachine({IMAGES!r}, zeros, exact)"
    assert repr(ELSMachine(index, k=64)) == f"ELSMachine({index!r}, k=64, tail=4096)"


def test_a_class_is_bound_to_a_denoiser(y) -> None:
    machine, label = ELSMachine(IMAGES, scales=[3]), torch.tensor(LABELS)
    bound = of_class(machine, label)
    assert bound(y, 0.5).equal(machine.denoise(y, 0.5, label=label))
    assert of_class(machine, None) is machine
    again = pickle.loads(pickle.dumps(partial(machine.denoise, patch_size=3)))  # noqa: S301
    assert again(y, 0.5).equal(machine.denoise(y, 0.5, 3))


def test_a_watcher_learns_how_far_the_work_is(y) -> None:
    told: list[float] = []
    follower = Follower(ELSMachine(IMAGES, scales=[3]), torch.tensor(LABELS))
    with watched(told.append):
        follower(y, 0.5)
    assert told == sorted(told)
    assert len(set(told)) >= 3, "each of three classes"
    assert told[-1] == pytest.approx(1)
    follower(y, 0.5)
    assert told[-1] == pytest.approx(1)
    before = len(told)
    follower(y, 0.5)
    assert len(told) == before, "nobody watches any more"
