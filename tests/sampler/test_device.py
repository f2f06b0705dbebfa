"""Machines on a GPU: the processor's results, and every field beside the states.

Where there is no GPU a simulated one serves, which refuses what CUDA would; its kernels are the
processor's, so that only sums in another order differ. A real one has kernels of its own.
"""

from collections.abc import Iterator
from dataclasses import fields

import numpy as np
import pytest
import torch
from asked import at
from reference.brute_search import BruteSearch
from reference.samples import noisy_states, random_images
from simulated_gpu import real_or_simulated_gpu

from patchindex import Device, ImageSet
from patchindex.kernels import centers_of
from sampler import ELSMachine, ISMachine, LSMachine, exact, sample, sample_steps
from sampler.estimator import regions, rest
from sampler.follower import Follower
from sampler.posterior import Posterior
from sampler.schedule import plan_steps
from sampler.studies.baselines import nearest_images, wiener_denoiser

# of log mass and effective sample size by float32 distances, and of the posterior mean
SUMS_ATOL, MEAN_ATOL = (2e-3, 1e-4) if torch.cuda.is_available() else (1e-12, 1e-12)


@pytest.fixture(params=[2**30, 0], ids=["resident", "streamed"])
def gpu(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    with real_or_simulated_gpu(request.param) as device:
        yield device


@pytest.fixture
def images(rng: np.random.Generator) -> ImageSet:
    labels = [0, 1, 1, 0] * 17
    return ImageSet.from_array(random_images(rng, 68, 2, 6, 7), labels=labels)


@pytest.fixture
def xt(rng: np.random.Generator, images: ImageSet) -> torch.Tensor:
    return torch.from_numpy(noisy_states(rng, images.pixels, 3, 0.5))


def assert_same(found: Posterior, expected: Posterior, device: torch.device) -> None:
    assert (found.head is None) == (expected.head is None)
    pairs = [(found, expected)]
    if found.head is not None:
        pairs.append((found.head, expected.head))
    for ours, theirs in pairs:
        for field in fields(ours):
            if field.name not in {"sources", "head", "patch_size"}:
                value = getattr(ours, field.name)
                assert value.device == device, field.name
                tolerance = MEAN_ATOL if field.name == "mean" else SUMS_ATOL
                assert_near(value, getattr(theirs, field.name), tolerance)


def assert_near(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float) -> None:
    torch.testing.assert_close(ours.cpu(), theirs, rtol=tolerance, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize("label", [None, 1])
@pytest.mark.parametrize(
    "make",
    [
        ISMachine,
        LSMachine,
        lambda images: LSMachine(images, "circular"),
        ELSMachine,
        lambda images: ELSMachine(images, "circular"),
        lambda images: ELSMachine(images, "circular_interior"),
    ],
    ids=["is", "ls", "ls-circular", "els", "els-circular", "els-interior"],
)
def test_exact_posteriors_are_those_of_the_processor(gpu, images, xt, make, label) -> None:
    machine = make(images)
    expected = machine.posterior(xt, 0.5, 3, label=label)
    assert_same(machine.posterior(xt.to(gpu), 0.5, 3, label=label), expected, gpu)
    assert machine.score(xt.to(gpu), 0.5, 3, label=label).device == gpu


@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_every_scan_is_told_the_precision_of_the_device(monkeypatch, images, xt, precision) -> None:
    told = []
    for module in (exact, regions, rest):
        scan = module.exact_scan

        def noted(*arguments, scan=scan, **options):
            told.append(options["precision"])
            return scan(*arguments, **options)

        monkeypatch.setattr(module, "exact_scan", noted)
    images = images.with_device(Device("cpu", precision=precision))
    ELSMachine(images).posterior(xt, 0.5, 3)
    once = len(told)
    # all patches of edges and corners are summed
    ELSMachine(BruteSearch(images), k=5, tail=64).posterior(xt, 0.5, 3)
    assert 0 < once < len(told) - 1
    assert set(told) == {precision}


# of the 680 patches inside that a label leaves few or half are drawn, or all are summed
FEW, MANY, ALL = {"tail": 2}, {"tail": 10}, {"tail": 64}
WAYS = {
    "few": FEW,
    "many": MANY,
    "all": ALL,
    "no-tail": {"tail": 0},
    "few-tolerance": FEW | {"tolerance": 0.03},
    "many-tolerance": MANY | {"tolerance": 0.03},
}


# those that are not slow
QUICK = ("few", "all", "no-tail")


@pytest.mark.parametrize("label", [None, 1])
@pytest.mark.parametrize(
    "way", [way if way in QUICK else pytest.param(way, marks=pytest.mark.slow) for way in WAYS]
)
def test_estimates_are_those_of_the_processor(gpu, images, xt, way, label) -> None:
    machine = ELSMachine(BruteSearch(images), k=5, **WAYS[way])
    expected = machine.posterior(xt, 0.5, 3, label=label)
    found = machine.posterior(xt.to(gpu), 0.5, 3, label=label)
    assert_same(found, expected, gpu)
    next_one = machine.posterior(xt.to(gpu), 0.6, 3, label=label, known=found.head)
    expected = machine.posterior(xt, 0.6, 3, label=label, known=expected.head)
    assert_same(next_one, expected, gpu)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [FEW, {"tail": 6}], ids=["few", "many"])
@pytest.mark.parametrize(
    ("boundary", "patch_size"), [("zeros", 5), ("circular", 5), ("circular_interior", 5)]
)
def test_estimates_at_any_boundary(gpu, images, xt, settings, boundary, patch_size) -> None:
    search = BruteSearch(images, boundary, scales=(patch_size,))
    machine = ELSMachine(search, k=5, **settings)
    expected = machine.posterior(xt, 0.5, patch_size)
    assert_same(machine.posterior(xt.to(gpu), 0.5, patch_size), expected, gpu)


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        ISMachine,
        lambda images: ELSMachine(BruteSearch(images), exact=True),
        lambda images: ELSMachine(BruteSearch(images), k=5, tail=10),
    ],
    ids=["is", "exact", "retrieved"],
)
@pytest.mark.parametrize("label", [None, 1])
def test_sources_are_those_of_the_processor(gpu, images, xt, make, label) -> None:
    machine = make(images)
    expected = machine.posterior(xt, 0.9, 3, label=label, num_sources=4).sources
    found = machine.posterior(xt.to(gpu), 0.9, 3, label=label, num_sources=4).sources
    assert (expected.ids >= 0).any()
    num_images = len(images)
    for ours, theirs in (
        (found.ids, expected.ids),
        (found.weights, expected.weights),
        (found.image_shares.dense(num_images), expected.image_shares.dense(num_images)),
        (found.unattributed, expected.unattributed),
    ):
        assert ours.device == gpu
        assert_near(ours, theirs, max(1e-6, MEAN_ATOL))


