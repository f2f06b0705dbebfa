"""Training interrupted, its checkpoint damaged, the disk full; what the next one makes of it."""

import pickle
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

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
from sampler.training import Stopped, Training, TrainingJob, Watch, train_network
from sampler.training.checkpoint import CHECKPOINT, read_checkpoint, write_checkpoint
from sampler.training.loop import fresh_state, train

CPU = torch.device("cpu")
NEGATIVE = -1.0


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
        train_network(job, device=CPU, watch=Watch(progress=stop), **options)
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
    for call in (1, 2, 7, 7, 7):  # at the start, before the first checkpoint, and after each
        begins.append(interrupt(pieces, call)[0])
    assert begins == [0, 0, 0, 3, 6]
    resumed = finish(pieces)
    assert resumed.losses == uninterrupted.losses
    assert equal_weights(resumed.network.module, uninterrupted.network.module)
    weights = [
        (folder / "network.safetensors").read_bytes() for folder in (whole.folder, pieces.folder)
    ]
    assert weights[0] == weights[1]
    assert replace(resumed.result, seconds=0.0) == replace(uninterrupted.result, seconds=0.0)
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
    monkeypatch.setattr("sampler.training.steps.perf_counter", lambda: float(next(seconds)))
    job = small_job(tmp_path, images, steps=9)
    interrupt(job, 7)  # started at 0; step 3 with its checkpoint was at 3, step 6 at 6
    # started at 7; steps 4 to 9 were at 8 to 13
    assert finish(job).result.seconds == 3 + (13 - 7)


@pytest.mark.parametrize(
    ("changes", "differ"),
    [({"learning_rate": 2e-2}, "training"), ({"steps": 13}, "training"), ({}, "images, network")],
)
def test_a_checkpoint_of_another_training_is_refused(images, tmp_path, changes, differ) -> None:
    interrupt(small_job(tmp_path, images), 7)
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
    interrupt(job, 7)
    path = tmp_path / CHECKPOINT
    path.write_bytes(damages(path.read_bytes())[damage])
    with pytest.raises(
        NetworkError, match=r"checkpoint.pt cannot be read \(.*\). Give --overwrite to train from"
    ):
        finish(job)
    assert path.exists()
    assert interrupt(job, 2, overwrite=True) == [0, 1]


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


