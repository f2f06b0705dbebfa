"""Scores computed by the authors' implementation, kept beside the repository and not in it."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray

FOLDER = Path(__file__).parents[3] / "shared" / "reference"
DATASETS = ("fashion_mnist_32", "cifar10_32")
MACHINES = {  # the authors' name: (machine, boundary)
    "IS": ("IS", "zeros"),
    "LS": ("LS", "zeros"),
    "ELS": ("ELS", "circular_interior"),
    "bbELS": ("ELS", "zeros"),
}

needs_published = pytest.mark.skipif(
    not all((FOLDER / f"{name}.npz").is_file() for name in DATASETS),
    reason=f"the authors' scores are not in {FOLDER}; they are not part of the repository",
)


@dataclass(frozen=True)
class PublishedCase:
    """One state and its score as the authors' code computes it."""

    dataset: str
    images: ndarray
    xt: ndarray
    score: ndarray
    machine: str
    boundary: str
    patch_size: int
    alpha_bar: float

    def relative_error(self, score: ndarray, pixels: tuple[ndarray, ...] = ()) -> float:
        """The largest difference, in units of the largest score."""
        difference = score - self.score[(slice(None), *pixels)]
        return float(np.abs(difference).max() / np.abs(self.score).max())


@cache
def load(dataset: str) -> dict[str, ndarray]:
    """The arrays of one file."""
    with np.load(FOLDER / f"{dataset}.npz") as file:
        return dict(file)


def published_case(dataset: str, number: int) -> PublishedCase:
    """Case `number` of 16."""
    arrays = load(dataset)
    case = json.loads(str(arrays["cases"]))[number]
    machine, boundary = MACHINES[case["machine"]]
    return PublishedCase(
        dataset=dataset,
        images=arrays["images"],
        xt=arrays[f"x_{number}"],
        score=arrays[f"score_{number}"],
        machine=machine,
        boundary=boundary,
        patch_size=case["patch_size"],
        alpha_bar=case["alpha_bar"],
    )