@pytest.mark.slow
def test_a_whole_reverse_process_stays_on_the_device(gpu, images, rng) -> None:
    noise = torch.from_numpy(rng.standard_normal((2, 2, 6, 7), "f4"))
    machine = ELSMachine(BruteSearch(images), k=5, tail=10)
    states = sample_steps(machine, noise.to(gpu), scales=[3], steps=3)
    assert all(tensor.device == gpu for done in states for tensor in (done.xt, done.reached))
    found = sample(machine, noise.to(gpu), scales=[3], steps=3)
    expected = sample(machine, noise, scales=[3], steps=3)
    assert_near(found.images, expected.images, max(1e-6, MEAN_ATOL))
    for ours, theirs in zip(found.steps, expected.steps, strict=True):
        assert ours.effective_sample_size == pytest.approx(theirs.effective_sample_size, rel=1e-3)


def test_classes_and_baselines_stay_on_the_device(gpu, images, xt) -> None:
    label, step = torch.tensor([1, 0, 1]), plan_steps([3], 4, "cosine")[1]
    where, distances = nearest_images(xt.to(gpu), images)
    assert where.device == distances.device == gpu
    for denoiser in (
        Follower(ELSMachine(images), label, {step.sigma: 3}),
        wiener_denoiser(images, label, gpu),
        wiener_denoiser(images, None, gpu),
    ):
        assert at(denoiser, xt.to(gpu), step).device == gpu


def test_centers_are_brought_to_the_ids_wherever_pixels_lie(gpu, images) -> None:
    ids = torch.tensor([[0, 57], [2700, 3]])
    expected = centers_of(images.tensor, ids)
    for pixels in (images.tensor, images.tensor.to(gpu)):
        found = centers_of(pixels, ids.to(gpu))
        assert found.device == gpu
        assert torch.equal(found.cpu(), expected)


def test_images_stay_on_the_device_within_its_budget(gpu, images) -> None:
    memory = images.device.at(gpu)
    fits = memory.budget > 0
    held = images.pixels_on(gpu)
    assert held.device.type == ("cuda" if fits else "cpu")
    assert memory.used == (images.pixels.nbytes if fits else 0)
    assert images.pixels_on(gpu) is held or not fits


def test_a_gpu_refuses_to_mix_what_lies_elsewhere(gpu) -> None:
    here, there = torch.ones(3), torch.ones(3, device=gpu)
    place = torch.tensor([1])
    refused = [
        lambda: here + there,
        lambda: torch.cat([here, there]),
        lambda: here[place.to(gpu)],
        lambda: there.index_copy(0, place, torch.ones(1, device=gpu)),
        lambda: torch.where(torch.tensor(True), there, 0.0),
        there.numpy,
    ]
    for mixed in refused:
        with pytest.raises((RuntimeError, TypeError), match=r"device|on cpu|not supported"):
            mixed()
    assert (there * torch.tensor(2.0))[place].device == gpu
    assert there.cpu().numpy().tolist() == [1, 1, 1]
