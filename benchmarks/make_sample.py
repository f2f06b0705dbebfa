"""Remakes `data/sample/fashion_mnist_2000.npz`, the bundled sample of real images.

The first 200 training images of each Fashion-MNIST class, kept in the order of the dataset, so that
the first few are already a mixture of classes. The bytes depend on the dataset and on zlib alone:
NumPy dates the members of an archive 1980-01-01. Run it from the repository:

    python -m benchmarks.make_sample
"""

from pathlib import Path

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from patchindex import ImageSet

NUM_PER_CLASS = 200
OUT = Path(__file__).resolve().parents[1] / "data" / "sample" / "fashion_mnist_2000.npz"


def first_of_each_class(labels: Int[ndarray, " n"], count: int) -> Int[ndarray, " m"]:
    """Positions of the first `count` images of every class, ascending."""
    classes = np.unique(labels)
    return np.sort(np.concatenate([np.flatnonzero(labels == c)[:count] for c in classes]))


def main() -> None:
    images = ImageSet.load("fashion_mnist", resolution="native")
    labels = np.asarray(images.labels)
    kept = first_of_each_class(labels, NUM_PER_CLASS)
    np.savez_compressed(OUT, images=images.pixels[kept], labels=labels[kept].astype(np.uint8))


if __name__ == "__main__":
    main()
