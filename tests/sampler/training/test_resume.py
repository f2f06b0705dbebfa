"""Training interrupted, its checkpoint damaged, the disk full; what the next one makes of it."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from zipfile import ZipFile

import pytest
import torch
from small_networks import (
    InterruptAt,
    equal_weights,
    few_images,
    network_config,
    small_job,
)

from patchindex import ImageSet
from sampler.errors import NetworkError, OutputError
from sampler.training import Training, TrainingJob, train_network
from sampler.training.checkpoint import CHECKPOINT, read_checkpoint, write_checkpoint

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return few_images()


def finish(job: TrainingJob, **options: object) -> Training:
    training = train_network(job, device=CPU, **options)
    assert training is not None
    return training


def interrupt(job: TrainingJob, call: int, **options: object) -> list[int]:
    """Start training and stop it at a call of its progress; the steps that were told."""
    stop = InterruptAt(call)
    with pytest.raises(KeyboardInterrupt):
        train_network(job, device=CPU, progress=stop, **options)
    return stop.done


@contextmanager
def largest_file(num_bytes: int) -> Iterator[None]:
    """Refuse to write beyond, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("architecture", "widths", "num_classes", "averaging"),
    [("resnet", (12,), 10, 0.0), ("unet", (8, 12), 0, 0.8)],
)
def test_training_interrupted_at_every_step_gives_the_same_bits(
    images, tmp_path, architecture, widths, num_classes, averaging
) -> None:
    network = network_config(architecture, widths=widths, num_classes=num_classes)
    whole, pieces = (
        small_job(tmp_path / name, images, network, averaging=averaging, decay="cosine")
        for name in ("whole", "pieces")
    )
    begins = []
    for folder in (whole.folder, pieces.folder):
        folder.mkdir()
    uninterrupted = finish(whole)
    for call in (1, 2, 3, 3, 3):  # at the start, before the first checkpoint, and after each
        begins.append(interrupt(pieces, call)[0])
    assert begins == [0, 0, 0, 3, 6]
    resumed = finish(pieces)
    assert resumed.losses == uninterrupted.losses
    assert equal_weights(resumed.network.module, uninterrupted.network.module)
    weights = [
        (folder / "network.safetensors").read_bytes() for folder in (whole.folder, pieces.folder)
    ]
    assert weights[0] == weights[1]
    assert {**resumed.account, "seconds": 0} == {**uninterrupted.account, "seconds": 0}
    assert not (pieces.folder / CHECKPOINT).exists()


@pytest.mark.parametrize("save_every", [1, 4, 70])
def test_no_more_than_an_interval_is_lost(images, tmp_path, save_every) -> None:
    job = small_job(tmp_path, images, steps=150, save_every=save_every, batch_size=2)
    done = interrupt(job, 6)
    begun = interrupt(job, 1)[0]
    assert begun % save_every == 0
    assert 0 <= done[-1] - begun <= save_every


def test_the_time_of_all_pieces_is_told(images, tmp_path, monkeypatch) -> None:
    seconds = iter(range(1000))
    monkeypatch.setattr("sampler.training.run.perf_counter", lambda: float(next(seconds)))
    job = small_job(tmp_path, images, steps=9)
    interrupt(job, 3)  # started at 0; the checkpoint of step 3 was written at 1
    # started at 2; the checkpoints of steps 6 and 9 were written at 3 and 4, the end was at 5
    assert finish(job).account["seconds"] == 1 + (5 - 2)


@pytest.mark.parametrize(
    ("changes", "differ"),
    [({"learning_rate": 2e-2}, "training"), ({"steps": 13}, "training"), ({}, "images, network")],
)
def test_a_checkpoint_of_another_training_is_refused(images, tmp_path, changes, differ) -> None:
    interrupt(small_job(tmp_path, images), 3)
    before = (tmp_path / CHECKPOINT).read_bytes()
    other = (
        small_job(tmp_path, images, **changes)
        if changes
        else small_job(tmp_path, few_images(30), network_config(widths=(14,)))
    )
    with pytest.raises(
        NetworkError,
        match=rf"belongs to another training \(its {differ} differ\). Repeat its settings to go",
    ):
        finish(other)
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def damages(content: bytes) -> dict[str, bytes]:
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    return {
        "empty": b"",
        "cut": content[: len(content) // 2],
        "cut at the end": content[:-1],
        "altered": bytes(flipped),
        "words": b"this is no checkpoint",
    }


@pytest.mark.parametrize("damage", ["empty", "cut", "cut at the end", "altered", "words"])
def test_a_damaged_checkpoint_is_refused_and_replaced_when_asked(images, tmp_path, damage) -> None:
    job = small_job(tmp_path, images)
    interrupt(job, 3)
    path = tmp_path / CHECKPOINT
    path.write_bytes(damages(path.read_bytes())[damage])
    with pytest.raises(
        NetworkError, match=r"checkpoint.pt cannot be read \(.*\). Give --overwrite to train from"
    ):
        finish(job)
    assert path.exists()
    assert interrupt(job, 2, overwrite=True) == [0, 3]


def test_no_altered_bit_of_a_checkpoint_goes_unnoticed(images, tmp_path) -> None:
    write_checkpoint(tmp_path, {"job": 1}, {"weights": torch.arange(40.0), "losses": [0.5]})
    path = tmp_path / CHECKPOINT
    content = path.read_bytes()
    refused = 0
    for position in range(0, len(content), 13):
        altered = bytearray(content)
        altered[position] ^= 1 << position % 8
        path.write_bytes(altered)
        try:
            found = read_checkpoint(tmp_path, {"job": 1})
        except NetworkError:
            refused += 1
        else:  # it was in the space between the parts
            assert found is not None
            assert found["weights"].equal(torch.arange(40.0))
            assert found["losses"] == [0.5]
    assert refused > 50


def test_another_archive_is_no_checkpoint(tmp_path) -> None:
    with ZipFile(tmp_path / CHECKPOINT, "w") as other:
        other.writestr("letter.txt", "Dear reader")
    with pytest.raises(NetworkError, match="cannot be read"):
        read_checkpoint(tmp_path, {"job": 1})


@pytest.mark.parametrize("num_bytes", [100, 5_000, 20_000])
def test_a_full_disk_keeps_the_last_checkpoint(tmp_path, num_bytes) -> None:
    write_checkpoint(tmp_path, {"job": 1}, {"step": 1})
    with (
        largest_file(num_bytes),
        pytest.raises(
            OutputError, match=r"cannot be written to .* Free some space; the same command goes on"
        ),
    ):
        write_checkpoint(tmp_path, {"job": 1}, {"step": 2, "weights": [torch.zeros(9000)] * 2})
    assert read_checkpoint(tmp_path, {"job": 1}) == {"step": 1}
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [CHECKPOINT]
