"""Load images from their source: a dataset's name, or a path or name after a kind and a colon."""

import difflib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jaxtyping import Int, UInt8
from numpy import ndarray

from patchindex.choices import Crop
from patchindex.datasets.cards import DatasetCard, card_names, load_card
from patchindex.datasets.celeba import read_celeba
from patchindex.datasets.files import load_image_folder
from patchindex.datasets.hugging_face import load_hub
from patchindex.datasets.named import (
    read_cifar_batches,
    read_cifar_zip,
    read_idx_images,
)
from patchindex.datasets.npz import read_npz
from patchindex.datasets.parquet import PARQUET_SUFFIXES, load_parquet
from patchindex.datasets.resize import (
    Size,
    parse_crop,
    parse_resolution,
    report_shapes,
    resize_images,
)
from patchindex.datasets.shards import shard_files
from patchindex.datasets.webdataset import TAR_SUFFIXES, load_webdataset
from patchindex.errors import DatasetError
from patchindex.image_arrays import LoadedImages
from patchindex.paths import data_file, data_folders, datasets_dir

logger = logging.getLogger(__name__)

# sources of several files, with their reader and the endings of their files
SHARDED = {
    "parquet": (load_parquet, PARQUET_SUFFIXES),
    "webdataset": (load_webdataset, TAR_SUFFIXES),
}
SOURCES = ("folder", "npz", *SHARDED, "hf")


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
    for folder in _searched_folders(card):
        if paths := _present(folder, card.files):
            return FoundFiles(paths=paths)
    for folder in data_folders():
        if paths := _present(folder, card.substitute):
            return FoundFiles(paths=paths, is_substitute=True)
    return None


def _searched_folders(card: DatasetCard) -> tuple[Path, ...]:
    """The folders that may hold the dataset's files, in the order they are looked into."""
    own = [folder / part for folder in data_folders() for part in _card_folders(card)]
    system = [Path(folder) for folder in card.locations]
    return (*own, *system, datasets_dir() / card.torchvision_folder)


def _card_folders(card: DatasetCard) -> tuple[str, ...]:
    """Our name for the dataset's folder and torchvision's, which may be one."""
    return tuple(dict.fromkeys((card.folder, card.torchvision_folder)))


def _present(folder: Path, files: Sequence[str]) -> tuple[Path, ...]:
    """The paths of the files, unpacked ones where `.gz` is missing; empty unless all exist."""
    either = [(folder / file, folder / file.removesuffix(".gz")) for file in files]
    paths = [next((path for path in pair if path.exists()), None) for pair in either]
    found = tuple(path for path in paths if path is not None)
    return found if len(found) == len(files) else ()


def download_files(card: DatasetCard) -> FoundFiles:
    """The dataset's files after torchvision has downloaded them into the home folder.

    Raises:
        DatasetError: a folder of the user's own holds some of them, or the download failed; says
            what is missing, where the files were looked for, and where to put them by hand.
    """
    for folder in data_folders():  # torchvision would put all into the home folder, gigabytes even
        for part in _card_folders(card):
            if lack := _incomplete(folder / part, card):
                raise DatasetError(f"{card.name} is incomplete: {lack}. {_by_hand(card)}")
    root = datasets_dir()
    logger.info("downloading %s into %s (licence: %s)", card.name, root, card.licence)
    try:
        root.mkdir(parents=True, exist_ok=True)
        _fetch(card.name, root)
    except Exception as error:  # each downloader has its own classes; all mean that it failed
        reason = " ".join(str(error).split())  # torchvision's own has several lines
        raise _absent(card, f"{type(error).__name__}: {reason}") from error
    found = find_files(card)
    if found is None:
        raise _absent(card, "it did not bring the files it should")
    return found


def _absent(card: DatasetCard, reason: str) -> DatasetError:
    """The error for a dataset that is nowhere: where we looked, and what helps."""
    folders = _searched_folders(card)
    lacks = [lack for folder in folders if (lack := _incomplete(folder, card))]
    return DatasetError(
        f"{card.name} is not on this machine, and its download failed ({reason}). "
        f"Looked in {', '.join(map(str, folders))}. {''.join(f'{lack}. ' for lack in lacks)}"
        f"{_by_hand(card)}"
    )


