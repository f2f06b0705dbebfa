"""Pictures that were attributed through the command line, over a small index of real images."""

from pathlib import Path

import numpy as np
from click.testing import CliRunner, Result
from PIL import Image
from traced_run import few_images

from cli.sampler import main
from patchindex import IndexConfig, build_index

LEVELS = (1.6, 0.4, 0.05)
TRAINING, LEFT, RIGHT = 21, 8, 3  # what the pictures are made of
HELD_OUT = 24


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def small_index(folder: Path) -> Path:
    path = folder / "few.zarr"
    build_index(few_images(), IndexConfig(scales=(3, 7)), path)
    return path


def picture_files(folder: Path) -> list[Path]:
    """A training image, and the halves of two side by side."""
    pixels = few_images().pixels[:, 0]
    mosaic = pixels[LEFT].copy()
    mosaic[:, 8:] = pixels[RIGHT][:, 8:]
    files = [folder / "copy.png", folder / "mosaic.png"]
    for file, picture in zip(files, (pixels[TRAINING], mosaic), strict=True):
        Image.fromarray(np.ascontiguousarray(picture)).save(file)
    return files


def answered(folder: Path, *, exact: bool = False) -> Path:
    """The folder of an answer for both pictures."""
    images = [part for file in picture_files(folder) for part in ("--image", file)]
    levels = ",".join(map(str, LEVELS))
    result = invoke(
        "explain", *images, "--index", small_index(folder), "--sigmas", levels, "--draws", 2,
        "--held-out-images", HELD_OUT, "--out", folder / "answer", *(["--exact"] if exact else []),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return folder / "answer"
