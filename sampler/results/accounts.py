"""Accounts of results, read back: each value that is served is checked, and named if wrong."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from sampler.errors import ResultsError
from sampler.results.run_account import SCHEMA_VERSION, as_compared
from sampler.studies.verify import StepComparison
from sampler.trajectory import StepReport

REMEDY = "Make the results again, with --overwrite."
LONGEST_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Kind:
    """Values of one kind.

    Attributes:
        words: what they are, for people.
        holds: whether a value is one.
    """

    words: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Maybe:
    """What may be absent from the part that holds it."""

    shape: "Shape"


# a kind; a dict of what lies under its keys; a list of the one shape that all elements have
Shape = Kind | Maybe | Mapping[str, Any] | list[Any]


def whole(low: int, high: int) -> Kind:
    """Whole numbers of a range."""
    return Kind(
        f"a whole number from {low} to {high}",
        lambda value: type(value) is int and low <= value <= high,
    )


def number(low: int | float, high: int | float) -> Kind:
    """Numbers of a range; apart from 0 none so small that a logarithmic axis cannot show it."""
    return Kind(
        f"a number from {low:g} to {high:g}",
        lambda value: (
            type(value) in (int, float)
            and low <= value <= high
            and (value == 0 or abs(value) > SMALLEST)
        ),
    )


def is_name(text: str) -> bool:
    """Whether a file can have this name, which need not be UTF-8."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def choice(*words: str) -> Kind:
    """One of some words."""
    return Kind(f"one of {', '.join(words)}", lambda value: value in words)


def or_null(kind: Kind) -> Kind:
    """Values of a kind, and null, which stands for unknown or none."""
    return Kind(f"{kind.words} or null", lambda value: value is None or kind.holds(value))


def list_of(kind: Kind, low: int, high: int) -> Kind:
    """Lists of so many values of a kind."""
    return Kind(
        f"a list of {low if low == high else f'{low} or more'} times {kind.words}",
        lambda value: (
            isinstance(value, list)
            and low <= len(value) <= high
            and all(kind.holds(part) for part in value)
        ),
    )


SMALLEST, LARGEST = 1e-100, 1e12
MANY = 2**53  # up to which JSON's numbers are exact everywhere
TEXT = Kind("text", lambda value: isinstance(value, str) and is_name(value))
FLAG = Kind("true or false", lambda value: type(value) is bool)
COUNT, AT_LEAST_ONE = whole(0, MANY), whole(1, MANY)
SIZE = whole(1, 2**20)
SHARE = number(0, 1.001)  # of which some sum to a little more than 1
MEASURE = or_null(number(-LARGEST, LARGEST))
SIZES = list_of(SIZE, 1, 2**20)
LABEL = or_null(whole(-(2**63), 2**63 - 1))
VERSIONS = Kind(
    "text under each key",
    lambda value: isinstance(value, dict) and all(map(TEXT.holds, [*value, *value.values()])),
)
SOURCE = {"dataset": TEXT, "num_images": AT_LEAST_ONE}
RETRIEVAL = {"k": COUNT, "tail": COUNT, "nprobe": COUNT}


def step(rows: type[StepReport] | type[StepComparison], **others: Kind) -> dict[str, Kind]:
    """What lies under the keys of a step: measures, but for time and patch size."""
    measures = {field.name: MEASURE for field in fields(rows)}
    return measures | {"t": number(0, 1), "patch_size": SIZE} | others


RUN: dict[str, Shape] = {
    "config": RETRIEVAL
    | {
        "machine": choice("els", "ls", "is"),
        "exact": FLAG,
        "boundary": choice("zeros", "circular", "circular_interior"),
        "tolerance": or_null(number(0, LARGEST)),
        "num": AT_LEAST_ONE,
        "seed": whole(0, 2**64 - 1),
        "noise": or_null(TEXT),
        "label": LABEL,
        "schedule": TEXT,
        "strict_scales": Maybe(FLAG),
        "scales": Maybe(or_null(TEXT)),
        "steps": Maybe(AT_LEAST_ONE),
        "reference_steps": Maybe(FLAG),
    },
    "scales": {"name": TEXT, "patch_sizes": SIZES},
    "source": SOURCE
    | {
        "index": or_null(TEXT),
        "index_scales": or_null(SIZES),
        "shape": list_of(SIZE, 3, 3),
        "sha256": TEXT,
        "crop": Maybe(or_null(TEXT)),
    },
    "seconds": number(0, LARGEST),
    "steps": [step(StepReport)],
    "versions": Maybe(VERSIONS),
}
# where the account tells of what was compared, which of whole images is none
COMPARED: dict[str, Shape] = {
    "scales": {
        "name": TEXT,
        "asked": list_of(SIZE, 0, 2**20),
        "patch_sizes": or_null(SIZES),
    },
    "steps": [step(StepReport, patch_size=or_null(SIZE), asked_patch_size=or_null(SIZE))],
}
VERIFICATION: dict[str, Shape] = {
    "config": RETRIEVAL, "source": SOURCE, "steps": [step(StepComparison)],
}  # fmt: skip


