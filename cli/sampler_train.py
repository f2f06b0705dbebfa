"""`sampler train`: a network of the paper's kinds, trained on the images that machines average."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from cli.console import SteppedProgress, echo_beside_bars, noted_signals, progress_bars
from cli.devices import open_device
from cli.options import IMAGE_SETTINGS
from cli.training_set import load_images
from patchindex.loaded import set_threads
from sampler.networks import WEIGHTS
from sampler.training import (
    Metric,
    MetricCallback,
    Stopped,
    TrainingJob,
    Watch,
    network_for,
    recipe,
    train_network,
)

SIGNALLED = 128  # plus the signal's number: how shells tell that a signal ended a command


def train(
    *,
    device: str,
    threads: int | None,
    half: bool,
    out: Path | None,
    overwrite: bool,
    **settings: Any,
) -> dict[str, Any]:
    """Train; leaves network.safetensors, network.json, loss.png and metrics.jsonl."""
    if threads is not None:
        set_threads(threads)
    place = open_device(device).place
    job = make_job(settings, out)
    with noted_signals() as signals, progress_bars() as progress:
        watch = Watch(
            progress=progress,
            report=loss_report(progress, job.config.steps),
            stopping=lambda: bool(signals),
        )
        done = train_network(job, device=place, half=half, overwrite=overwrite, watch=watch)
    if isinstance(done, Stopped):
        tell_stop(done, job)
        click.get_current_context().exit(SIGNALLED + signals[0])
    if done is not None:
        result = done.result
        click.echo(
            f"{result.parameters:,} parameters, receptive field "
            f"{'x'.join(map(str, result.receptive_field))}, loss {result.final_loss:.4f}, "
            f"{result.seconds:.0f} s"
        )
    weights = job.folder / WEIGHTS
    click.echo(weights)
    told: dict[str, Any] = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))
    return told


def loss_report(progress: SteppedProgress, steps: int) -> MetricCallback:
    """Shows losses on the bar or, where output goes elsewhere, as lines on stdout."""
    watched = sys.stdout.isatty() and sys.stderr.isatty()

    def tell(metric: Metric) -> None:
        progress.note(f"loss {metric.loss:.4f}")
        if not watched:
            echo_beside_bars(
                f"step {metric.step} of {steps}: loss {metric.loss:.4f}, "
                f"learning rate {metric.learning_rate:.3g}, {metric.seconds:.0f} s"
            )

    return tell


def tell_stop(stopped: Stopped, job: TrainingJob) -> None:
    """Say what a signal has left."""
    click.echo(
        f"Stopped after step {stopped.step} of {job.config.steps}; checkpoint saved in "
        f"{job.folder}; the same command goes on from there."
        if stopped.step
        else "Stopped before the first step: nothing was trained yet, and nothing is kept.",
        err=True,
    )


def make_job(settings: dict[str, Any], out: Path | None) -> TrainingJob:
    """Images, network and recipe as the options say; what is None keeps the recipe's default."""
    source = settings.pop("dataset")
    which = {name: settings.pop(name) for name in IMAGE_SETTINGS}
    architecture, preset, padding = (
        settings.pop(key) for key in ("architecture", "preset", "padding")
    )
    images = load_images(source, **which)
    network = network_for(
        images, architecture, preset, padding, conditional=settings.pop("conditional")
    )
    changes = {name: value for name, value in settings.items() if value is not None}
    name = f"{Path(images.name).stem}-{architecture}-{padding}-{preset}"
    return TrainingJob(
        images=images,
        network=network,
        config=recipe(preset, len(images), **changes),
        folder=out or Path("runs", name),
    )
