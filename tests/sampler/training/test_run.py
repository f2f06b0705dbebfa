"""What training leaves in its folder, what it leaves alone, and what it cannot do."""

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from small_networks import InterruptAt, equal_weights, few_images, network_config, small_job

from patchindex import ImageSet
from patchindex.environment import library_versions
from patchindex.errors import LockedError
from sampler.errors import NetworkError, TrainingDivergedError
from sampler.networks import load_network
from sampler.results.study_figures import write_loss_curve
from sampler.training import Training, TrainingJob, Watch, train_network
from sampler.training.checkpoint import CHECKPOINT, read_checkpoint

CPU = torch.device("cpu")
FILES = ["loss.png", "metrics.jsonl", "network.json", "network.safetensors"]


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return few_images()


def finish(job: TrainingJob, **options: object) -> Training:
    training = train_network(job, device=CPU, **options)
    assert training is not None
    return training


@pytest.fixture(scope="module")
def trained(images, tmp_path_factory) -> Path:
    """A folder of a finished training; copy it before anything is changed."""
    folder = tmp_path_factory.mktemp("trained")
    finish(small_job(folder, images, steps=2))
    return folder


@pytest.fixture
def folder(trained, tmp_path) -> Path:
    return shutil.copytree(trained, tmp_path / "folder")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_training_leaves_weights_account_and_loss_curve(images, tmp_path) -> None:
    job = small_job(tmp_path, images, network_config(num_classes=10), averaging=0.5)
    training = finish(job)
    assert sorted(contents(tmp_path)) == FILES
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    account = json.loads((tmp_path / "network.json").read_text())
    assert account["network"] == json.loads(json.dumps(job.network.values()))
    assert account["training"] == job.config.values()
    assert account["training"]["seed"] == 0
    assert account["schedule"] == "cosine"
    source = {"name": "sample", "num_images": 48, "crop": "none", "sha256": images.sha256}
    assert account["dataset"] == source
    assert account["parameters"] == sum(
        parameter.numel() for parameter in training.network.module.parameters()
    )
    assert account["receptive_field"] == [7, 7]
    assert account["final_loss"] == pytest.approx(sum(training.losses) / 12)
    assert account["versions"] == library_versions()
    assert account["device"] == "cpu"
    assert 0 < account["seconds"] < 600


def test_the_network_on_disk_is_the_one_returned(images, tmp_path) -> None:
    training = finish(small_job(tmp_path, images, averaging=0.5, schedule="linear"))
    found = load_network(tmp_path / "network.safetensors")
    assert equal_weights(found.module, training.network.module)
    assert found.schedule == training.network.schedule == "linear"


def test_half_weights_are_half_as_large(images, tmp_path, folder) -> None:
    finish(small_job(tmp_path, images, steps=2), half=True)
    half, whole = ((path / "network.safetensors").stat().st_size for path in (tmp_path, folder))
    assert half < 0.75 * whole  # both have the same header


def test_a_complete_folder_is_not_trained_again(images, folder, caplog) -> None:
    caplog.set_level(logging.INFO, "sampler")
    before = contents(folder)
    times = [path.stat().st_mtime_ns for path in folder.iterdir()]
    never = InterruptAt(1)
    again = train_network(
        small_job(folder, images, steps=2), device=CPU, watch=Watch(progress=never)
    )
    assert again is None
    assert not never.done
    assert contents(folder) == before
    assert [path.stat().st_mtime_ns for path in folder.iterdir()] == times
    assert "is complete already; nothing to do" in caplog.text


@pytest.mark.parametrize("change", ["network", "training", "images", "damage"])
def test_another_network_in_the_folder_is_refused(images, folder, change) -> None:
    other = {
        "network": small_job(folder, images, network_config(widths=(14,)), steps=2),
        "training": small_job(folder, images, steps=2, seed=1),
        "images": small_job(folder, few_images(40), steps=2),
        "damage": small_job(folder, images, steps=2),
    }
    if change == "damage":
        (folder / "network.json").write_text("{")
    before = contents(folder)
    with pytest.raises(
        NetworkError, match=r"already holds another network.* Give another --out, or --overwrite to"
    ):
        finish(other[change])
    assert contents(folder) == before


def test_the_old_network_stays_until_the_new_one_is_complete(images, folder) -> None:
    old = contents(folder)
    job = small_job(folder, images, seed=1)
    with pytest.raises(KeyboardInterrupt):
        train_network(job, device=CPU, overwrite=True, watch=Watch(progress=InterruptAt(10)))
    kept = contents(folder)
    assert kept.pop(CHECKPOINT)
    # the lines are of the training that goes on
    assert kept.pop("metrics.jsonl") != old["metrics.jsonl"]
    assert kept == {name: old[name] for name in FILES if name != "metrics.jsonl"}
    told = InterruptAt(1000)
    training = finish(job, overwrite=True, watch=Watch(progress=told))
    assert told.done[0] == 6  # the same command went on
    new = contents(folder)
    assert sorted(new) == FILES
    assert all(new[name] != old[name] for name in FILES)
    assert json.loads(new["network.json"])["training"]["seed"] == 1
    found = load_network(folder / "network.safetensors")
    assert equal_weights(found.module, training.network.module)


