"""The linear datamodeling score: planted answers, what networks see, and going on after a cut."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from benchmarks.attribution import lds, subsets
from benchmarks.attribution.lds import ceiling, linear_score, main, measured_outputs
from benchmarks.attribution.predictors import baselines, features
from benchmarks.attribution.subsets import Config, losses, members, noisy, two_classes
from patchindex import ImageSet, UserError
from sampler.networks import Network, NetworkConfig, NetworkSizes, make_network
from sampler.schedule import alpha_bar

TINY = [
    "--dataset", "sample", "--classes", "Trouser,Bag", "--per-class", "6", "--side", "8", "--steps",
    "2", "--batch-size", "2", "--width", "8", "--depth", "1", "--generated", "3", "--levels",
    "0.3,0.6", "--draws", "1", "--scales", "3",
]  # fmt: skip


def run(work: Path, networks: int, *more: str) -> Result:
    out = work.with_suffix(".jsonl")
    words = [*TINY, "--networks", str(networks), "--work", str(work), "--out", str(out), *more]
    return CliRunner().invoke(main, words)


def test_an_attribution_that_is_what_networks_learned_scores_one(rng: np.random.Generator) -> None:
    inside = np.stack([members(number, 30, seed=0) for number in range(12)])
    truth = rng.random((5, 30))
    outputs = inside @ truth.T
    told = linear_score(outputs, inside @ truth.T)
    assert told["lds"] == pytest.approx(1)
    assert told["interval"] == pytest.approx((1, 1))
    assert linear_score(outputs, -(inside @ truth.T))["lds"] == pytest.approx(-1)


def test_an_attribution_of_nothing_scores_about_zero(rng: np.random.Generator) -> None:
    outputs, predictions = rng.random((40, 60)), rng.random((40, 60))
    told = linear_score(outputs, predictions)
    assert abs(told["lds"]) < 3 / np.sqrt(40 * 60)  # three standard errors
    assert told["interval"][0] < 0 < told["interval"][1]


def test_the_ceiling_is_what_noise_leaves(rng: np.random.Generator) -> None:
    truth = rng.standard_normal((200, 20))
    first, second = (truth + rng.standard_normal((200, 20)) for _ in range(2))
    told = ceiling(first, second)
    assert told["agreement"] == pytest.approx(0.5, abs=0.05)  # half of the variance is noise
    possible = linear_score(first, truth)["lds"]
    assert told["ceiling"] == pytest.approx(possible, abs=0.05)


def test_relative_losses_forget_how_well_a_network_learned(rng: np.random.Generator) -> None:
    config = Config(levels=(0.3, 0.6))
    found = rng.random((4, 3, 2)) + 0.5
    worse = found * np.array([1.0, 2.0, 3.0, 4.0])[:, None, None]
    for level in ("mean", 0.6):
        before = measured_outputs(found, "relative loss", level, config)
        assert before == pytest.approx(measured_outputs(worse, "relative loss", level, config))
    assert measured_outputs(found, "loss", 0.3, config) == pytest.approx(-found[..., 0])


def test_a_subset_is_half_of_the_images_by_its_number_alone() -> None:
    first = members(7, 20, seed=0)
    assert first.sum() == 10
    assert (first == members(7, 20, seed=0)).all()
    assert (first != members(8, 20, seed=0)).any()


def test_the_images_are_the_first_of_both_classes() -> None:
    images = two_classes(Config(dataset="sample", classes=("Trouser", "Bag"), per_class=3, side=16))
    everything = ImageSet.load("sample", resolution=16)
    assert everything.labels is not None
    expected = np.sort(
        np.concatenate([np.flatnonzero(everything.labels == label)[:3] for label in (1, 8)])
    )
    assert (images.pixels == everything.pixels[expected]).all()
    with pytest.raises(UserError, match=r"no class car. Give two of T-shirt/top, Trouser"):
        two_classes(Config(dataset="sample", classes=("car", "Bag")))


def test_a_loss_is_the_mean_squared_error_of_the_predicted_noise() -> None:
    config = Config(levels=(0.3, 0.6), draws=2)
    generated = torch.zeros(2, 1, 4, 4)

    def nothing(y: torch.Tensor, _: float) -> torch.Tensor:
        return torch.zeros_like(y)  # what is right for these images: no error at all

    def itself(y: torch.Tensor, _: float) -> torch.Tensor:
        return y  # as if there were no noise: all of the noise is missed

    assert not losses(nothing, generated, config).any()
    draws = [noisy(generated, 0.3, draw, subsets.MEASURING, config.seed) for draw in range(2)]
    sigma = np.sqrt((1 - alpha_bar(0.3, "cosine")) / alpha_bar(0.3, "cosine"))
    eps = np.stack([(y / level).numpy() for y, level in draws])
    assert draws[0][1] == pytest.approx(sigma)
    assert losses(itself, generated, config)[:, 0] == pytest.approx(
        np.square(eps).mean((0, 2, 3, 4)), rel=1e-5
    )


def test_an_image_is_most_like_itself_by_every_baseline() -> None:
    images = two_classes(Config(dataset="sample", classes=("Trouser", "Bag"), per_class=4, side=8))
    config = NetworkConfig(
        architecture="resnet", padding="zeros", channels=1, height=8, width=8,
        sizes=NetworkSizes(widths=(8,), depth=1, embedding=8),
    )  # fmt: skip
    network = Network(make_network(config, 0).requires_grad_(requires_grad=False), config)
    x0 = torch.from_numpy(images.pixels / np.float32(127.5) - 1).float()
    found = baselines(images, x0[3:5], network)
    assert set(found) == {"pixel L2", "pixel cosine", "network feature cosine"}
    for name, values in found.items():
        assert values.argmax(1).tolist() == [3, 4], name
    assert features(network, x0).shape == (8, 8)


@pytest.mark.slow
def test_a_measurement_that_was_cut_goes_on_and_finds_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = run(tmp_path / "whole", 4, "--repeats", "3")
    assert told.exit_code == 0, told.output
    rows = [json.loads(row) for row in (tmp_path / "whole.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * (6 + 2 * 3)  # outputs; all over all levels, and ours at each
    assert all(row["networks"] == 4 and row["repeats"] == 3 for row in rows)
    assert all("--networks 4" in row["command"] for row in rows)

    true_losses = lds.losses

    def cut(*arguments: object) -> object:
        monkeypatch.setattr(lds, "losses", stop)
        return true_losses(*arguments)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context():
        monkeypatch.setattr(lds, "losses", cut)
        assert run(tmp_path / "cut", 4).exit_code != 0
    monkeypatch.setattr(lds, "losses", true_losses)
    assert sorted(path.name for path in (tmp_path / "cut").glob("subset-*.npy")) == [
        "subset-000.npy"
    ]
    told = run(tmp_path / "cut", 3, "--report")
    assert told.exit_code == 1
    assert isinstance(told.exception, UserError)
    assert "holds the losses of 1 networks" in str(told.exception)
    assert run(tmp_path / "cut", 4).exit_code == 0
    for number in range(4):
        found = [np.load(tmp_path / name / f"subset-{number:03}.npy") for name in ("whole", "cut")]
        assert (found[0] == found[1]).all()
    told = run(tmp_path / "cut", 4, "--seed", "1")
    assert isinstance(told.exception, UserError)
    assert "its seed differ" in str(told.exception)