def _incomplete(folder: Path, card: DatasetCard) -> str:
    """Which of the dataset's files a folder lacks that holds others, or their archive; or nothing.

    A folder with none of them is not meant to hold them.
    """
    missing = [file for file in card.files if not _present(folder, [file])]
    packed = [f"{file}.zip" for file in missing if (folder / f"{file}.zip").exists()]
    if not missing or (len(missing) == len(card.files) and not packed):
        return ""
    unpack = f", but {', '.join(packed)}, which must be unpacked" if packed else ""
    return f"{folder} lacks {', '.join(missing)}{unpack}"


def _by_hand(card: DatasetCard) -> str:
    """What to get and where to put it."""
    place = datasets_dir() / card.torchvision_folder
    where = (
        f"into {place} by hand, or into the folder {card.folder} of a folder that the environment "
        "variable PATCHINDEX_DATA names."
    )
    if not card.downloads:
        return f"Put {', '.join(card.files)} {where}"
    return (
        f"Get {' and '.join(card.downloads)} from {card.source} ({card.licence}), and put "
        f"{', '.join(card.files)} {where}"
    )


def _fetch(name: str, root: Path) -> None:
    """Let torchvision download a dataset into `root`, and check what it got."""
    # it takes seconds to import, which no command should wait for that downloads nothing
    from torchvision import datasets  # noqa: PLC0415

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


def load_images(
    source: str,
    *,
    resolution: int | str | None = None,
    crop: str | None = None,
    limit: int | None = None,
) -> LoadedImages:
    """The images of a named dataset's training split, or of a source such as `folder:PATH`.

    Args:
        source: a name on a card; `folder:PATH`, `npz:PATH`, `parquet:PATH` or `webdataset:PATH`;
            or `hf:NAME` or `hf:NAME:SPLIT`, of Hugging Face.
        resolution: 32 or "32" (a square), "48x32" (height x width), or "native" to keep the size.
            None takes the card's own for named datasets, and keeps the size of others.
        crop: "center" cuts images to the aspect ratio of the resolution before they are resized;
            "none" stretches those of another ratio, with a warning. None takes the card's own for
            named datasets, "center" for CelebA alone, and "none" for others.
        limit: keep the first so many images, at least 1; the others are not decoded.

    Raises:
        DatasetError: the images cannot be had, or are not what they should be.
    """
    checked_limit(limit)
    kind, _, place = source.partition(":")
    if kind in SOURCES:
        size = parse_resolution(resolution, default=None)
        cut = parse_crop(crop, size)
        images = _load_path(kind, place, size, cut, limit=limit)
    else:
        card = _known_card(source)
        size = parse_resolution(resolution, default=(card.resolution, card.resolution))
        cut = parse_crop(card.crop if crop is None and size else crop, size)
        images = _load_named(card, size, cut, limit)
    if limit is not None and limit > len(images):
        logger.info(
            "the limit is %d, but %s has %d images: all are used", limit, source, len(images)
        )
    logger.info("%s: %d images of %dx%dx%d", source, *images.pixels.shape)
    return replace(images, crop=cut)


def checked_limit(limit: int | None) -> int | None:
    """The number of images to keep; None for all.

    Raises:
        DatasetError: it is below 1.
    """
    if limit is not None and limit < 1:
        raise DatasetError(f"limit is {limit}. Give at least 1 image, or no limit for all.")
    return limit


def _load_path(
    kind: str, place: str, size: Size | None, crop: Crop, *, limit: int | None
) -> LoadedImages:
    """The images of `KIND:PLACE`."""
    if kind == "hf":
        return load_hub(place, size=size, crop=crop, limit=limit)
    if kind in SHARDED:
        load, suffixes = SHARDED[kind]
        files = shard_files(place, kind, suffixes)
        return load(files, name=f"{kind}:{place}", size=size, crop=crop, limit=limit)
    if not place:
        raise DatasetError(f"{kind}: lacks a path. Give it after the colon, as in {kind}:PATH.")
    path = _expanded(place)
    if kind == "folder":
        return load_image_folder(path, size=size, crop=crop, limit=limit)
    pixels, labels = read_npz(path, limit=limit)
    report_shapes(str(path), {pixels.shape[2:]: len(pixels)}, size, crop)
    return LoadedImages(pixels=_resized(pixels, size, crop), labels=labels, name=f"npz:{path}")


