"""The lines of training: all there once, whatever interrupted it, and readable meanwhile."""

import json
from pathlib import Path

import pytest
import torch
from small_networks import InterruptAt, few_images, small_job

from patchindex import ImageSet
from sampler.errors import OutputError
from sampler.training import TrainingJob, Watch, train_network
from sampler.training.loop import METRICS, Metric, append_metric, write_metrics

CPU = torch.device("cpu")
ONE = Metric(step=50, loss=0.5, learning_rate=1e-3, seconds=1.5)


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return few_images()


def long_job(folder: Path, images: ImageSet) -> TrainingJob:
    return small_job(folder, images, steps=120, save_every=30, batch_size=2)


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]


def test_a_line_tells_step_loss_rate_and_seconds(images, tmp_path) -> None:
    told: list[Metric] = []
    readable: list[list[dict[str, float]]] = []

    def report(metric: Metric) -> None:
        told.append(metric)
        readable.append(lines(tmp_path))

    job = long_job(tmp_path, images)
    training = train_network(job, device=CPU, watch=Watch(report=report))
    assert training is not None
    assert [metric.step for metric in told] == [50, 100, 120]
    parts = (training.losses[:50], training.losses[50:100], training.losses[100:])
    for metric, part in zip(told, parts, strict=True):
        assert metric.loss == pytest.approx(sum(part) / len(part))
        assert metric.learning_rate == job.config.rate_at(metric.step - 1)
    assert 0 < told[0].seconds < told[1].seconds < told[2].seconds
    # while training goes on, each line is there when it is told
    assert [len(found) for found in readable] == [1, 2, 3]
    assert lines(tmp_path) == readable[-1] == [json.loads(metric.line()) for metric in told]


@pytest.mark.slow
def test_no_line_is_missing_or_doubled_after_interruptions(images, tmp_path) -> None:
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    for folder in (whole, pieces):
        folder.mkdir()
    train_network(long_job(whole, images), device=CPU)
    # the line of step 50 is written after the checkpoint of step 30, that of 100 after that of 90
    for call in (55, 75, 15):
        with pytest.raises(KeyboardInterrupt):
            train_network(
                long_job(pieces, images), device=CPU, watch=Watch(progress=InterruptAt(call))
            )
    assert [line["step"] for line in lines(pieces)] == [50, 100]
    with (pieces / METRICS).open("a") as file:
        file.write('{"step": 110, "lo')  # cut short
    train_network(long_job(pieces, images), device=CPU)
    timeless = [[{**line, "seconds": 0} for line in lines(folder)] for folder in (pieces, whole)]
    assert timeless[0] == timeless[1]
    seconds = [line["seconds"] for line in lines(pieces)]
    assert seconds == sorted(seconds)


def test_lines_after_the_last_checkpoint_are_taken_back(images, tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_network(long_job(tmp_path, images), device=CPU, watch=Watch(progress=InterruptAt(55)))
    assert len(lines(tmp_path)) == 1
    with pytest.raises(KeyboardInterrupt):
        train_network(long_job(tmp_path, images), device=CPU, watch=Watch(progress=InterruptAt(2)))
    assert lines(tmp_path) == []


def test_lines_that_cannot_be_written_are_told(tmp_path) -> None:
    message = r"metrics.jsonl cannot be written to .*gone \(No such file.*\). Free some space; the"
    with pytest.raises(OutputError, match=message):
        append_metric(ONE, tmp_path / "gone")
    with pytest.raises(OutputError, match=message):
        write_metrics([ONE], tmp_path / "gone")
