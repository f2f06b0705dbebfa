"""Locality scales: the patch size at each noise level, as published, asked for, or by default.

By default the scales of the index are placed where the published ones of the dataset are nearest,
or evenly where none are published. Without an index the published ones of the dataset serve, or
the scales that an index has by default, evenly placed.
"""

import logging
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path

import yaml

from patchindex import Boundary, ImageSet, IndexConfig, PatchIndex, UserError
from patchindex.geometry import check_patch_size, nearest_scale
from patchindex.paths import data_file
from sampler.errors import SamplerConfigError
from sampler.machines import ScoreMachine

LEVELS = 20  # noise levels of a list that is spread here, as many as the published ones have
LARGEST_FILE = 100_000  # bytes; a thousand noise levels take a tenth of it
LARGEST_SCALE = 10**9  # pixels; no images are so large, and larger numbers fit into no array
MOST_NAMED = 5  # times in a message
SHORT = reprlib.Repr()
SHORT.maxlevel, SHORT.maxlist = 2, 3  # a small file may nest anchors into a value of gigabytes
LIST_WANTED = "Give odd patch sizes, the one for the lowest noise first, like [3, 3, 5, 9]."

logger = logging.getLogger(__name__)


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


def _known_scales() -> dict[str, tuple[int, ...]]:
    """All scales that have a name, published or ours."""
    return published_scales() | calibrated_scales()


def resolve_scales(name: str) -> tuple[int, ...]:
    """Scales by name, published or ours, from a YAML file, or from a list like "3,3,5,9".

    A file holds a list, lowest noise first, or what `sampler calibrate` writes: a patch size for
    each time t = 1/n, 2/n, ..., 1.

    Raises:
        SamplerConfigError: none of these, entries that are not odd positive numbers, or a time
            that is missing.
    """
    known = _known_scales()
    if name in known:
        return known[name]
    if _is_file(name):
        scales = _read_scales(Path(name))
        return checked_scales(
            _in_order_of_time(scales, name) if isinstance(scales, Mapping) else scales, name
        )
    try:
        return parse_scales(name)
    except NoListError as error:
        raise SamplerConfigError(
            f"scales {_shown(name)} are neither a file, nor a list like 3,3,5,9, nor known by "
            f"name. Known are: {', '.join(known)}."
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
            f"patch sizes {_shown(text)} are no list. Give whole numbers like 3,3,5,9."
        ) from error
    return checked_scales(entries, _shown(text))


def _published_for(dataset: str, boundary: str) -> str | None:
    """Name of the published scales that suit a dataset, or None if it is not in the paper."""
    padding = "zeros" if boundary == "zeros" else "circular"
    names = (published_name(dataset, "resnet", padding), published_name(dataset, "resnet", "zeros"))
    return next((name for name in names if name is not None), None)


def paper_name(dataset: str, architecture: str, padding: str) -> str:
    """The name that the paper's tables would have such a network under."""
    family = {"sample": "fashion_mnist"}.get(dataset, dataset)
    return f"{family}_{architecture}_{padding}"


def published_name(dataset: str, architecture: str, padding: str) -> str | None:
    """Name of the scales that the paper has for such a network, or None."""
    name = paper_name(dataset, architecture, padding)
    return name if name in published_scales() else None


def _in_order_of_time(scales: Mapping[object, object], origin: str) -> list[object]:
    """The patch sizes by time, which must be 1/n, 2/n, ..., 1.

    Raises:
        SamplerConfigError: other times, or one that is missing.
    """
    times = [t for t in scales if isinstance(t, int | float) and not isinstance(t, bool)]
    known = {round(t, 6): scales[t] for t in times if 0 < t <= 1}
    if len(known) < len(scales) or not known:
        raise SamplerConfigError(
            f"scales {origin} have the times {_first_few([_shown(t) for t in scales])}. Give a "
            "patch size for each time t = 1/n, 2/n, ..., 1."
        )
    ends = [0.0, *sorted(known), 1.0]
    steps = round(1 / min(after - t for t, after in pairwise(ends) if after > t))
    wanted = [round(i / steps, 6) for i in range(1, steps + 1)]
    if lacking := [t for t in wanted if t not in known]:
        raise SamplerConfigError(
            f"scales {origin} lack a patch size for t = "
            f"{_first_few([f'{t:g}' for t in lacking])}. "
            f"Give one for each of the {steps} noise levels t = {wanted[0]:g}, ..., 1."
        )
    return [known[t] for t in wanted]


class _PlainLoader(yaml.SafeLoader):
    """A safe loader without merge keys: merges of merges would double with each line of a file."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merge nothing; the key `<<` has no meaning then, which is an error."""


def _read_scales(path: Path) -> object:
    """What a scales file holds.

    Raises:
        SamplerConfigError: it cannot be read, is much too large for scales, or is not YAML.
    """
    try:
        # no more of it than that, which tells whether it can be scales
        with path.open("rb") as file:
            text = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise SamplerConfigError(
            f"scales file {path} cannot be read ({error.strerror}). Give a file that holds a list "
            "of odd patch sizes, or the list itself."
        ) from error
    if len(text) > LARGEST_FILE:
        raise SamplerConfigError(
            f"scales file {path} is larger than {LARGEST_FILE // 1000} kB, which scales never are. "
            f"{LIST_WANTED}"
        )
    try:
        return yaml.load(text, Loader=_PlainLoader)  # noqa: S506 - it is a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # ValueError: dates that cannot be, numbers of thousands of digits, bytes that are no text
        reason = "nested too deeply" if isinstance(error, RecursionError) else _first_line(error)
        raise SamplerConfigError(
            f"scales file {path} is not YAML ({reason}). {LIST_WANTED}"
        ) from error


