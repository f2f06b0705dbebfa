"""`patchindex info` and `datasets`: what there is. Only what needs torch waits for it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cli.console import echo_lines
from patchindex.datasets import card_names, load_card
from patchindex.environment import Installation, describe_installation
from patchindex.errors import UserError

if TYPE_CHECKING:
    from patchindex.datasets import DatasetCard
    from patchindex.index import IndexInfo
    from patchindex.loaded import Environment


def info(path: Path | None, *, load: bool) -> "IndexInfo | Environment | Installation":
    """Show what is in an index; without a path, what is installed.

    Raises:
        UserError: an index that cannot be opened, or both were asked for.
    """
    if path is not None and load:
        raise UserError(
            "--load asks what the libraries compute with, and PATH what is in an index. Give one."
        )
    found = describe_installation() if not load and path is None else _loaded(path)
    echo_lines(found.lines())
    return found


def _loaded(path: Path | None) -> "IndexInfo | Environment":
    """The same, once torch, FAISS and Zarr are loaded, which takes seconds."""
    from patchindex.index import PatchIndex  # noqa: PLC0415
    from patchindex.loaded import describe_environment  # noqa: PLC0415

    return describe_environment() if path is None else PatchIndex.open(path).info()


def datasets() -> "Sequence[DatasetCard]":
    """List the named datasets."""
    cards = [load_card(name) for name in card_names()]
    for card in cards:
        shape = f"{card.num_images:,} x {card.channels} x {card.height} x {card.width}"
        echo_lines([f"{card.name:<22} {shape:<22} {card.title} ({card.licence})"])
    return cards
