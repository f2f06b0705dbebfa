"""Linear datamodeling score: do our shares predict what networks learn from a random half?

    PATCHINDEX_DATA=DIR python -m benchmarks.attribution.lds --networks 64

A network is trained on each of many random halves of two classes of CIFAR-10; another on all images
makes pictures. An attribution predicts that a network's loss at a picture is the lower, the more of
the picture's attribution its half holds. The score is the Spearman correlation of the two over the
halves, averaged over the pictures. `--repeats` trains some halves again from another seed: what two
such networks agree on is all that any attribution could predict.

Everything is kept in the --work folder, and the same command goes on there after any cut; a higher
--networks adds to it. `--report` measures with the networks that are there. Appends a JSON line
per attribution and noise level to benchmarks/results/attribution_lds.jsonl, with the number of
networks.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from math import sqrt
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray

from benchmarks.attribution.predictors import baselines, image_shares
from benchmarks.attribution.statistics import bootstrap_interval, finite_mean, spearman
from benchmarks.attribution.subsets import (
    Config,
    generate,
    kept_array,
    losses,
    members,
    only,
    trained,
    two_classes,
)
from benchmarks.attribution.work_folder import claim, command_of, without_nan
from benchmarks.record import RESULTS, append_rows, time_and_commit
from patchindex import ImageSet, UserError
from patchindex.environment import library_versions

MODULE = "benchmarks.attribution.lds"
DEFAULTS = Config()
TOLD_EVERY = 8
MEAN = "mean"
RELATIVE = "relative loss"
OUTPUTS = ("loss", RELATIVE)
LEAST_NETWORKS = 3  # a rank correlation has no meaning with fewer


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stage:
    """What all networks are measured with.

    Attributes:
        predictions: of each attribution, over levels or alike for all.
    """

    images: ImageSet
    generated: torch.Tensor
    predictions: Mapping[str, Float[ndarray, "*l g n"]]
    work: Path


def _words(_: click.Context, option: click.Parameter, text: str) -> tuple[Any, ...]:
    """Entries with commas between, of the type that the defaults have."""
    default = getattr(DEFAULTS, option.name or "")
    try:
        return tuple(type(default[0])(word) for word in text.split(",") if word)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no list like {_listed(default)}.") from error


def _listed(values: tuple[Any, ...]) -> str:
    return ",".join(map(str, values))


def _options(command: Any) -> Any:
    """An option for each setting."""
    for name, value in reversed(asdict(DEFAULTS).items()):
        several = isinstance(value, tuple)
        command = click.option(
            f"--{name.replace('_', '-')}",
            default=_listed(value) if several else value,
            callback=_words if several else None,
            show_default=True,
        )(command)
    return command


@click.command()
@_options
@click.option(
    "--work",
    type=click.Path(path_type=Path),
    default=Path("attribution_lds"),
    show_default=True,
    help="Folder that keeps networks, shares and losses; the same command goes on there.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=RESULTS / "attribution_lds.jsonl",
    show_default=True,
    help="File that gets the rows.",
)
@click.option("--report", is_flag=True, help="Train nothing; measure with the networks there are.")
def main(*, work: Path, out: Path, report: bool, **options: Any) -> None:
    """Train the networks that are not there yet, and append the scores of all."""
    config = Config(**options)
    stage = prepare(config, work)
    for number in range(0 if report else config.networks):
        measured(stage, config, number)
        if number < config.repeats:
            measured(stage, config, number, repeat=1)
        if (number + 1) % TOLD_EVERY == 0 and number + 1 < config.networks:
            _tell(score(stage, config, number + 1, [MEAN]))
    rows = list(score(stage, config, config.networks, [MEAN, *config.levels]))
    about = time_and_commit() | {
        "versions": library_versions(),
        "command": command_of(MODULE, config),
        "config": asdict(config),
    }
    append_rows(out, (about | without_nan(row) for row in rows))
    _tell(iter(rows))


def prepare(config: Config, work: Path) -> Stage:
    """Images, the network of all of them, its pictures, and every attribution of these.

    Raises:
        UserError: the folder is of other settings, or the images cannot be had.
    """
    images = two_classes(config)
    job = {key: value for key, value in asdict(config).items() if key not in _MAY_GROW}
    claim(work, job | {"images": images.sha256})
    network = trained(work / "full", images, config)
    made = kept_array(work / "generated.npy", lambda: generate(network, images, config))
    generated = torch.from_numpy(made)
    shares = image_shares(images, generated, config, work)
    predictions = shares | baselines(images, generated, network)
    return Stage(images=images, generated=generated, predictions=predictions, work=work)


_MAY_GROW = ("networks", "repeats")


def measured(stage: Stage, config: Config, number: int, repeat: int = 0) -> Float[ndarray, "g l"]:
    """The losses of a subset's network, which is trained if they are not there."""

    def find() -> Float[ndarray, "g l"]:
        inside = members(number, len(stage.images), config.seed)
        images = only(stage.images, np.flatnonzero(inside))
        network = trained(path.with_suffix(""), images, config, repeat)
        return losses(network.denoiser, stage.generated, config)

    path = losses_file(stage.work, number, repeat)
    return kept_array(path, find)


