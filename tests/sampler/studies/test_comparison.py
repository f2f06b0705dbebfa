"""The comparison with a network, where its outcome is known."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from machine_network import machine_network
from small_index import build_small, small_images

from patchindex import ImageSet, UserError
from sampler import ELSMachine, LSMachine, sample
from sampler.noise import initial_noise
from sampler.results.tables import table_lines
from sampler.results.write import write_comparison
from sampler.run import SamplerConfig
from sampler.studies.compare import (
    CompareConfig,
    Prediction,
    compare,
    nearest_of,
    share_better,
)

IMAGES = small_images(60, 10)
SCALES = (3, 5, 7, 9)
SAMPLING = SamplerConfig(num=3, steps=4, scales="3,5,7,9", seed=5)
CONFIG = CompareConfig(sampling=SAMPLING, network_steps=(4,))


def test_a_machine_that_poses_as_a_network_is_predicted_perfectly_by_itself_alone() -> None:
    run = compare(machine_network(ELSMachine(IMAGES), SCALES), IMAGES, config=CONFIG)
    found = run.predictions[4]
    torch.testing.assert_close(
        found["els"].r, torch.ones(3, dtype=torch.float64), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(
        found["els"].R2, torch.ones(3, dtype=torch.float64), atol=1e-5, rtol=0
    )
    assert all(found[name].r.max() < 0.9999 for name in ("ls", "is", "wiener", "nearest"))
    assert run.result.results["4"].better_than_is["els"] == 1


def test_ls_is_told_from_els() -> None:
    run = compare(machine_network(LSMachine(IMAGES), SCALES), IMAGES, config=CONFIG)
    assert run.predictions[4]["ls"].r.min() > 0.999999 > run.predictions[4]["els"].r.max()


def test_every_image_is_of_its_own_class_and_noise() -> None:
    network = machine_network(ELSMachine(IMAGES), SCALES, num_classes=IMAGES.num_classes)
    run = compare(network, IMAGES, config=CONFIG)
    labels = run.result.labels
    noise = initial_noise(3, IMAGES, 5)
    for i, label in enumerate(labels):
        alone = sample(ELSMachine(IMAGES), noise[i : i + 1], scales=SCALES, steps=4, label=label)
        torch.testing.assert_close(run.outputs[4][i : i + 1], alone.images, atol=1e-4, rtol=0)
        torch.testing.assert_close(run.predicted["els"][i : i + 1], alone.images, atol=1e-6, rtol=0)


def test_retrieval_stands_in_for_els_and_says_so(tmp_path) -> None:
    index = build_small(tmp_path / "small.zarr", small_images(40, 16))
    network = machine_network(ELSMachine(index.images), (3, 7))
    sampling = SamplerConfig(num=2, steps=2, scales="3,7", k=64, tail=1024)
    run = compare(network, index, config=CompareConfig(sampling=sampling, network_steps=(2,)))
    assert run.predictions[2]["els"].r.min() > 0.99
    assert run.result.source.index == str(index.path)


def test_the_nearest_image_is_of_the_samples_own_class() -> None:
    images = torch.from_numpy(IMAGES.pixels[[3, 17]] / 127.5 - 1).float()
    found = nearest_of(images, IMAGES, None)
    torch.testing.assert_close(found, images)
    assert IMAGES.labels is not None
    other = torch.tensor([(int(IMAGES.labels[3]) + 1) % 10, int(IMAGES.labels[17])])
    found = nearest_of(images, IMAGES, other)
    assert not torch.allclose(found[0], images[0])
    torch.testing.assert_close(found[1], images[1])


def test_medians_and_shares_are_those_of_numpy(rng) -> None:
    network = torch.from_numpy(rng.standard_normal((6, 1, 5, 5)))
    near, far = (
        Prediction.of(
            network + noise * torch.from_numpy(rng.standard_normal((6, 1, 5, 5))), network
        )
        for noise in (0.3, 1.5)
    )
    medians = near.medians()
    assert medians.r == pytest.approx(np.median(near.r.numpy()))
    assert medians.r2 == pytest.approx(np.median(near.r.numpy() ** 2))
    assert share_better(near, far) == np.mean(near.r.numpy() > far.r.numpy())
    assert share_better(near, near) == 0


def test_the_published_row_stands_beside_ours() -> None:
    images = ImageSet.from_array(IMAGES.pixels, IMAGES.labels, name="fashion_mnist")
    network = machine_network(ELSMachine(images), SCALES)
    config = replace(CONFIG, network_steps=(20,))
    lines = str(compare(network, images, config=config)).splitlines()
    assert lines[0].split()[2:5] == ["ELS", "LS", "IS"]
    published = next(line for line in lines if "published" in line)
    assert published.split() == ["r,", "published", "0.90", "0.88", "0.74", "97%"]
    assert lines[-1].startswith("published: of the paper")


def test_the_middle_half_of_the_samples_stands_under_their_median() -> None:
    network = machine_network(ELSMachine(IMAGES), SCALES)
    sampling = replace(CONFIG.sampling, num=5)
    result = compare(network, IMAGES, config=replace(CONFIG, sampling=sampling)).result
    line = next(line for line in table_lines(result) if "middle half" in line)
    (of_samples,) = result.r.values()
    expected = [
        f"{low:.2f} to {high:.2f}"
        for name in ("els", "ls", "is", "wiener", "nearest")
        for low, high in [np.quantile(of_samples[name], (0.25, 0.75))]
    ]
    assert line.split("half")[1].split() == " ".join(expected).split()


def test_a_comparison_leaves_pictures_images_and_an_account(tmp_path) -> None:
    run = compare(machine_network(ELSMachine(IMAGES), SCALES), IMAGES, config=CONFIG)
    write_comparison(run.result, run.outputs, run.predicted, run.nearest, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "compare.json", "images.npz", "samples.png", "scatter.png",
    ]  # fmt: skip
    account = json.loads((tmp_path / "compare.json").read_text())
    assert account["r"]["4"]["els"] == pytest.approx([1, 1, 1], abs=1e-6)
    assert account["scales"]["patch_sizes"] == list(SCALES)
    with np.load(tmp_path / "images.npz") as images:
        np.testing.assert_array_equal(images["els"], run.predicted["els"])
        assert set(images) == {"els", "ls", "is", "wiener", "network_4"}


def test_what_cannot_be_compared_is_refused(tmp_path) -> None:
    network = machine_network(ELSMachine(IMAGES), SCALES)
    with pytest.raises(
        UserError, match=r"was trained on images of 1x10x10, but those of small are"
    ):
        compare(network, small_images(10, 12), config=CONFIG)
    with pytest.raises(UserError, match=r"network_steps is \(0,\). Give at least one number above"):
        replace(CONFIG, network_steps=(0,))
    circular = machine_network(ELSMachine(IMAGES, "circular"), SCALES, padding="circular")
    index = build_small(tmp_path / "small.zarr", small_images(40, 10), scales=(3, 7))
    with pytest.raises(UserError, match="pads with circular, but the index was built for boundary"):
        compare(circular, index, config=CONFIG)
