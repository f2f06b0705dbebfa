"""Does an image's share predict what changes when it is left out?

    python -m benchmarks.attribution.leave_out              # 2,000 garments
    python -m benchmarks.attribution.leave_out --samples 2 --num-images 300 --work work

What changes is summed exactly, so that nothing differs but the image. In one step: the posterior
mean of a state of a run, by noise level. In the whole reverse process: the finished sample, the
image absent from a noise level on, against its mean share in the steps from there. Images of all
sizes of share leave, and as many that have none. What is found is kept sample by sample in the
--work folder, and the same command goes on. Appends a JSON line per measure and level to
benchmarks/results/attribution_leave_out.jsonl.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray

from benchmarks.attribution.removals import (
    choose_images,
    final_change,
    geometry_for,
    remove_one_by_one,
)
from benchmarks.attribution.statistics import bootstrap_interval, finite_mean, spearman
from benchmarks.attribution.work_folder import claim, command_of, read_json, without_nan, write_json
from benchmarks.record import RESULTS, append_rows, time_and_commit
from patchindex import ImageSet, IndexConfig, PatchIndex, build_index
from patchindex.environment import library_versions
from sampler import ELSMachine
from sampler.noise import initial_noise
from sampler.schedule import Step, plan_steps
from sampler.trajectory import follow, in_data_units

MODULE = "benchmarks.attribution.leave_out"
# what the product's search names of a pixel, and all patches of the image
SHARES = ("share", "exact_share")
LISTED = 8  # sources of a pixel; image shares count more than these
Pair = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What is measured.

    Attributes:
        levels: times of the one-step measure.
        starts: times from which an image is absent; 1 is the whole process.
        step_images: named images that leave a state's posterior, and as many others.
        process_images, process_controls: named images that leave a sample's dictionary, and others.
    """

    dataset: str = "fashion_mnist"
    num_images: int = 2000
    samples: int = 12
    steps: int = 10
    scales: tuple[int, ...] = (3, 5, 9, 15)
    levels: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    starts: tuple[float, ...] = (0.2, 0.5, 1.0)
    step_images: int = 8
    process_images: int = 4
    process_controls: int = 2
    seed: int = 0


DEFAULTS = Config()


def _numbers(_: click.Context, __: click.Parameter, text: str) -> tuple[float, ...]:
    """Numbers with commas between."""
    try:
        return tuple(float(word) for word in text.split(",") if word)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no list of numbers. Give e.g. 0.1,0.5.") from error


@click.command()
@click.option("--dataset", default=DEFAULTS.dataset, show_default=True)
@click.option("--num-images", default=DEFAULTS.num_images, show_default=True)
@click.option("--samples", default=DEFAULTS.samples, show_default=True)
@click.option("--steps", default=DEFAULTS.steps, show_default=True)
@click.option("--scales", default=",".join(map(str, DEFAULTS.scales)), callback=_numbers)
@click.option("--levels", default=",".join(map(str, DEFAULTS.levels)), callback=_numbers)
@click.option("--starts", default=",".join(map(str, DEFAULTS.starts)), callback=_numbers)
@click.option("--step-images", default=DEFAULTS.step_images, show_default=True)
@click.option("--process-images", default=DEFAULTS.process_images, show_default=True)
@click.option("--process-controls", default=DEFAULTS.process_controls, show_default=True)
@click.option("--seed", default=DEFAULTS.seed, show_default=True)
@click.option(
    "--work",
    type=click.Path(path_type=Path),
    default=Path("attribution_leave_out"),
    show_default=True,
    help="Folder that keeps the index and what was found; the same command goes on there.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=RESULTS / "attribution_leave_out.jsonl",
    show_default=True,
    help="File that gets the rows.",
)
@click.option("--report", is_flag=True, help="Measure nothing; rows of the samples there are.")
def main(*, work: Path, out: Path, report: bool, scales: tuple[float, ...], **options: Any) -> None:
    """Measure all samples that are not there yet, and append the rows."""
    config = Config(scales=tuple(map(int, scales)), **options)
    index = prepare(config, work)
    for measure in MEASURES:
        samples = measured(measure, index, config, work, report=report)
        pairs = [pair for sample in samples for pair in sample]
        about = time_and_commit() | {
            "versions": library_versions(),
            "command": command_of(MODULE, config),
            "config": asdict(config),
        }
        rows = list(summarize(pairs))  # none where nothing is there
        append_rows(out, (about | without_nan(row) for row in rows))
        for row in rows:
            _tell(row)


