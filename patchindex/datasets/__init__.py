"""Images from files: those named by a card in data/datasets/, folders, and archives."""

from patchindex.datasets.cards import DatasetCard, card_names, load_card
from patchindex.datasets.files import decode_image
from patchindex.datasets.load import download_files, find_files, load_images
from patchindex.datasets.named import read_idx_images
from patchindex.datasets.resize import resize_images

__all__ = [
    "DatasetCard",
    "card_names",
    "decode_image",
    "download_files",
    "find_files",
    "load_card",
    "load_images",
    "read_idx_images",
    "resize_images",
]
