"""Images from files: named datasets by their cards, folders of images, and archives."""

from patchindex.datasets.cards import DatasetCard, card_names, load_card
from patchindex.datasets.load import load_images

__all__ = ["DatasetCard", "card_names", "load_card", "load_images"]
