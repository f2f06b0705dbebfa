"""A small run with a trace, made through the command line from real images."""

from pathlib import Path

from click.testing import CliRunner

from cli.sampler import main
from patchindex import ImageSet, IndexConfig, build_index

NUM_IMAGES, SIDE, STEPS, SAMPLES, SEED = 60, 16, 4, 3, 7


def few_images() -> ImageSet:
    return ImageSet.load("sample", limit=NUM_IMAGES, resolution=SIDE)


def traced_run(folder: Path) -> Path:
    """The folder of a run through retrieval, whose tail sums every one of so few images."""
    build_index(few_images(), IndexConfig(scales=(3, 7)), folder / "few.zarr")
    arguments = [
        "run", "--index", folder / "few.zarr", "--steps", STEPS, "--num", SAMPLES, "--trace",
        "--scales", "3,7", "--seed", SEED, "--out", folder / "run",
    ]  # fmt: skip
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return folder / "run"