def checked_scales(scales: object, origin: str) -> tuple[int, ...]:
    """The scales as a tuple, if they are a list of odd positive whole numbers."""
    if not isinstance(scales, Sequence) or isinstance(scales, str | bytes) or not scales:
        raise SamplerConfigError(f"scales {origin} are not a list. {LIST_WANTED}")
    for scale in scales:
        is_whole = isinstance(scale, int) and not isinstance(scale, bool)  # True is an int
        if not is_whole or not 0 < scale <= LARGEST_SCALE or scale % 2 == 0:
            raise SamplerConfigError(
                f"scales {origin} contain {_shown(scale)}. Give odd positive whole numbers, so "
                "that every patch has a center pixel."
            )
    return tuple(scales)


def _is_file(name: str) -> bool:
    """Whether there is such a file; a list may be longer than any file's name can be."""
    try:
        return Path(name).is_file()
    except OSError:
        return False


def _first_few(words: Sequence[str]) -> str:
    """The first of these words, and how many more there are."""
    more = f" and {len(words) - MOST_NAMED} more" if len(words) > MOST_NAMED else ""
    return ", ".join(words[:MOST_NAMED]) + more


def _first_line(error: Exception) -> str:
    """What went wrong, without the place, which YAML draws over several lines."""
    return str(error).partition("\n")[0].strip().rstrip(".") or type(error).__name__


def _shown(value: object) -> str:
    """The value for a message, cut where it is long: a file may hold anything."""
    try:
        return SHORT.repr(value)
    except ValueError:  # Python writes no numbers of more than 4,300 digits
        return "a number of thousands of digits"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenScales:
    """Patch sizes from the lowest noise level to the highest, evenly spaced in t.

    Attributes:
        name: the name, file or list that was asked for; else what placed the sizes.
        asked: the patch sizes of that; by default those that are compared.
        patch_sizes: what the machine compares in their place; None where that is whole images.
    """

    name: str
    asked: tuple[int, ...]
    patch_sizes: tuple[int | None, ...]


def choose_scales(
    machine: ScoreMachine,
    training_set: ImageSet | PatchIndex,
    asked: str | None,
    *,
    boundary: Boundary,
    own: str | None = None,
) -> ChosenScales:
    """The scales of a run, as text asks for them, or by default; says which in the latter case.

    Args:
        machine: says what it compares where it lacks a patch size.
        asked: a name, a file or a list.
        boundary: of the machine.
        own: name of the scales that suit better than those published for the dataset.

    Raises:
        SamplerConfigError: no such scales, or the machine refuses some.
        GeometryError: a patch size that the images do not admit.
    """
    if machine.compares_whole_images:
        sizes = () if asked is None else resolve_scales(asked)
        return ChosenScales(name=asked or "whole images", asked=sizes, patch_sizes=(None,))
    if asked is not None:
        sizes = resolve_scales(asked)
        return ChosenScales(name=asked, asked=sizes, patch_sizes=machine.compared_sizes(sizes))
    name, sizes = default_scales(training_set, boundary, own)
    logger.info("scales: %s: %s", name, placement(sizes))
    return ChosenScales(name=name, asked=sizes, patch_sizes=machine.compared_sizes(sizes))


def default_scales(
    training_set: ImageSet | PatchIndex, boundary: Boundary, own: str | None = None
) -> tuple[str, tuple[int, ...]]:
    """What a run compares that asks for no scales, and what places it, in words."""
    images = training_set.images
    name = own or _published_for(images.name, boundary)
    if isinstance(training_set, PatchIndex):
        if name is None:
            return "the index's own, spread evenly over t", spread(training_set.scales)
        sizes = tuple(nearest_scale(training_set.scales, scale) for scale in _known_scales()[name])
        return f"the index's own, placed where those of {name} are nearest", sizes
    if name is not None and are_admitted(_known_scales()[name], images, boundary):
        return name, _known_scales()[name]
    defaults = IndexConfig().scales
    admitted = [scale for scale in defaults if are_admitted([scale], images, boundary)]
    # a window of one pixel fits into any image
    return "the default ones of an index, spread evenly over t", spread(admitted or [1])


def spread(scales: Sequence[int]) -> tuple[int, ...]:
    """A list that gives each of these scales an equal share of the times, the smallest first."""
    levels = max(LEVELS, len(scales))
    return tuple(sorted(scales)[level * len(scales) // levels] for level in range(levels))


def are_admitted(scales: Sequence[int], images: ImageSet, boundary: Boundary) -> bool:
    """Whether the images have windows of all these sizes."""
    try:
        for scale in scales:
            check_patch_size(scale, images.height, images.width, boundary)
    except UserError:
        return False
    return True


def placement(scales: Sequence[int]) -> str:
    """Up to which time each scale serves, as words."""
    parts, done = [], 0
    for scale, group in groupby(scales):
        done += len(list(group))
        parts.append(f"{scale} to t = {done / len(scales):.2f}")
    return ", ".join(parts)