def read_run(path: Path) -> dict[str, Any]:
    """What a `run.json` says, as `sampler.results.run_account.as_compared` gives it.

    Raises:
        FileNotFoundError: there is none.
        ResultsError: it cannot be read, or what it says cannot be.
        SamplerConfigError: a version of the future wrote it.
    """
    account = read_account(path)
    check(account, {"schema_version": Maybe(AT_LEAST_ONE)}, "", path)
    version = account.get("schema_version", 1)
    if version <= SCHEMA_VERSION:
        check(account, RUN if version == 1 else RUN | COMPARED, "", path)
        check_trace(account, path)
    account = as_compared(account, path)
    check_sizes(account, path)
    return account


def read_verification(path: Path) -> dict[str, Any]:
    """What a `verify.json` says.

    Raises:
        ResultsError: it cannot be read, or what it says cannot be.
    """
    account = read_account(path)
    check(account, VERIFICATION, "", path)
    return account


def read_account(path: Path) -> dict[str, Any]:
    """What a file of results holds, unchecked.

    Raises:
        FileNotFoundError: there is none.
        ResultsError: it cannot be read, or is no account.
    """
    try:
        account = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ResultsError(
            f"{path} cannot be read ({error.strerror}). Mend its permissions."
        ) from error
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{path} is not JSON ({error}). {REMEDY}") from error
    if not isinstance(account, dict):
        raise ResultsError(
            f"{path} holds {type(account).__name__} and no account of results. {REMEDY}"
        )
    return account


def check(value: object, shape: Shape, where: str, path: Path) -> None:
    """Raise ResultsError unless the value has this shape.

    Args:
        where: the keys that lead to the value.
    """
    if isinstance(shape, Kind):
        if not shape.holds(value):
            raise wrong(value, shape.words, where, path)
    elif isinstance(shape, Mapping):
        check_parts(value, shape, where, path)
    elif isinstance(shape, list):
        if not isinstance(value, list) or not value:
            raise wrong(value, "a list with something in it", where, path)
        for position, part in enumerate(value):
            check(part, shape[0], f"{where}[{position}]", path)


def check_parts(value: object, shape: Mapping[str, Any], where: str, path: Path) -> None:
    """Raise ResultsError unless the value has each of these keys, and under it what it should."""
    if not isinstance(value, dict):
        raise wrong(value, "names and values", where, path)
    for key, part in shape.items():
        place = f"{where}.{key}" if where else key
        if key in value:
            check(value[key], part.shape if isinstance(part, Maybe) else part, place, path)
        elif not isinstance(part, Maybe):
            raise ResultsError(f"{path} lacks {place}: another version wrote it. {REMEDY}")


def check_trace(account: Mapping[str, Any], path: Path) -> None:
    """Raise ResultsError unless there is no trace, or each sample of it has its shares."""
    if account.get("trace") is None:
        return
    image = {
        "image": whole(0, account["source"]["num_images"] - 1), "share": SHARE, "label": LABEL,
    }  # fmt: skip
    images = Kind("a list", lambda value: isinstance(value, list))
    sample = {"images": images, "others": SHARE, "unattributed": SHARE}
    check(account["trace"], {"attribution": [sample]}, "trace", path)
    samples = account["trace"]["attribution"]
    for position, told in enumerate(samples):
        for place, part in enumerate(told["images"]):
            check(part, image, f"trace.attribution[{position}].images[{place}]", path)
    check(account["config"]["num"], whole(len(samples), len(samples)), "config.num", path)


def check_sizes(account: Mapping[str, Any], path: Path) -> None:
    """Raise ResultsError unless there are patch sizes where, and only where, there are patches."""
    whole_images = account["config"]["machine"] == "is"
    none = Kind("null, as whole images are compared", lambda value: value is None)
    check(
        account["scales"]["patch_sizes"],
        none if whole_images else SIZES,
        "scales.patch_sizes",
        path,
    )
    for position, told in enumerate(account["steps"]):
        place = f"steps[{position}]"
        check(told["patch_size"], none if whole_images else SIZE, f"{place}.patch_size", path)
        if not whole_images:
            check(told["asked_patch_size"], SIZE, f"{place}.asked_patch_size", path)


def wrong(value: object, words: str, where: str, path: Path) -> ResultsError:
    """The error of a value that is not what it should be."""
    # of a nested one JSON could be very deep
    shown = "a list or part" if isinstance(value, list | dict) else json.dumps(value)
    shown = shown if len(shown) <= LONGEST_SHOWN else f"{shown[:LONGEST_SHOWN]}..."
    return ResultsError(f"{path}: {where} is {shown}, but should be {words}. {REMEDY}")
