"""The images that phenomena are measured on, and images that no machine has seen."""

from dataclasses import replace

from patchindex import ImageSet
from patchindex.datasets import (
    download_files,
    find_files,
    load_card,
    read_idx_images,
    resize_images,
)

SIDE = 32
TEST_FILES = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")


def training_images(dataset: str, num: int) -> ImageSet:
    """The first training images of Fashion-MNIST or of its bundled sample, 32 x 32."""
    return ImageSet.load(dataset, limit=num)


def heldout_images(dataset: str, num: int) -> ImageSet:
    """The first test images, or the last training images where the test split is not at hand."""
    card = load_card(dataset)
    found = find_files(card) or download_files(card)
    test = tuple(found.paths[0].parent / file for file in TEST_FILES)
    if all(path.is_file() for path in test):
        pixels, labels = read_idx_images(*test, limit=num)
        pixels = resize_images(pixels, (SIDE, SIDE))
        return ImageSet.from_array(pixels, labels, name=f"{dataset}, test split")
    everything = ImageSet.load(dataset)
    last_labels = everything.labels
    return replace(
        everything,
        pixels=everything.pixels[-num:],
        labels=None if last_labels is None else last_labels[-num:],
        name=f"{dataset}, last images",
    )