def _expanded(place: str) -> Path:
    """The path with the user's home in place of `~`.

    Raises:
        DatasetError: it names the home of a user who has none.
    """
    try:
        return Path(place).expanduser()
    except RuntimeError as error:
        raise DatasetError(f"{place} cannot be found: {error} Give a whole path.") from error


def _load_named(
    card: DatasetCard, size: Size | None, crop: Crop, limit: int | None
) -> LoadedImages:
    """The images of a named dataset, from this machine if they are on it."""
    found = find_files(card) or download_files(card)
    logger.info("%s: reading %s", card.name, ", ".join(str(path) for path in found.paths))
    if found.is_substitute:
        logger.warning("%s: these are %s", card.name, card.substitute_note)
    pixels, labels = _read_files(card, found, size, crop, limit=limit)
    if limit is None and not found.is_substitute and len(pixels) != card.num_images:
        logger.warning(
            "%s: found %d images, but the published set has %d",
            card.name, len(pixels), card.num_images,
        )  # fmt: skip
    report_shapes(card.name, {(card.height, card.width): len(pixels)}, size, crop)
    return LoadedImages(
        pixels=_resized(pixels, size, crop), labels=labels, class_names=card.class_names,
        name=card.name,
    )  # fmt: skip


def _read_files(
    card: DatasetCard, found: FoundFiles, size: Size | None, crop: Crop, *, limit: int | None
) -> tuple[UInt8[ndarray, "n c h w"], Int[ndarray, " n"] | None]:
    """Images and labels by the card's reader; only those that decode image files resize too."""
    paths = found.paths
    match card.loader:
        case "idx":
            return read_idx_images(*paths, limit=limit)
        case "cifar10" if found.is_substitute:
            return read_cifar_zip(paths[0], card.class_names, size=size, crop=crop, limit=limit)
        case "cifar10":
            return read_cifar_batches(paths, limit=limit)
        case "celeba":
            return read_celeba(*paths, size=size, crop=crop, limit=limit), None
        case "bundled":
            return read_npz(*paths, limit=limit)


def _resized(
    pixels: UInt8[ndarray, "n c h w"], size: Size | None, crop: Crop
) -> UInt8[ndarray, "n c h2 w2"]:
    """The images at this size; as they are for None."""
    return pixels if size is None else resize_images(pixels, size, crop)


def _known_card(name: str) -> DatasetCard:
    """The card of a named dataset.

    Raises:
        DatasetError: there is none; says what might be meant.
    """
    names = card_names()
    if name in names:
        return load_card(name)
    raise DatasetError(
        f"unknown dataset {name!r}.{_guess(name)} "
        f"Give one of {', '.join(names)}, or folder:PATH for image files, npz:PATH for an array, "
        "parquet:PATH, webdataset:PATH, or hf:NAME."
    )


def _guess(name: str) -> str:
    """A question that names what was probably meant, or nothing."""
    if name and _is_folder(name):
        return f" Did you mean folder:{name}?"
    endings = {".npz": "npz", ".parquet": "parquet", ".tar": "webdataset", ".tgz": "webdataset"}
    if kind := next((endings[end] for end in endings if name.endswith(end)), None):
        return f" Did you mean {kind}:{name}?"
    close = difflib.get_close_matches(name.lower().replace("-", "_"), card_names(), n=1)
    return f" Did you mean {close[0]}?" if close else ""


def _is_folder(name: str) -> bool:
    """Whether a text, which may be no path at all, is the path of a folder."""
    try:
        return Path(name).expanduser().is_dir()
    except (OSError, RuntimeError, ValueError):  # too long, nobody's home, a zero byte
        return False