def losses_file(work: Path, number: int, repeat: int = 0) -> Path:
    """Where a network's losses are kept, beside the folder of the network."""
    return work / f"{'repeat' if repeat else 'subset'}-{number:03}.npy"


def score(
    stage: Stage, config: Config, most: int, levels: Sequence[str | float]
) -> Iterator[dict[str, Any]]:
    """A row for each output, level and attribution, from the networks that are measured.

    Raises:
        UserError: there are too few.
    """
    there = [number for number in range(most) if losses_file(stage.work, number).exists()]
    again = [number for number in there if losses_file(stage.work, number, 1).exists()]
    if len(there) < LEAST_NETWORKS:
        raise UserError(
            f"{stage.work} holds the losses of {len(there)} networks. Give --networks of at least "
            f"{LEAST_NETWORKS}, without --report."
        )
    inside = np.stack([members(number, len(stage.images), config.seed) for number in there])
    found = np.stack([measured(stage, config, number) for number in there])
    repeated = [measured(stage, config, number, 1) for number in again]
    for output, level in product(OUTPUTS, levels):
        outputs = measured_outputs(found, output, level, config)
        about = {"output": output, "t": level, "networks": len(there)}
        if len(again) >= LEAST_NETWORKS:
            first = outputs[[there.index(number) for number in again]]
            second = measured_outputs(np.stack(repeated), output, level, config)
            about |= ceiling(first, second)
        for name, values in stage.predictions.items():
            if values.ndim == 2 and level != MEAN:  # it knows no levels
                continue
            prediction = inside @ _of_level(values, level, config).T
            yield {"attribution": name} | about | linear_score(outputs, prediction)


def measured_outputs(
    found: Float[ndarray, "m g l"], output: str, level: str | float, config: Config
) -> Float[ndarray, "m g"]:
    """What of each network and picture an attribution should predict: higher means learned better.

    Args:
        output: `loss`, with its sign changed; `relative loss` is first divided by the network's
            mean over the pictures, so that it does not count how well the network learned at all.
    """
    if output == RELATIVE:
        found = found / found.mean(1, keepdims=True)
    at = found.mean(-1) if isinstance(level, str) else found[..., config.levels.index(level)]
    outputs: Float[ndarray, "m g"] = -at
    return outputs


def ceiling(first: Float[ndarray, "r g"], second: Float[ndarray, "r g"]) -> dict[str, Any]:
    """How far two networks of the same subset agree, and the score that this allows.

    With independent noise in each, the correlation of one with what is common to both is the
    square root of their correlation.
    """
    agreement = finite_mean(correlations(first, second))
    return {
        "repeats": len(first),
        "agreement": agreement,
        "ceiling": sqrt(max(agreement, 0)),
    }


def _of_level(
    values: Float[ndarray, "*l g n"], level: str | float, config: Config
) -> Float[ndarray, "g n"]:
    """An attribution at a level, or its mean over all; or that which knows no levels."""
    if values.ndim == 2:
        return values
    chosen: Float[ndarray, "g n"] = (
        values.mean(0) if isinstance(level, str) else values[config.levels.index(level)]
    )
    return chosen


def linear_score(
    outputs: Float[ndarray, "m g"], predictions: Float[ndarray, "m g"]
) -> dict[str, Any]:
    """The mean over pictures of the Spearman correlation over networks, with two intervals.

    Returns:
        `lds`; `interval`, over pictures, as is usually published, which takes the networks as
        given; and `interval_networks`, over networks, which all pictures share.
    """
    by_picture = correlations(outputs, predictions)

    def of_pictures(chosen: Int[ndarray, " g"]) -> float:
        return finite_mean(by_picture[chosen])

    def of_networks(chosen: Int[ndarray, " m"]) -> float:
        return finite_mean(correlations(outputs[chosen], predictions[chosen]))

    return {
        "lds": finite_mean(by_picture),
        "interval": bootstrap_interval(of_pictures, outputs.shape[1]),
        "interval_networks": bootstrap_interval(of_networks, len(outputs), draws=200),
    }


def correlations(
    outputs: Float[ndarray, "m g"], predictions: Float[ndarray, "m g"]
) -> Float[ndarray, " g"]:
    """The Spearman correlation over networks for each picture."""
    return np.array([spearman(*pair) for pair in zip(outputs.T, predictions.T, strict=True)])


def _tell(rows: Iterator[dict[str, Any]]) -> None:
    """The scores over all levels."""
    for row in rows:
        if row["t"] == MEAN:
            (low, high), (least, most) = row["interval"], row["interval_networks"]
            most_possible = f", ceiling {row['ceiling']:.2f}" if "ceiling" in row else ""
            click.echo(
                f"{row['networks']} networks, {row['output']}, {row['attribution']}: "
                f"{row['lds']:.3f} "
                f"[{low:.3f}, {high:.3f}] over pictures, [{least:.3f}, {most:.3f}] over "
                f"networks{most_possible}"
            )


if __name__ == "__main__":
    main()