def _tell(row: dict[str, Any]) -> None:
    (low, high), named = row["interval"], row["spearman_named"]
    click.echo(
        f"{row['measure']:8} t {row['t']:.2f} {row['by']:11} Spearman {row['spearman']:.3f} "
        f"[{low:.3f}, {high:.3f}], named alone {named:.3f}"
    )


def prepare(config: Config, work: Path) -> PatchIndex:
    """The index of the images, in the folder of this measurement.

    Raises:
        UserError: the folder is of other settings, or the images cannot be had.
    """
    images = ImageSet.load(config.dataset, limit=config.num_images)
    # more samples may follow, of which each depends on its own number alone
    job = {key: value for key, value in asdict(config).items() if key != "samples"}
    claim(work, job | {"images": images.sha256})
    return build_index(images, IndexConfig(scales=config.scales), work / "index")


def measured(
    measure: str, index: PatchIndex, config: Config, work: Path, *, report: bool = False
) -> Iterator[list[Pair]]:
    """The pairs of share and change of each sample, from the folder or anew.

    Args:
        report: only those that the folder holds.
    """
    for number in range(config.samples):
        path = work / f"{measure}-{number:03}.json"
        pairs = read_json(path)
        if pairs is None and report:
            continue
        if pairs is None:
            pairs = list(MEASURES[measure](number, index, config))
            write_json(path, pairs)
        yield pairs


def step_pairs(number: int, index: PatchIndex, config: Config) -> Iterator[Pair]:
    """Share and change of images that leave the posterior of one state of a sample."""
    rng = np.random.default_rng([config.seed, number, 0])
    trajectory = followed(number, index, config)
    for level in config.levels:
        at = nearest_step(trajectory.plan, level)
        step, shares = trajectory.plan[at], trajectory.shares[at]
        y = in_data_units(trajectory.states[at], step.alpha_bar)
        chosen = choose_images(shares, config.step_images, config.step_images, rng).tolist()
        geometry = geometry_for(index.images, step.patch_size or 0)
        removals = remove_one_by_one(index.images, y, step.sigma, geometry, chosen)
        for image, removal in zip(chosen, removals, strict=True):
            yield _pair("step", step, number, image, shares) | asdict(removal)


def process_pairs(number: int, index: PatchIndex, config: Config) -> Iterator[Pair]:
    """Share and change of images that leave the dictionary of a sample, from some step on."""
    images, rng = index.images, np.random.default_rng([config.seed, number, 1])
    trajectory = followed(number, index, config)
    for start in config.starts:
        at = nearest_step(trajectory.plan, start)
        plan, states = trajectory.plan[at:], trajectory.states[at:]
        shares = np.mean(trajectory.shares[at:], axis=0)
        numbers = config.process_images, config.process_controls
        chosen = choose_images(shares, *numbers, rng).tolist()
        exact = exact_shares(images, plan, states, chosen).tolist()
        for image, share in zip(chosen, exact, strict=True):
            change = final_change(images, image, plan, states[0], trajectory.finished)
            pair = _pair("process", plan[0], number, image, shares)
            yield pair | {"exact_share": share, "change": change}


MEASURES = {"step": step_pairs, "process": process_pairs}


def _pair(measure: str, step: Step, sample: int, image: int, shares: Float[ndarray, " n"]) -> Pair:
    return {
        "measure": measure,
        "t": step.t,
        "sigma": step.sigma,
        "patch_size": step.patch_size,
        "sample": sample,
        "image": image,
        "share": float(shares[image]),
    }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Followed:
    """An exact sample: its steps, the state before each, and the named shares of all images there.

    Attributes:
        finished: the sample.
    """

    plan: list[Step]
    states: list[torch.Tensor]
    shares: list[Float[ndarray, " n"]]
    finished: torch.Tensor


