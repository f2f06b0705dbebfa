"""Locality scales: which patch size belongs to which noise level; the published ones by name."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import yaml

from patchindex.resources import data_file
from sampler.errors import SamplerConfigError

FALLBACK = "cifar10_resnet_zeros"


class NoListError(SamplerConfigError):
    """Text that is no list of numbers, and may be something else."""


def published_scales() -> dict[str, tuple[int, ...]]:
    """Scales calibrated by the paper's authors; entry 0 belongs to the lowest noise, t = 1/20."""
    table = yaml.safe_load(data_file("scales.yaml").read_text())
    return {name: tuple(scales) for name, scales in table.items()}


def calibrated_scales() -> dict[str, tuple[int, ...]]:
    """Scales that `sampler calibrate` found for the networks named; the order is the same."""
    table = yaml.safe_load(data_file("calibrated.yaml").read_text()) or {}
    return {name: tuple(scales) for name, scales in table.items()}


def resolve_scales(name: str) -> tuple[int, ...]:
    """Scales by name, published or ours, from a YAML file, or from a list like "3,3,5,9".

    A file holds a list, lowest noise first, or what `sampler calibrate` writes: a patch size for
    each time t = 1/n, 2/n, ..., 1.

    Raises:
        SamplerConfigError: none of these, entries that are not odd positive numbers, or a time
            that is missing.
    """
    known = published_scales() | calibrated_scales()
    if name in known:
        return known[name]
    if Path(name).is_file():
        scales = read_scales(Path(name))
        return checked_scales(
            in_order_of_time(scales, name) if isinstance(scales, Mapping) else scales, name
        )
    try:
        return parse_scales(name)
    except NoListError as error:
        raise SamplerConfigError(
            f"scales {name!r} are neither a file, nor a list like 3,3,5,9, nor known by name. "
            f"Known are: {', '.join(known)}."
        ) from error


def parse_scales(text: str) -> tuple[int, ...]:
    """Patch sizes from a list like "3,3,5,9".

    Raises:
        NoListError: no such list.
        SamplerConfigError: entries that are not odd positive numbers.
    """
    try:
        entries = [int(entry) for entry in text.split(",")]
    except ValueError as error:
        raise NoListError(
            f"patch sizes {text!r} are no list. Give whole numbers like 3,3,5,9."
        ) from error
    return checked_scales(entries, text)


def default_scales(dataset: str, boundary: str) -> str:
    """Name of the published scales that suit a dataset; those of CIFAR-10 for one unknown."""
    padding = "zeros" if boundary == "zeros" else "circular"
    family = {"sample": "fashion_mnist"}.get(dataset, dataset)
    published = published_scales()
    candidates = [f"{family}_resnet_{padding}", f"{family}_resnet_zeros", FALLBACK]
    return next(name for name in candidates if name in published)


def paper_name(dataset: str, architecture: str, padding: str) -> str:
    """The name that the paper's tables would have such a network under."""
    family = {"sample": "fashion_mnist"}.get(dataset, dataset)
    return f"{family}_{architecture}_{padding}"


def published_name(dataset: str, architecture: str, padding: str) -> str | None:
    """Name of the scales that the paper has for such a network, or None."""
    name = paper_name(dataset, architecture, padding)
    return name if name in published_scales() else None


def in_order_of_time(scales: Mapping[object, object], origin: str) -> list[object]:
    """The patch sizes by time, which must be 1/n, 2/n, ..., 1.

    Raises:
        SamplerConfigError: other times, or one that is missing.
    """
    known = {round(t, 6): scales[t] for t in scales if isinstance(t, int | float) and 0 < t <= 1}
    if len(known) < len(scales) or not known:
        raise SamplerConfigError(
            f"scales {origin} have the times {', '.join(map(str, scales))}. Give a patch size for "
            "each time t = 1/n, 2/n, ..., 1."
        )
    times = [0.0, *sorted(known), 1.0]
    steps = round(1 / min(after - t for t, after in pairwise(times) if after > t))
    wanted = [round(i / steps, 6) for i in range(1, steps + 1)]
    if lacking := [t for t in wanted if t not in known]:
        raise SamplerConfigError(
            f"scales {origin} lack a patch size for t = {', '.join(f'{t:g}' for t in lacking)}. "
            f"Give one for each of the {steps} noise levels t = {wanted[0]:g}, ..., 1."
        )
    return [known[t] for t in wanted]


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
