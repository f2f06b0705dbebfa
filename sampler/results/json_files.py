"""Results as JSON files: frozen dataclasses, whose annotated types say what each field may be.

A file that is read is checked against them, and the first value that is wrong is named in one line.
JSON has neither nan nor infinity, so that an unknown measure is nan in memory and null in the file.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from functools import cache
from math import isfinite, nan
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args

from pydantic import AfterValidator, Field, GetCoreSchemaHandler, TypeAdapter, ValidationError
from pydantic_core import CoreSchema, core_schema

from sampler.errors import ResultsError, SamplerConfigError

REMEDY = "Make the results again, with --overwrite."
LONGEST_SHOWN = 60
SMALLEST, LARGEST = 1e-100, 1e12
MANY = 2**53  # up to which JSON's numbers are exact everywhere
SHOULD_BE, LACKS = "should_be", "lacks"  # types of errors; the latter bears a key
SIZE_WORDS = "a whole number from 1 to 1048576"
SIZES_WORDS = f"a list of 1 or more times {SIZE_WORDS}"

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Should:
    """Says in words what a value should be, in place of whatever is wrong with it.

    Attributes:
        be: without braces.
    """

    be: str

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return self.around(handler(source))

    def around(self, schema: CoreSchema) -> CoreSchema:
        """The schema with one error."""
        return core_schema.custom_error_schema(
            schema, custom_error_type=SHOULD_BE, custom_error_message=self.be
        )


@dataclass(frozen=True, slots=True)
class Between:
    """Numbers of a range, whole ones for int; and null for a type that has None.

    Attributes:
        nullable: null stands for nan, and is written for what is not finite.
    """

    low: int | float
    high: int | float
    nullable: bool = False

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        kinds = get_args(source) or (source,)
        rules = [Field(strict=True, ge=self.low, le=self.high)]
        words = f"a whole number from {self.low} to {self.high}"
        if int not in kinds:
            rules.append(AfterValidator(_drawable))
            words = f"a number from {self.low:g} to {self.high:g}"
        schema = handler.generate_schema(Annotated[source, *rules])
        if self.nullable:
            schema = core_schema.no_info_after_validator_function(
                _nan_for_null, core_schema.nullable_schema(schema)
            )
            schema["serialization"] = core_schema.plain_serializer_function_ser_schema(
                _null_for_unknown
            )
        null = " or null" if self.nullable or NoneType in kinds else ""
        return Should(words + null).around(schema)


def _drawable(value: float | None) -> float | None:
    """Raise ValueError where a number is so small that a logarithmic axis cannot show it."""
    if value is not None and 0 < abs(value) <= SMALLEST:
        raise ValueError
    return value


def _nan_for_null(value: float | None) -> float:
    return nan if value is None else value


def _null_for_unknown(value: float) -> float | None:
    return value if isfinite(value) else None


def _file_name(text: str) -> str:
    """Raise ValueError unless a file can have this name, which need not be UTF-8."""
    text.encode("utf-8", "surrogateescape")
    if "\0" in text:
        raise ValueError
    return text


Text = Annotated[str, Field(strict=True), AfterValidator(_file_name), Should("text")]
TextOrNull = Annotated[
    str | None,
    Field(strict=True),
    AfterValidator(lambda text: None if text is None else _file_name(text)),
    Should("text or null"),
]
Versions = Annotated[Mapping[Text, Text], Should("text under each key")]
Flag = Annotated[bool, Field(strict=True), Should("true or false")]
Count = Annotated[int, Between(0, MANY)]
Natural = Annotated[int, Between(1, MANY)]
Label = Annotated[int | None, Between(-(2**63), 2**63 - 1)]
Share = Annotated[float, Between(0, 1.001)]  # of which some sum to a little more than 1
Amount = Annotated[float, Between(0, LARGEST)]
Measure = Annotated[float, Between(-LARGEST, LARGEST, nullable=True)]
Size = Annotated[int, Between(1, 2**20)]
SizeOrNull = Annotated[int | None, Between(1, 2**20)]
Sizes = Annotated[tuple[Size, ...], Field(min_length=1), Should(SIZES_WORDS)]
SizesOrNull = Annotated[
    tuple[Size, ...] | None, Field(min_length=1), Should(f"{SIZES_WORDS} or null")
]
Shape = Annotated[tuple[Size, Size, Size], Should(f"a list of 3 times {SIZE_WORDS}")]


_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)  # which takes long to make


def as_json(result: Any) -> Any:
    """The values of a result as `json.dumps` takes them."""
    return _adapter(type(result)).dump_python(result)


def json_text(result: Any) -> str:
    """A result, or what JSON holds, as people can read it."""
    return json.dumps(as_json(result), indent=1) + "\n"


def write_json(result: Any, path: Path) -> None:
    """Write `json_text` into a file."""
    path.write_text(json_text(result))


def read_json(
    path: Path,
    kind: type[Result],
    upgrade: Callable[[dict[str, Any], Path], dict[str, Any]] | None = None,
) -> Result:
    """The result of a kind that a file holds.

    Args:
        kind: a dataclass whose `schema_version` is by default what this program writes; a file
            without one is of version 1.
        upgrade: makes the values of an older version those of this one.

    Raises:
        FileNotFoundError: there is none.
        ResultsError: it cannot be read, or a value in it cannot be.
        SamplerConfigError: a version of the future wrote it.
    """
    values = _read_values(path)
    found = values.get("schema_version", 1)
    if type(found) is not int or not 1 <= found <= MANY:
        raise wrong(found, f"a whole number from 1 to {MANY}", "schema_version", path)
    newest: Any = {part.name: part.default for part in fields(kind)}["schema_version"]  # type: ignore[arg-type]
    if found > newest:
        raise SamplerConfigError(
            f"{path} has schema version {found}, but this program reads up to {newest}. "
            "Sample the run again, or use the program that wrote it."
        )
    if found < newest and upgrade is not None:
        values = upgrade(values, path)
    result: Result = checked(values, kind, path)
    return result


def _read_values(path: Path) -> dict[str, Any]:
    """What a file holds, unchecked."""
    try:
        values = json.loads(
            path.read_text(encoding="utf-8"), parse_constant=Decimal, parse_float=_number
        )
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ResultsError(
            f"{path} cannot be read ({error.strerror}). Mend its permissions."
        ) from error
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{path} is not JSON ({error}). {REMEDY}") from error
    if not isinstance(values, dict):
        found = "float" if isinstance(values, Decimal) else type(values).__name__
        raise ResultsError(f"{path} holds {found} and no results. {REMEDY}")
    return values


def _number(text: str) -> float | Decimal:
    """The float, or what is none: too large a number, as NaN and Infinity in JSON."""
    return number if isfinite(number := float(text)) else Decimal(text)


def checked(values: object, kind: Any, path: Path, where: str = "") -> Any:
    """The result of a kind that has these values.

    Args:
        path: names the file in errors.
        where: keys that lead to the values in it.

    Raises:
        ResultsError: the first value that cannot be.
    """
    try:
        return _adapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = where + "".join(
            f"[{key}]" if isinstance(key, int) else f".{_in_a_line(key)}" for key in first["loc"]
        )
        place += f".{first['msg']}" if first["type"] == LACKS else ""
        place = place.removeprefix(".")
        if first["type"] in ("missing", LACKS):
            raise lacking(place, path) from None
        if first["type"] == "value_error":
            reason = first["msg"].removeprefix("Value error, ")
            raise ResultsError(f"{path}: {place} cannot be: {reason} {REMEDY}") from None
        words = {
            SHOULD_BE: first["msg"],
            "dataclass_type": "names and values",
            "too_short": "a list with something in it",
            "tuple_type": "a list with something in it",
        }.get(first["type"], first["msg"])
        raise wrong(first["input"], words, place, path) from None


def _in_a_line(key: str) -> str:
    """A name as an error shows it: a line break in it must not break the error's line."""
    return key if key.isprintable() else ascii(key)[1:-1]


def lacking(where: str, path: Path) -> ResultsError:
    """The error of a file without a value that it must have."""
    return ResultsError(f"{path} lacks {where}: another version wrote it. {REMEDY}")


def wrong(value: object, words: str, where: str, path: Path) -> ResultsError:
    """The error of a value that is not what it should be."""
    if isinstance(value, Decimal):
        shown = str(value)
    else:  # of a nested one JSON could be very deep
        shown = "a list or part" if isinstance(value, list | tuple | dict) else json.dumps(value)
    shown = shown if len(shown) <= LONGEST_SHOWN else f"{shown[:LONGEST_SHOWN]}..."
    return ResultsError(f"{path}: {where} is {shown}, but should be {words}. {REMEDY}")
