"""Dataset cards: what is known of each named dataset, read from `data/datasets/NAME.yaml`."""

from dataclasses import MISSING, Field, dataclass, fields
from typing import Any, Literal, get_args

import yaml

from patchindex.choices import Crop
from patchindex.errors import DatasetError
from patchindex.paths import data_file

Loader = Literal["idx", "cifar10", "celeba", "bundled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetCard:
    """A named dataset.

    Attributes:
        loader: which reader understands its files.
        height, width: of the images as published.
        num_images: in the split that is loaded.
        resolution: side in pixels that images get unless another is asked for.
        crop: what becomes of images with another aspect ratio than the resolution, unless another
            crop is asked for; see `load_images`.
        class_names: name of class i at position i; empty if there are no labels.
        folder: where its files lie in a folder of `$PATCHINDEX_DATA`.
        torchvision_folder: where torchvision's download puts them.
        locations: absolute folders of the operating system's own copies.
        files: what must be in one such folder, in the order the reader takes them; `.gz` may be
            missing. For a bundled dataset, paths in `data/`.
        downloads: what to get by hand from `source` where `files` are nowhere, with sizes; empty
            where these are what is downloaded.
        substitute: paths in a folder of `$PATCHINDEX_DATA` that serve where `files` are nowhere.
        substitute_note: what these are, for the log.
    """

    name: str
    title: str
    loader: Loader
    split: str
    channels: int
    height: int
    width: int
    num_images: int
    licence: str
    source: str
    files: tuple[str, ...]
    resolution: int = 32
    crop: Crop = "none"
    class_names: tuple[str, ...] = ()
    folder: str = ""
    torchvision_folder: str = ""
    locations: tuple[str, ...] = ()
    downloads: tuple[str, ...] = ()
    substitute: tuple[str, ...] = ()
    substitute_note: str = ""

    def __post_init__(self) -> None:
        name = self.name if isinstance(self.name, str) else "without a name"
        for field in fields(self):
            _check_value(name, field, getattr(self, field.name))
        for setting, kinds in (("loader", get_args(Loader)), ("crop", get_args(Crop))):
            if getattr(self, setting) not in kinds:
                raise DatasetError(
                    f"card {self.name} has {setting} {getattr(self, setting)!r}. "
                    f"Give one of {', '.join(kinds)}."
                )

    @classmethod
    def from_yaml(cls, text: str, *, origin: str) -> "DatasetCard":
        """The card that `text` describes; `origin` names it in errors.

        Raises:
            DatasetError: not YAML, keys unknown or missing, or values that cannot be.
        """
        try:
            values = yaml.safe_load(text)
        except yaml.YAMLError as error:
            reason = " ".join(str(error).split())
            raise DatasetError(f"card {origin} is not valid YAML: {reason}") from error
        except (ValueError, RecursionError) as error:  # of dates and numbers that cannot be
            raise DatasetError(
                f"card {origin} holds what cannot be read: {error}. Give plain texts and numbers."
            ) from error
        if not isinstance(values, dict):
            raise DatasetError(f"card {origin} holds no settings. Give `key: value` lines.")
        known = {field.name for field in fields(cls)}
        if unknown := sorted(str(key) for key in values.keys() - known):
            raise DatasetError(
                f"card {origin} has unknown keys: {', '.join(unknown)}. "
                f"Give only these: {', '.join(sorted(known))}."
            )
        required = {field.name for field in fields(cls) if field.default is MISSING}
        if missing := sorted(required - values.keys()):
            raise DatasetError(f"card {origin} lacks these keys: {', '.join(missing)}. Add them.")
        settings: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**settings)


def _check_value(card: str, field: "Field[Any]", value: object) -> None:
    """Raise DatasetError unless a setting is of its field's type; counts are above zero."""
    if field.type is int:
        wanted, fits = "a whole number above zero", type(value) is int and value > 0
    elif field.type == tuple[str, ...]:
        texts = isinstance(value, tuple) and all(isinstance(part, str) for part in value)
        wanted, fits = "a list of texts", texts
    else:
        wanted, fits = "a text", isinstance(value, str)
    if not fits:  # the value itself may be without end: lists in YAML can hold each other
        raise DatasetError(
            f"card {card} has a {type(value).__name__} for {field.name}. Give {wanted}."
        )


def card_names() -> tuple[str, ...]:
    """The names that `load_card` knows, sorted."""
    return tuple(sorted(path.stem for path in data_file("datasets").glob("*.yaml")))


def load_card(name: str) -> DatasetCard:
    """The card of a named dataset.

    Raises:
        DatasetError: there is no such card, or it is not what it should be.
    """
    if name not in card_names():
        raise DatasetError(
            f"there is no dataset named {name!r}. Give one of {', '.join(card_names())}."
        )
    text = data_file("datasets", f"{name}.yaml").read_text(encoding="utf-8")
    return DatasetCard.from_yaml(text, origin=f"{name}.yaml")