def followed(number: int, index: PatchIndex, config: Config) -> Followed:
    """Make a sample by exact sums.

    Shares are those of the product over an index: what its search names of each pixel.
    """
    machine, naming = ELSMachine(index, exact=True), ELSMachine(index)
    noise = initial_noise(number + 1, index.images, config.seed)[number:]
    plan = plan_steps(machine.compared_sizes(machine.scales.patch_sizes), config.steps, "cosine")
    shares, states, finished = [], [], noise
    for done in follow(machine, noise, plan):
        y = in_data_units(done.xt, done.step.alpha_bar)
        shares.append(named_shares(naming, y, done.step))
        states.append(done.xt)
        finished = done.reached
    return Followed(plan=plan, states=states, shares=shares, finished=finished)


def named_shares(
    machine: ELSMachine, y: Float[torch.Tensor, "1 c h w"], step: Step
) -> Float[ndarray, " n"]:
    """The share of every image in the posterior of a state; 0 where it is not named."""
    sources = machine.posterior_of(y, step.sigma, step.patch_size, num_sources=LISTED).sources
    if sources is None:
        raise AssertionError("a machine that was asked for sources names them")
    (shares,) = sources.image_shares.dense(len(machine.images))
    found: Float[ndarray, " n"] = shares.numpy()
    return found


def nearest_step(plan: Sequence[Step], t: float) -> int:
    """Position of the step whose time is nearest."""
    return int(np.argmin([abs(step.t - t) for step in plan]))


def exact_shares(
    images: ImageSet,
    plan: Sequence[Step],
    states: Sequence[torch.Tensor],
    chosen: Sequence[int],
) -> Float[ndarray, " m"]:
    """The mean over steps of each image's exact share."""
    total = np.zeros(len(chosen))
    for step, xt in zip(plan, states, strict=True):
        y = in_data_units(xt, step.alpha_bar)
        geometry = geometry_for(images, step.patch_size or 0)
        found = remove_one_by_one(images, y, step.sigma, geometry, chosen)
        total += [removal.exact_share for removal in found]
    return total / len(plan)


def summarize(pairs: Sequence[Pair]) -> Iterator[dict[str, Any]]:
    """A row for each measure, level and kind of share: rank correlation with its interval."""
    keys = sorted({(pair["measure"], pair["t"]) for pair in pairs}, reverse=True)
    for measure, t in keys:
        mine = [pair for pair in pairs if (pair["measure"], pair["t"]) == (measure, t)]
        samples = sorted({pair["sample"] for pair in mine})
        by_sample = [[pair for pair in mine if pair["sample"] == number] for number in samples]
        named = [[pair for pair in group if pair["share"] > 0] for group in by_sample]
        for by in SHARES:
            statistic = partial(correlation, by_sample, by)
            alone = partial(correlation, named, by)
            everything = np.arange(len(samples))
            yield {
                "measure": measure,
                "t": t,
                "sigma": mine[0]["sigma"],
                "patch_size": mine[0]["patch_size"],
                "by": by,
                "samples": len(samples),
                "pairs": len(mine),
                "named_pairs": sum(map(len, named)),
                "spearman": statistic(everything),
                "interval": bootstrap_interval(statistic, len(samples)),
                "spearman_named": alone(everything),
                "interval_named": bootstrap_interval(alone, len(samples)),
                "spearman_within": within(by_sample, by),
                "median_change": _median(pair["change"] for group in named for pair in group),
                "median_change_control": _median(
                    pair["change"] for pair in mine if pair["share"] == 0
                ),
            }


def correlation(
    by_sample: Sequence[Sequence[Pair]], by: str, chosen: Int[ndarray, " num"]
) -> float:
    """Spearman of share and change over all pairs of these samples."""
    pairs = [pair for number in chosen.tolist() for pair in by_sample[number]]
    return spearman(_values(pairs, by), _values(pairs, "change"))


def within(by_sample: Sequence[Sequence[Pair]], by: str) -> float:
    """Mean over samples of the Spearman correlation among a sample's own images."""
    found = [spearman(_values(pairs, by), _values(pairs, "change")) for pairs in by_sample]
    return finite_mean(np.array(found))


def _values(pairs: Sequence[Pair], key: str) -> Float[ndarray, " m"]:
    return np.array([pair[key] for pair in pairs], dtype=np.float64)


def _median(values: Any) -> float | None:
    found = list(values)
    return float(np.median(found)) if found else None


if __name__ == "__main__":
    main()
