"""Where the files of a named dataset are: on this machine, or else downloaded to it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torchvision import datasets

from patchindex.datasets.cards import DatasetCard
from patchindex.errors import DatasetError
from patchindex.home import data_folders, datasets_dir
from patchindex.resources import data_file

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFiles:
    """The files of a dataset in the order its reader takes them."""

    paths: tuple[Path, ...]
    is_substitute: bool = False


def find_files(card: DatasetCard) -> FoundFiles | None:
    """The dataset's files if they are on this machine, else its substitute's, else None.

    The real training set in any place comes before a substitute.
    """
    if card.loader == "bundled":
        return FoundFiles(paths=tuple(data_file(*file.split("/")) for file in card.files))
    for folder in searched_folders(card):
        if paths := present(folder, card.files):
            return FoundFiles(paths=paths)
    for folder in data_folders():
        if paths := present(folder, card.substitute):
            return FoundFiles(paths=paths, is_substitute=True)
    return None


def searched_folders(card: DatasetCard) -> tuple[Path, ...]:
    """The folders that may hold the dataset's files, in the order they are looked into."""
    own = [folder / part for folder in data_folders() for part in card_folders(card)]
    system = [Path(folder) for folder in card.locations]
    return (*own, *system, datasets_dir() / card.torchvision_folder)


def card_folders(card: DatasetCard) -> tuple[str, ...]:
    """Our name for the dataset's folder and torchvision's, which may be one."""
    return tuple(dict.fromkeys((card.folder, card.torchvision_folder)))


def present(folder: Path, files: Sequence[str]) -> tuple[Path, ...]:
    """The paths of the files, unpacked ones where `.gz` is missing; empty unless all exist."""
    either = [(folder / file, folder / file.removesuffix(".gz")) for file in files]
    paths = [next((path for path in pair if path.exists()), None) for pair in either]
    found = tuple(path for path in paths if path is not None)
    return found if len(found) == len(files) else ()


def download_files(card: DatasetCard) -> FoundFiles:
    """The dataset's files after torchvision has downloaded them into the home folder.

    Raises:
        DatasetError: the download failed; says where else the files were looked for, and where to
            put them by hand.
    """
    root = datasets_dir()
    logger.info("downloading %s into %s", card.name, root)
    try:
        root.mkdir(parents=True, exist_ok=True)
        fetch(card.name, root)
    except Exception as error:  # each downloader has its own classes; all mean that it failed
        reason = " ".join(str(error).split())  # torchvision's own has several lines
        raise absent(card, f"{type(error).__name__}: {reason}") from error
    found = find_files(card)
    if found is None:
        raise absent(card, "it did not bring the files it should")
    return found


def absent(card: DatasetCard, reason: str) -> DatasetError:
    """The error for a dataset that is nowhere: where we looked, and what helps."""
    by_hand = datasets_dir() / card.torchvision_folder
    return DatasetError(
        f"{card.name} is not on this machine, and its download failed ({reason}). "
        f"Looked in {', '.join(str(folder) for folder in searched_folders(card))}. "
        f"Put {', '.join(card.files)} into {by_hand} by hand, or into the folder {card.folder} "
        "of a folder that the environment variable PATCHINDEX_DATA names."
    )


def fetch(name: str, root: Path) -> None:
    """Let torchvision download a dataset into `root`, and check what it got."""
    match name:
        case "mnist":
            datasets.MNIST(root, train=True, download=True)
        case "fashion_mnist":
            datasets.FashionMNIST(root, train=True, download=True)
        case "cifar10":
            datasets.CIFAR10(root, train=True, download=True)
        case "celeba":
            datasets.CelebA(root, split="train", download=True)
        case _:
            raise LookupError("torchvision does not know it")
