"""Every kind of result: what was written reads back equal, and what was mutilated is one line."""

import copy
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from math import nan
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sampler.errors import ResultsError, SamplerConfigError
from sampler.networks import NetworkSizes
from sampler.results.json_files import SMALLEST, Between, as_json, read_json, write_json
from sampler.results.run_result import RunResult, SamplerConfig, read_run
from sampler.results.study_results import (
    CalibrateResult,
    CompareResult,
    LeaveOutResults,
    NamedNetwork,
    VerifyResult,
    read_verification,
)

KINDS = [RunResult, VerifyResult, CalibrateResult, CompareResult, LeaveOutResults]
READERS = {RunResult: read_run, VerifyResult: read_verification}
GONE = object()
NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="\0") | st.just("\udcff"), max_size=5
)
# what a configuration asks for beyond the range of each value
CONFIG = {
    "k": st.integers(1, 9), "tail": st.integers(2, 9), "nprobe": st.integers(1, 9),
    "steps": st.integers(2, 9), "seed": st.integers(0, 9),
    "boundary": st.sampled_from(["zeros", "circular", "circular_interior"]),
}  # fmt: skip
NETWORKS = st.builds(
    NamedNetwork, name=NAMES, architecture=st.just("resnet"), padding=st.just("circular"),
    channels=st.integers(1, 3), height=st.just(8), width=st.just(9),
    sizes=st.just(NetworkSizes(widths=(4,), depth=1, embedding=2)),
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
    | st.sampled_from([10**400, 2**64, 5e-324, "\ud800", "a\0", "n" * 999, "els", "is", [3, 7]]),
    lambda part: st.lists(part, max_size=2) | st.dictionaries(st.text(max_size=3), part, max_size=2),
    max_leaves=3,
)  # fmt: skip


def values_of(hint: Any, rules: tuple[object, ...] = ()) -> st.SearchStrategy:
    """What a field of this type may be."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return values_of(parts[0], (*parts[1:], *rules))
    if origin in (Union, UnionType):
        return st.none() | values_of(*(part for part in parts if part is not NoneType), rules)
    if origin is Literal:
        return st.sampled_from(parts)
    if origin is tuple and parts[-1] is ...:
        return st.lists(values_of(parts[0]), min_size=1, max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*map(values_of, parts))
    if origin is not None and issubclass(origin, Mapping):
        return st.dictionaries(NAMES, values_of(parts[1]), max_size=2)
    if hint is NamedNetwork:
        return NETWORKS
    if is_dataclass(hint):
        return results_of(hint)
    ranges = [rule for rule in rules if isinstance(rule, Between)]
    if hint is int:
        return st.integers(ranges[0].low, ranges[0].high)
    if hint is float:
        numbers = st.floats(ranges[0].low, ranges[0].high).filter(
            lambda value: value == 0 or abs(value) > SMALLEST
        )
        return numbers | st.just(nan) if ranges[0].nullable else numbers
    return st.booleans() if hint is bool else NAMES


def results_of(kind: type) -> st.SearchStrategy:
    hints = get_type_hints(kind, include_extras=True)
    parts = {part.name: values_of(hints[part.name]) for part in fields(kind)}
    parts.pop("schema_version", None)
    if issubclass(kind, SamplerConfig):
        parts |= CONFIG
    return st.builds(kind, **parts)


anywhere = settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("kind", KINDS)
@anywhere
@given(data=st.data())
def test_what_was_written_reads_back_equal(kind, tmp_path, data):
    result = data.draw(results_of(kind))
    write_json(result, tmp_path / "file.json")
    assert read_json(tmp_path / "file.json", kind) == result
    json.loads((tmp_path / "file.json").read_text(), parse_constant=pytest.fail)


def places(value, at=()):
    """Keys to each part, but for the version's."""
    parts = value.items() if isinstance(value, dict) else ()
    for key, part in enumerate(value) if isinstance(value, list | tuple) else parts:
        if key != "schema_version":
            yield (*at, key)
            yield from places(part, (*at, key))


@pytest.mark.parametrize("kind", KINDS)
@anywhere
@given(data=st.data())
def test_what_was_mutilated_is_served_or_refused_in_one_line(kind, tmp_path, data):
    path = tmp_path / "file.json"
    values = json.loads(json.dumps(as_json(data.draw(results_of(kind)))))
    for _ in range(20):
        changed = copy.deepcopy(values)
        *keys, last = data.draw(st.sampled_from(list(places(values))))
        part = changed
        for key in keys:
            part = part[key]
        new = data.draw(JSON | st.just(GONE))
        if new is GONE:
            del part[last]
        else:
            part[last] = new
        path.write_text(json.dumps(changed))
        try:
            READERS.get(kind, lambda path: read_json(path, kind))(path)
        except ResultsError as error:
            assert str(error).startswith(str(path))
            assert "\n" not in str(error)
            assert len(str(error)) < 1000


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_file_without_a_version_is_of_the_first_and_one_of_the_future_is_refused(kind, tmp_path):
    path = tmp_path / "file.json"
    values = as_json(results_of(kind).example())
    path.write_text(json.dumps({name: values[name] for name in values if name != "schema_version"}))
    assert as_json(read_json(path, kind)) == as_json(read_json(path, kind))
    path.write_text(json.dumps(values | {"schema_version": 2}))
    with pytest.raises(SamplerConfigError, match="has schema version 2, but this program reads up"):
        read_json(path, kind)
