"""The paper's table of networks beside the theory, a row at a time, on this machine.

    python -m benchmarks.table                          # what rows there are, and how far each is
    python -m benchmarks.table mnist_unet_zeros ...     # train, calibrate, index, compare, record
    python -m benchmarks.table all

Each row trains a network of its kind for about half an hour on two cores, finds its scales, and
compares 32 samples: of a class exactly, of all images from an index with these scales, which is
sooner. Every stage leaves a folder in --work, and one that is there is not done again: the same
command goes on after an interruption.
Rows end up in results/comparison.jsonl, which `benchmarks.comparison` prints.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import yaml

from benchmarks.comparison import result_row
from benchmarks.record import RESULTS, append_rows

SAMPLES, CALIBRATED = 32, 8
MANY = "3,5,7,9,11,13,15,17"
RESNET, UNET = MANY, MANY + ",19,21,23,25,27"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A network of the paper's table 1, as this machine can train it.

    Attributes:
        options: of the images, besides their name.
        conditional: it is told classes.
        calibrated_on: so many of the training images, which are summed exactly for that.
    """

    dataset: str
    architecture: str
    padding: str = "zeros"
    options: tuple[str, ...] = ()
    conditional: bool = False
    calibrated_on: int = 2500

    @property
    def candidates(self) -> str:
        """Patch sizes that its calibration chooses from."""
        return RESNET if self.architecture == "resnet" else UNET


# the paper's images are whole faces, resized to a square
WHOLE = ("--crop", "none")
ROWS = {
    "mnist_resnet_zeros": Row(dataset="mnist", architecture="resnet"),
    "mnist_resnet_circular": Row(dataset="mnist", architecture="resnet", padding="circular"),
    "mnist_unet_zeros": Row(dataset="mnist", architecture="unet"),
    "cifar10_resnet_zeros": Row(dataset="cifar10", architecture="resnet", conditional=True),
    "cifar10_resnet_circular": Row(
        dataset="cifar10", architecture="resnet", padding="circular", conditional=True
    ),
    "cifar10_unet_zeros": Row(dataset="cifar10", architecture="unet", conditional=True),
    "cifar10_unet_attention_zeros": Row(
        dataset="cifar10", architecture="unet_attention", conditional=True
    ),
    "fashion_mnist_resnet_zeros": Row(
        dataset="fashion_mnist", architecture="resnet", conditional=True
    ),
    "fashion_mnist_unet_zeros": Row(dataset="fashion_mnist", architecture="unet", conditional=True),
    "celeba_resnet_zeros": Row(dataset="celeba", architecture="resnet", options=WHOLE),
    "celeba_unet_zeros": Row(dataset="celeba", architecture="unet", options=WHOLE),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The stages of a row, and the folders that they leave."""

    name: str
    row: Row
    root: Path
    num: int
    train_steps: int | None = None

    def stages(self) -> Iterator[tuple[str, Path, Callable[[], list[str]]]]:
        """Name of each stage, what is there when it is done, and the command that does it.

        The command is made when its turn comes: what is compared depends on what was calibrated.
        """
        row, network = self.row, self.root / "network"
        images = ["--dataset", row.dataset, *row.options]
        yield "train", network / "network.safetensors", lambda: [
            "sampler", "train", *images, "--architecture", row.architecture,
            "--padding", row.padding,
            *(["--conditional"] if row.conditional else []), "--half", "--out", str(network),
            *(["--gradient-steps", str(self.train_steps)] if self.train_steps else []),
        ]  # fmt: skip
        calibration = self.root / "calibration"
        yield "calibrate", calibration / "calibrate.json", lambda: [
            "sampler", "calibrate", "--network", str(network), *images,
            "--limit", str(row.calibrated_on), "--num", str(CALIBRATED),
            "--candidates", row.candidates, "--out", str(calibration),
        ]  # fmt: skip
        scales, index = calibration / "scales.yaml", self.root / "index.zarr"
        # the images of one class are summed before all of them could be put into an index
        if not row.conditional:
            yield "build", index, lambda: [
                "patchindex", "build", *images, "--boundary", row.padding,
                "--scales", ",".join(map(str, sizes_in(scales))), "--out", str(index),
            ]  # fmt: skip
        compared_with = images if row.conditional else ["--index", str(index)]
        comparison = self.root / "comparison"
        yield "compare", comparison / "compare.json", lambda: [
            "sampler", "compare", "--network", str(network), *compared_with,
            "--scales", str(scales), "--num", str(self.num), "--out", str(comparison),
        ]  # fmt: skip


def sizes_in(scales: Path) -> list[int]:
    """The patch sizes of a file of scales by time, each once."""
    by_time = yaml.safe_load(scales.read_text())
    return sorted({size for time, size in by_time.items() if isinstance(time, float | int)})


@click.command()
@click.argument("names", nargs=-1)
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/table"),
              show_default=True)  # fmt: skip
@click.option("--num", type=int, default=SAMPLES, show_default=True, help="Samples of a row.")
@click.option("--train-steps", type=int, help="[default: the recipe's]")
@click.option(
    "--out", type=click.Path(path_type=Path), default=RESULTS / "comparison.jsonl",
    show_default=True,
)  # fmt: skip
def main(
    *, names: tuple[str, ...], work: Path, num: int, train_steps: int | None, out: Path
) -> None:
    """Make rows of the table, or say which there are."""
    unknown = set(names) - {*ROWS, "all"}
    if unknown:
        raise click.ClickException(
            f"there is no row {', '.join(sorted(unknown))}. Give one of {', '.join(ROWS)}, or all."
        )
    for name, row in ROWS.items():
        stages = Work(name=name, row=row, root=work / name, num=num, train_steps=train_steps)
        if name in names or "all" in names:
            carry_out(stages, out)
        elif not names:
            done = [stage for stage, left, _ in stages.stages() if left.exists()]
            print(f"{name:32} {', '.join(done) or 'nothing yet'}")


def carry_out(work: Work, out: Path) -> None:
    """Do what is lacking of a row, and record it once."""
    for stage, left, command in work.stages():
        if left.exists():
            continue
        print(f"{work.name}: {stage}", flush=True)
        program, *arguments = command()
        call = f"from cli.{program} import main; main()"
        subprocess.run(  # noqa: S603 - our own command lines
            [sys.executable, "-c", call, *arguments], check=True
        )
    recorded = work.root / "recorded.json"
    if not recorded.exists():
        found = result_row(work.root / "comparison")
        append_rows(out, [found])
        recorded.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
