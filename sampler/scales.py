"""Locality scales: the patch size at each noise level, as published, asked for, or by default.

Scales with a name, of a file or by default belong to noise levels, and serve any schedule at the
same noise. A list that a run is given is evenly spaced over the run's own steps.

By default the scales of the index are placed where the published ones of the dataset are nearest,
or evenly where none are published. Without an index the published ones of the dataset serve, or
the scales that an index has by default, evenly placed.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Protocol, runtime_checkable

import yaml

from patchindex import Boundary, ImageSet, IndexConfig, UserError
from patchindex.geometry import check_patch_size, nearest_scale
from patchindex.paths import data_file, is_file
from sampler.errors import SamplerConfigError, reason, shown
from sampler.estimator import NeighborSearch
from sampler.schedule import LARGEST_SIGMA, SCHEDULES, SMALLEST_SIGMA, nearest_level, rising_sigmas

SCALES_FILE = "scales.yaml"  # what a calibration leaves
LEVELS = 20  # noise levels of a list that is spread here, as many as the published ones have
SCHEDULE, BY_SIGMA = "schedule", "sigmas"  # key of a file, and what it says of sigmas for times
LARGEST_FILE = 100_000  # bytes; a thousand noise levels take a tenth of it
LARGEST_SCALE = 10**9  # pixels; no images are so large, and larger numbers fit into no array
MOST_NAMED = 5  # times in a message
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Scales:
    """Patch sizes from the lowest noise level to the highest.

    Attributes:
        sigmas: the noise level of each, rising; None where they are evenly spaced over the steps of
            whatever run they are given to.

    Example:
        >>> Scales(patch_sizes=(3, 9), sigmas=(0.1, 2.0)).at(0.5)
        3
    """

    patch_sizes: tuple[int, ...]
    sigmas: tuple[float, ...] | None

    @classmethod
    def spaced(cls, patch_sizes: Sequence[int], schedule: str = "cosine") -> "Scales":
        """Evenly spaced over the times of a schedule."""
        sizes = tuple(patch_sizes)
        return cls(patch_sizes=sizes, sigmas=rising_sigmas(schedule, len(sizes)))

    def at(self, sigma: float) -> int:
        """The patch size at a noise level; those without noise levels are as cosine's."""
        sigmas = self.sigmas or rising_sigmas("cosine", len(self.patch_sizes))
        return self.patch_sizes[nearest_level(sigmas, sigma)]


def find_scales(name: str) -> Scales:
    """Scales by name, published or ours, from a YAML file, or from a list like "3,3,5,9".

    A file holds a list, lowest noise first, or what `sampler calibrate` writes: a patch size for
    each time t = 1/n, 2/n, ..., 1 of the schedule that it names, or for each sigma. The folder of
    a calibration stands for its file.

    Raises:
        SamplerConfigError: none of these, entries that are not odd positive numbers, or a time
            that is missing.
    """
    known = _known_scales()
    if name in known:
        return Scales.spaced(known[name])
    if is_file(in_folder := f"{name}/{SCALES_FILE}"):
        name = in_folder
    if is_file(name):
        scales = _read_scales(Path(name))
        if not isinstance(scales, Mapping):
            return Scales(patch_sizes=checked_scales(scales, name), sigmas=None)
        times = dict(scales)
        schedule = times.pop(SCHEDULE, "cosine")
        if schedule == BY_SIGMA:
            return _by_sigma(times, name)
        if not isinstance(schedule, str) or schedule not in SCHEDULES:
            raise SamplerConfigError(
                f"scales {name} name the schedule {shown(schedule)}. It must be one of "
                f"{', '.join((*SCHEDULES, BY_SIGMA))}."
            )
        return Scales.spaced(checked_scales(_in_order_of_time(times, name), name), schedule)
    try:
        return Scales(patch_sizes=parse_scales(name), sigmas=None)
    except NoListError as error:
        if "/" in name or name.endswith((".yaml", ".yml")):
            raise SamplerConfigError(
                f"there is no scales file {shown(name)}. Give the {SCALES_FILE} that `sampler "
                "calibrate` left, or its folder."
            ) from error
        raise SamplerConfigError(
            f"scales {shown(name)} are neither a file, nor a list like 3,3,5,9, nor known by "
            f"name. Known are: {', '.join(known)}."
        ) from error


def resolve_scales(name: str) -> tuple[int, ...]:
    """The patch sizes of `find_scales`."""
    return find_scales(name).patch_sizes


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
            f"patch sizes {shown(text)} are no list. Give whole numbers like 3,3,5,9."
        ) from error
    return checked_scales(entries, shown(text))


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
            f"scales {origin} have the times {_first_few([shown(t) for t in scales])}. Give a "
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


