from .cards import DatasetCard, card_names, load_card
from .decode import decode_image
from .hugging_face import is_hugging_face, load_hugging_face
from .in_memory import ValueRange, load_given, load_map
from .load import checked_limit, download_files, find_files, load_images
from .named import read_idx_images
from .resize import parse_crop, parse_resolution, resize_images

__all__ = [
    "DatasetCard",
    "ValueRange",
    "card_names",
    "checked_limit",
    "decode_image",
    "download_files",
    "find_files",
    "is_hugging_face",
    "load_card",
    "load_given",
    "load_hugging_face",
    "load_images",
    "load_map",
    "parse_crop",
    "parse_resolution",
    "read_idx_images",
    "resize_images",
]