class StopAfter:
    """Who lets training do so many steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps + 1  # it is asked once before the first step

    def __call__(self) -> bool:
        self.left -= 1
        return self.left <= 0


def test_stopped_after_every_step_training_loses_none_and_does_none_twice(images, tmp_path) -> None:
    whole, pieces = (
        small_job(tmp_path / name, images, averaging=0.8, steps=7, save_every=4)
        for name in ("whole", "pieces")
    )
    for folder in (whole.folder, pieces.folder):
        folder.mkdir()
    uninterrupted = finish(whole)
    for step in range(1, 7):
        watch = Watch(stopping=StopAfter(1))
        assert train_network(pieces, device=CPU, watch=watch) == Stopped(step=step)
        assert [path.name for path in pieces.folder.glob("checkpoint*")] == [CHECKPOINT]
    # in the last step it is too late to stop: the network is written
    resumed = finish(pieces, watch=Watch(stopping=StopAfter(1)))
    assert resumed.losses == uninterrupted.losses
    assert equal_weights(resumed.network.module, uninterrupted.network.module)


@pytest.mark.parametrize("moved", ["network.safetensors", "loss.png", "network.json"])
def test_cut_short_while_its_result_moves_in_training_leaves_no_checkpoint(
    images, tmp_path, monkeypatch, moved
) -> None:
    job, replace = small_job(tmp_path / "cut", images, save_every=5), Path.replace
    whole = small_job(tmp_path / "whole", images, save_every=5)
    for folder in (whole.folder, job.folder):
        folder.mkdir()
    finish(whole)

    def killed(path: Path, target: Path) -> Path:
        if target == job.folder / moved:
            raise KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            finish(job)
    assert train_network(job, device=CPU) is None
    assert entries(job.folder) == entries(whole.folder)


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def test_stopped_before_the_first_step_nothing_is_kept(images, tmp_path) -> None:
    job = small_job(tmp_path / "out", images)
    job.folder.mkdir()
    watch = Watch(stopping=StopAfter(0))
    assert train_network(job, device=CPU, watch=watch) == Stopped(step=0)
    assert not list(job.folder.iterdir())


def test_stopped_before_another_step_the_checkpoint_stays_as_it_is(images, tmp_path) -> None:
    job = small_job(tmp_path, images)
    assert train_network(job, device=CPU, watch=Watch(stopping=StopAfter(2))) == Stopped(step=2)
    before = (tmp_path / CHECKPOINT).read_bytes()
    assert train_network(job, device=CPU, watch=Watch(stopping=StopAfter(0))) == Stopped(step=2)
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def pickle_plainly(content: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


class CreatesAFile:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.path, "w")


@pytest.mark.parametrize("write", [torch.save, pickle_plainly])
def test_a_pickle_in_a_checkpoint_is_not_run(images, tmp_path, write) -> None:
    job, mark = small_job(tmp_path, images), tmp_path / "ran"
    write({"job": job.key(), "state": CreatesAFile(str(mark))}, tmp_path / CHECKPOINT)
    with pytest.raises(
        NetworkError, match=r"cannot be read \(\w+\). Give --overwrite to train from"
    ):
        finish(job)
    assert not mark.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"losses": None},
        {"losses": ["0.5"]},
        {"losses": [float("nan")]},
        {"module": {}},
        {"optimizer": 3},
        {"seconds": "long"},
        {"metrics": [{"step": 1}]},
    ],
)
def test_a_checkpoint_that_holds_no_state_is_refused(images, tmp_path, change) -> None:
    job = small_job(tmp_path, images)
    state = fresh_state(job.network, job.config, CPU)
    write_checkpoint(tmp_path, job.key(), state.values() | change)
    with pytest.raises(
        NetworkError, match=r"cannot be read \(.*\). Give --overwrite to train from"
    ):
        finish(job)
    assert len(finish(job, overwrite=True).losses) == 12


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("exp_avg", 1e308),
        ("exp_avg", torch.ones(3)),
        ("exp_avg_sq", "x"),
        ("exp_avg_sq", NEGATIVE),
        ("step", torch.tensor(float("nan"))),
        ("step", None),
    ],
)
def test_wild_moments_in_a_checkpoint_are_refused(images, tmp_path, key, value) -> None:
    job = small_job(tmp_path, images)
    state = fresh_state(job.network, job.config, CPU)
    list(train(state, job.images, job.network, job.config, lambda: state.step == 1))
    values = state.values()
    moments = values["optimizer"]["state"][0]
    moments[key] = torch.full_like(moments[key], value) if value is NEGATIVE else value
    write_checkpoint(tmp_path, job.key(), values)
    with pytest.raises(
        NetworkError, match=r"cannot be read \(.*\). Give --overwrite to train from"
    ):
        finish(job)


def test_settings_of_the_optimizer_are_those_of_the_recipe(images, tmp_path) -> None:
    job, other = (small_job(tmp_path / name, images) for name in "ab")
    job.folder.mkdir()
    other.folder.mkdir()
    wanted = finish(job)
    state = fresh_state(other.network, other.config, CPU)
    list(train(state, other.images, other.network, other.config, lambda: True))
    values = state.values()
    values["optimizer"]["param_groups"][0] |= {"eps": "", "betas": None, "weight_decay": 9.0}
    write_checkpoint(other.folder, other.key(), values)
    assert finish(other).losses == wanted.losses


def test_a_compressed_checkpoint_is_refused_before_it_fills_the_memory(images, tmp_path) -> None:
    with ZipFile(tmp_path / CHECKPOINT, "w", compression=ZIP_DEFLATED) as bomb:
        bomb.writestr("archive/data.pkl", bytes(10**6))
    with pytest.raises(NetworkError, match=r"cannot be read \(BadZipFile\)"):
        finish(small_job(tmp_path, images))