def _by_sigma(scales: Mapping[object, object], origin: str) -> Scales:
    """The patch sizes of a file by sigma.

    Raises:
        SamplerConfigError: none, or what is no noise level.
    """
    known: dict[float, object] = {}
    for sigma, size in scales.items():
        is_number = isinstance(sigma, int | float) and not isinstance(sigma, bool)
        if not is_number or not SMALLEST_SIGMA <= sigma <= LARGEST_SIGMA:  # type: ignore[operator]
            known = {}
            break
        known[float(sigma)] = size  # type: ignore[arg-type]
    if not known:
        raise SamplerConfigError(
            f"scales {origin} have the sigmas {_first_few([shown(s) for s in scales]) or 'none'}. "
            f"Give a patch size for each noise level, from {SMALLEST_SIGMA:g} to {LARGEST_SIGMA:g}."
        )
    sigmas = tuple(sorted(known))
    sizes = checked_scales([known[sigma] for sigma in sigmas], origin)
    return Scales(patch_sizes=sizes, sigmas=sigmas)


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
        why = "nested too deeply" if isinstance(error, RecursionError) else reason(error)
        raise SamplerConfigError(
            f"scales file {path} is not YAML ({why}). {LIST_WANTED}"
        ) from error


def checked_scales(scales: object, origin: str) -> tuple[int, ...]:
    """The scales as a tuple, if they are a list of odd positive whole numbers."""
    if not isinstance(scales, Sequence) or isinstance(scales, str | bytes) or not scales:
        raise SamplerConfigError(f"scales {origin} are not a list. {LIST_WANTED}")
    for scale in scales:
        is_whole = isinstance(scale, int) and not isinstance(scale, bool)  # True is an int
        if not is_whole or not 0 < scale <= LARGEST_SCALE or scale % 2 == 0:
            raise SamplerConfigError(
                f"scales {origin} contain {shown(scale)}. Give odd positive whole numbers, so "
                "that every patch has a center pixel."
            )
    return tuple(scales)


def _first_few(words: Sequence[str]) -> str:
    """The first of these words, and how many more there are."""
    more = f" and {len(words) - MOST_NAMED} more" if len(words) > MOST_NAMED else ""
    return ", ".join(words[:MOST_NAMED]) + more


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenScales:
    """Patch sizes from the lowest noise level to the highest.

    Attributes:
        name: the name, file or list that was asked for; else what placed the sizes.
        asked: the patch sizes of that; by default those that are compared.
        patch_sizes: what the machine compares in their place; None where that is whole images.
        sigmas: the noise level of each, see `Scales`.
    """

    name: str
    asked: tuple[int, ...]
    patch_sizes: tuple[int | None, ...]
    sigmas: tuple[float, ...] | None = None


@runtime_checkable
class ComparesPatches(Protocol):
    """What scales are chosen for: a machine."""

    compares_whole_images: bool

    def compared_sizes(self, patch_sizes: Sequence[int | None]) -> tuple[int | None, ...]:
        """The patch size that is really used for each of these."""
        ...


def choose_scales(
    machine: ComparesPatches,
    training_set: ImageSet | NeighborSearch,
    asked: str | None,
    *,
    boundary: Boundary,
    own: str | Scales | None = None,
) -> ChosenScales:
    """The scales of a run, as text asks for them, or by default; says which in the latter case.

    Args:
        machine: says what it compares where it lacks a patch size.
        asked: a name, a file or a list.
        boundary: of the machine.
        own: scales that suit better than those published for the dataset; those with a name are
            placed on an index's own.

    Raises:
        SamplerConfigError: no such scales, or the machine refuses some.
        GeometryError: a patch size that the images do not admit.
    """
    if machine.compares_whole_images:
        sizes = () if asked is None else resolve_scales(asked)
        return ChosenScales(name=asked or "whole images", asked=sizes, patch_sizes=(None,))
    if asked is not None:
        name, found = asked, find_scales(asked)
    elif isinstance(own, Scales):
        name, found = "the network's own", own
    else:
        name, found = default_scales(training_set, boundary, own)
        logger.info("scales: %s: %s", name, placement(found.patch_sizes))
    return ChosenScales(
        name=name,
        asked=found.patch_sizes,
        patch_sizes=machine.compared_sizes(found.patch_sizes),
        sigmas=found.sigmas,
    )


def default_scales(
    training_set: ImageSet | NeighborSearch, boundary: Boundary, own: str | None = None
) -> tuple[str, Scales]:
    """What a run compares that asks for no scales, and what places it, in words.

    They are spaced over the times of the cosine schedule, whatever that of the run.
    """
    words, sizes = _default_sizes(training_set, boundary, own)
    return words, Scales.spaced(sizes)


def _default_sizes(
    training_set: ImageSet | NeighborSearch, boundary: Boundary, own: str | None
) -> tuple[str, tuple[int, ...]]:
    """The patch sizes of `default_scales`."""
    images = training_set.images
    name = own or _published_for(images.name, boundary)
    if not isinstance(training_set, ImageSet):
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
