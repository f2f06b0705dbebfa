"""`sampler run`: images from noise, by machines over an index or over a whole dataset."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from cli.cluster import with_crew
from cli.config_file import resolved_config, was_given
from cli.console import echo_beside_bars, resumable, watched_bar
from cli.devices import with_device
from cli.given import device_given, index_given, sigmas_given
from cli.options import IMAGE_SETTINGS
from cli.training_set import open_training_set
from patchindex.crew import Crew
from patchindex.device import Device
from patchindex.loaded import set_threads
from sampler.results.checkpoint import Checkpoint
from sampler.results.output import reserve_output
from sampler.results.rest_result import share_text
from sampler.results.run_result import RUN_FILE, RunResult, SamplerConfig, TraceResult
from sampler.results.tables import RUN_HEADER, format_methods, run_row
from sampler.results.trace import TRACE
from sampler.results.write import write_run
from sampler.run import RunPlan, carry_out, exact_where_no_slower, job_of, plan_run

MOST_TOLD = 4  # samples whose weight is told on the terminal
RESUME_HINT = "Interrupted. The steps that are done are kept; the same command goes on."


@with_crew
@with_device
def run(
    *,
    index_path: Path | None,
    dataset: str | None,
    retrieve: bool,
    trace: bool,
    device: Device,
    crew: Crew,
    threads: int | None,
    out: Path | None,
    overwrite: bool,
    **settings: Any,
) -> RunResult:
    """Write samples.npy, samples.png and run.json into a folder, and on request trace.zarr."""
    which = {name: settings.pop(name) for name in IMAGE_SETTINGS}
    singly = settings.pop("png")
    config = SamplerConfig(**settings | {"sigmas": sigmas_given(settings["sigmas"])})
    if threads is not None:
        set_threads(threads)
    training_set = open_training_set(index_path, dataset, **which, device=device, crew=crew)
    plan = plan_run(training_set, config, device=device.place)
    if not (retrieve or _sets_retrieval()):
        plan = exact_where_no_slower(plan)
        if plan.config.exact and not config.exact:
            images = f"{len(plan.machine.images):,} images"
            click.echo(f"every patch is summed, which is no slower for {images}; see --retrieve")
    name = Path(plan.machine.images.name).stem
    folder = out or Path("runs", f"{name}-{config.machine}-{config.seed}")
    with reserve_output(folder, overwrite=overwrite), resumable(RESUME_HINT):
        checkpoint = Checkpoint(folder, job_of(plan, traced=trace))
        click.echo(RUN_HEADER)
        with watched_bar("sampling", config.steps, crew=crew):
            finished = carry_out(
                plan,
                on_step=lambda report: echo_beside_bars(run_row(report)),
                trace_path=checkpoint.trace if trace else None,
                checkpoint=checkpoint,
            )
        result = finished.result
        write_run(
            result, finished.samples, folder, finished.trace_path, plan.machine.images,
            options=resolved_options(plan, result), singly=singly,
        )  # fmt: skip
    if config.tolerance is not None:
        click.echo(format_methods(result.steps, config.tolerance))
    if result.trace is not None:
        for line in format_trace(result.trace, folder):
            click.echo(line)
    click.echo(f"{result.config.num} samples in {result.seconds:.1f} s: {folder / 'samples.png'}")
    return result


def _sets_retrieval() -> bool:
    """Whether a setting of retrieval was given."""
    context = click.get_current_context()
    names = ("k", "tail", "nprobe", "parts", "tolerance", "strict_scales")
    return any(was_given(context, name) for name in names)


def resolved_options(plan: RunPlan, result: RunResult) -> str:
    """The options that make the same run again, whatever is the newest or the fastest then."""
    index = result.source.index
    return resolved_config(
        index_path=index_given(index),
        exact=plan.config.exact,
        retrieve=result.is_retrieved,
        boundary=None if index else result.config.boundary,
        parts=result.config.parts,
        device=device_given(plan.noise.device),
    )


def format_trace(trace: TraceResult, folder: Path) -> Iterator[str]:
    """Where the weight of each sample is, in a line, and the size of the trace."""
    for number, sample in enumerate(trace.attribution[:MOST_TOLD]):
        listed = share_text(sample.heaviest_share)
        yield (
            f"sample {number}: {len(sample.images)} images listed, with {listed}. "
            f"{sample.sentence(complete=trace.complete)}"
        )
    if len(trace.attribution) > MOST_TOLD:
        yield f"the other samples: {folder / RUN_FILE}"
    yield f"shares are averaged over the steps; {trace.bytes / 1e6:.1f} MB: {folder / TRACE}"