def test_overwriting_begins_anew_over_a_checkpoint_of_another_training(images, tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_network(small_job(tmp_path, images), device=CPU, watch=Watch(progress=InterruptAt(6)))
    told = InterruptAt(1000)
    finish(small_job(tmp_path, images, seed=1), overwrite=True, watch=Watch(progress=told))
    assert told.done[0] == 0
    assert sorted(contents(tmp_path)) == FILES


def test_two_trainings_never_write_into_one_folder(images, tmp_path) -> None:
    refused = []

    def start_another(_stage: str, done: int, _total: int) -> None:
        if done == 2:
            with pytest.raises(
                LockedError, match=r"another process is writing to .* \(process \d+ of .*\). Wait"
            ) as caught:
                finish(small_job(tmp_path, images, seed=1), overwrite=True)
            refused.append(caught)

    job = small_job(tmp_path, images)
    training = finish(job, watch=Watch(progress=start_another))
    assert len(refused) == 1
    assert json.loads((tmp_path / "network.json").read_text())["training"]["seed"] == 0
    found = load_network(tmp_path / "network.safetensors")
    assert equal_weights(found.module, training.network.module)


def test_divergence_keeps_the_last_good_checkpoint_and_names_its_step(images, tmp_path) -> None:
    # the first step spoils the last layer only, whose input is finite; the second all others
    job = small_job(tmp_path, images, learning_rate=1e9, save_every=2)
    with pytest.raises(
        TrainingDivergedError,
        match=r"loss is not finite any more before step 3. The checkpoint of step 2 in .* is kept. "
        r"Give a lower --learning-rate or --precision float32, with another --out",
    ):
        finish(job)
    assert sorted(contents(tmp_path)) == [CHECKPOINT, "metrics.jsonl"]
    state = read_checkpoint(tmp_path, job.key())
    assert len(state["losses"]) == 2
    assert all(bool(value.isfinite().all()) for value in state["module"].values())


def test_divergence_before_any_checkpoint_says_so(images, tmp_path) -> None:
    job = small_job(tmp_path, images, learning_rate=1e9, save_every=100)
    with pytest.raises(TrainingDivergedError, match="No checkpoint had been written yet"):
        finish(job)
    assert contents(tmp_path) == {"metrics.jsonl": b""}


def test_divergence_of_a_resumed_training_names_the_checkpoint_it_came_from(
    images, tmp_path
) -> None:
    job = small_job(tmp_path, images, learning_rate=1e9, save_every=2)
    for _ in range(2):
        with pytest.raises(TrainingDivergedError, match="The checkpoint of step 2 in"):
            finish(job)


def test_an_overwriting_training_that_diverges_keeps_the_old_network(images, folder) -> None:
    old = contents(folder)
    with pytest.raises(TrainingDivergedError):
        finish(small_job(folder, images, learning_rate=1e9), overwrite=True)
    assert contents(folder) | {"metrics.jsonl": b""} == old | {"metrics.jsonl": b""}


def test_weights_that_are_no_numbers_are_divergence_whatever_the_loss(images, tmp_path) -> None:
    # the only step tells the loss of the fresh network, and then ruins it
    job = small_job(tmp_path, images, steps=1, save_every=1)
    object.__setattr__(job.config, "learning_rate", float("inf"))
    with pytest.raises(TrainingDivergedError, match=r"before step 1. No checkpoint had been"):
        finish(job)
    assert contents(tmp_path) == {"metrics.jsonl": b""}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "JSONDecodeError"),
        ("[" * 100_000, "RecursionError"),
        ("[1]", "TypeError"),
        ('{"network": 1}', "KeyError"),
        ('{"network": 1, "training": 2, "dataset": "none"}', "TypeError"),
    ],
)
def test_an_account_edited_by_hand_is_refused(images, folder, text, reason) -> None:
    (folder / "network.json").write_text(text)
    with pytest.raises(
        NetworkError, match=rf"whose network.json cannot be read \({reason}\). Give another --out"
    ):
        finish(small_job(folder, images, steps=2))


def test_a_network_without_its_weights_is_not_complete(images, folder) -> None:
    job = small_job(folder, images, steps=2)
    weights = (folder / "network.safetensors").read_bytes()
    for damaged in (None, weights[:-4], weights[:-4] + b"\0\0\0\1"):
        (folder / "network.safetensors").unlink(missing_ok=True)
        if damaged is not None:
            (folder / "network.safetensors").write_bytes(damaged)
        with pytest.raises(
            NetworkError,
            match=r"holds this network, but weights .* Or give --overwrite to train it",
        ):
            finish(job)
    assert len(finish(job, overwrite=True).losses) == 2


@pytest.mark.parametrize(
    ("network", "settings", "message"),
    [
        ({}, {"batch_size": 49}, "sample has 48 images, fewer than a batch of 49. Give a --batch"),
        (
            {"side": 16},
            {},
            r"made for images of \(1, 16, 16\), but those of sample are \(1, 8, 8\)",
        ),
        ({"channels": 3}, {}, r"made for images of \(3, 8, 8\), but"),
        ({"num_classes": 9}, {}, "knows 9 classes, but sample has 10. Give a network for as many"),
    ],
)
def test_images_that_a_network_cannot_learn_from_are_refused(
    images, tmp_path, network, settings, message
) -> None:
    with pytest.raises(NetworkError, match=message):
        small_job(tmp_path, images, network_config(**network), **settings)


def test_a_conditional_network_cannot_learn_without_labels(images, tmp_path) -> None:
    unlabelled = ImageSet.from_array(images.pixels, name="plain")
    with pytest.raises(NetworkError, match="the network knows 10 classes, but plain has 0"):
        small_job(tmp_path, unlabelled, network_config(num_classes=10))


def test_a_batch_may_hold_as_many_images_as_there_are(images, tmp_path) -> None:
    assert len(finish(small_job(tmp_path, images, steps=1, batch_size=48)).losses) == 1


@pytest.mark.parametrize("num_losses", [1, 1234])
def test_a_loss_curve_of_any_length_can_be_drawn(tmp_path, num_losses) -> None:
    write_loss_curve([1 / (step + 1) for step in range(num_losses)], "few", tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
