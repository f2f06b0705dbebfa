"""Remakes `data/sample/fashion_mnist_2000.npz`, the bundled sample of real images.

The first 200 training images of each Fashion-MNIST class, kept in the order of the dataset, so that
the first few are already a mixture of classes. The bytes depend on the dataset and on zlib alone:
NumPy dates the members of an archive 1980-01-01. Run it from the repository:

    python -m benchmarks.make_sample
"""

from pathlib import Path

import click
import numpy as np
from jaxtyping import Int
from numpy import ndarray

from patchindex import ImageSet

OUT = Path(__file__).resolve().parents[1] / "data" / "sample" / "fashion_mnist_2000.npz"


@click.command()
@click.option("--dataset", default="fashion_mnist", show_default=True)
@click.option("--per-class", default=200, show_default=True, help="Images of each class.")
@click.option("--out", type=click.Path(path_type=Path), default=OUT, show_default=True)
def main(*, dataset: str, per_class: int, out: Path) -> None:
    images = ImageSet.load(dataset, resolution="native")
    labels = np.asarray(images.labels)
    kept = first_of_each_class(labels, per_class)
    np.savez_compressed(out, images=images.pixels[kept], labels=labels[kept].astype(np.uint8))


def first_of_each_class(labels: Int[ndarray, " n"], count: int) -> Int[ndarray, " m"]:
    """Positions of the first `count` images of every class, ascending."""
    classes = np.unique(labels)
    return np.sort(np.concatenate([np.flatnonzero(labels == c)[:count] for c in classes]))


if __name__ == "__main__":
    main()
