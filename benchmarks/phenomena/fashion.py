"""The images that phenomena are measured on, and images that no machine has seen."""

import numpy as np

from patchindex import ImageSet
from patchindex.datasets.cards import load_card
from patchindex.datasets.load import download_files, find_files
from patchindex.datasets.named import read_idx_images
from patchindex.datasets.resize import resize_images

SIDE = 32
TEST_FILES = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")


def training_images(num: int) -> ImageSet:
    """The first training images of Fashion-MNIST, 32 x 32."""
    return ImageSet.load("fashion_mnist", limit=num)


def heldout_images(num: int) -> ImageSet:
    """The first test images, or the last training images where the test split is not at hand."""
    card = load_card("fashion_mnist")
    found = find_files(card) or download_files(card)
    test = tuple(found.paths[0].parent / file for file in TEST_FILES)
    if all(path.is_file() for path in test):
        pixels, labels = read_idx_images(*test, limit=num)
        pixels = resize_images(pixels, (SIDE, SIDE))
        return ImageSet.from_array(pixels, labels, name="fashion_mnist, test split")
    everything = ImageSet.load("fashion_mnist")
    last = np.arange(len(everything))[-num:]
    return ImageSet(
        pixels=everything.pixels[last],
        labels=None if everything.labels is None else everything.labels[last],
        name="fashion_mnist, last images",
    )
