"""Locality scales: which patch size belongs to which noise level; the published ones by name."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from patchindex.resources import data_file
from sampler.errors import SamplerConfigError

FALLBACK = "cifar10_resnet_zeros"


def published_scales() -> dict[str, tuple[int, ...]]:
    """Scales calibrated by the paper's authors; entry 0 belongs to the lowest noise, t = 1/20."""
    table = yaml.safe_load(data_file("scales.yaml").read_text())
    return {name: tuple(scales) for name, scales in table.items()}


def resolve_scales(name: str) -> tuple[int, ...]:
    """Scales by published name, from a YAML file, or from a list like "3,3,5,9".

    Raises:
        SamplerConfigError: none of these, or entries that are not odd positive numbers.
    """
    published = published_scales()
    if name in published:
        return published[name]
    if Path(name).is_file():
        return checked_scales(read_scales(Path(name)), name)
    try:
        return checked_scales([int(entry) for entry in name.split(",")], name)
    except ValueError as error:
        if isinstance(error, SamplerConfigError):
            raise
        raise SamplerConfigError(
            f"scales {name!r} are neither a file, nor a list like 3,3,5,9, nor published. "
            f"Published are: {', '.join(published)}."
        ) from error


def default_scales(dataset: str, boundary: str) -> str:
    """Name of the published scales that suit a dataset; those of CIFAR-10 for one unknown."""
    padding = "zeros" if boundary == "zeros" else "circular"
    family = {"sample": "fashion_mnist"}.get(dataset, dataset)
    published = published_scales()
    candidates = [f"{family}_resnet_{padding}", f"{family}_resnet_zeros", FALLBACK]
    return next(name for name in candidates if name in published)


def read_scales(path: Path) -> object:
    """What a scales file holds.

    Raises:
        SamplerConfigError: the file is not YAML.
    """
    try:
        return yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SamplerConfigError(
            f"scales file {path} is not YAML ({error}). Give a list of odd patch sizes, the one "
            "for the lowest noise first."
        ) from error


def checked_scales(scales: object, origin: str) -> tuple[int, ...]:
    """The scales as a tuple, if they are a list of odd positive whole numbers."""
    if not isinstance(scales, Sequence) or isinstance(scales, str) or not scales:
        raise SamplerConfigError(
            f"scales {origin} are not a list. Give odd patch sizes, the one for the lowest noise "
            "first, like [3, 3, 5, 9]."
        )
    for scale in scales:
        if not isinstance(scale, int) or scale < 1 or scale % 2 == 0:
            raise SamplerConfigError(
                f"scales {origin} contain {scale!r}. Give odd positive whole numbers, so that "
                "every patch has a center pixel."
            )
    return tuple(scales)
