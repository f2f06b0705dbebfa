"""Every kind of result: what was written reads back equal, and what was mutilated is one line."""

import copy
import json
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import partial
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sampler.errors import ResultsError, SamplerConfigError
from sampler.results.audit_result import AuditResult, read_audit
from sampler.results.denoise_result import DenoiseResult
from sampler.results.json_files import SMALLEST, Between, checked, read_json, write_json
from sampler.results.run_result import RunResult, SamplerConfig, read_run
from sampler.results.study_results import (
    CalibrateResult,
    CompareResult,
    LeaveOutResults,
    NamedNetwork,
    VerifyResult,
    read_verification,
)

KINDS = [
    RunResult, VerifyResult, AuditResult, CalibrateResult, CompareResult, DenoiseResult,
    LeaveOutResults,
]  # fmt: skip
READERS = {RunResult: read_run, VerifyResult: read_verification, AuditResult: read_audit}
GONE = object()
NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="\0") | st.just("\udcff"), max_size=5
)
# what a configuration asks for beyond the range of each value
CONFIG = {
    "k": st.integers(1, 9), "tail": st.integers(2, 9), "nprobe": st.integers(1, 9),
    "steps": st.integers(2, 9), "seed": st.integers(0, 9),
    "boundary": st.sampled_from(["zeros", "circular", "circular_interior"]),
    "sigmas": st.none(),  # there are as many as steps
}  # fmt: skip
NETWORK = {
    "name": NAMES, "architecture": st.just("resnet"), "padding": st.just("circular"),
    "channels": st.integers(1, 3), "height": st.just(8), "width": st.just(9),
    "sizes": st.just({"widths": [4], "depth": 1, "embedding": 2}),
    "num_classes": st.just(0), "prediction": st.just("noise"),
}  # fmt: skip
TEXTS = st.text(max_size=3)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
    | st.sampled_from([10**400, 2**64, 5e-324, "\ud800", "a\0", "n" * 999, "els", "is", [3, 7]]),
    lambda part: st.lists(part, max_size=2) | st.dictionaries(TEXTS, part, max_size=2),
    max_leaves=3,
)  # fmt: skip


def values_of(hint: Any, rules: tuple[object, ...] = ()) -> st.SearchStrategy:
    """What JSON may have in a field of this type."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        found = values_of(parts[0], (*parts[1:], *rules))
    elif origin in (Union, UnionType):
        known = [values_of(part, rules) for part in parts if part is not NoneType]
        found = st.one_of(*known, *([st.none()] if NoneType in parts else []))
    elif origin is Literal:
        found = st.sampled_from(parts)
    elif origin is tuple and parts[-1] is ...:
        found = st.lists(values_of(parts[0]), min_size=1, max_size=2)
    elif origin is tuple:
        found = st.tuples(*map(values_of, parts)).map(list)
    elif origin is not None:
        found = st.dictionaries(NAMES, values_of(parts[1]), max_size=2)
    else:
        ranges = [rule for rule in rules if isinstance(rule, Between)]
        found = results_of(hint) if is_dataclass(hint) else plain_values(hint, *ranges)
    return found


def plain_values(hint: type, within: Between | None = None) -> st.SearchStrategy:
    """Numbers of a range, flags, or names."""
    if hint is int:
        return st.integers(within.low, within.high)
    if hint is float:
        numbers = st.floats(within.low, within.high)
        shown = numbers.filter(lambda value: value == 0 or abs(value) > SMALLEST)
        return shown | st.none() if within.nullable else shown
    return st.booleans() if hint is bool else NAMES


def results_of(kind: type) -> st.SearchStrategy:
    """What JSON may have of a result."""
    hints = get_type_hints(kind, include_extras=True)
    own = CONFIG if issubclass(kind, SamplerConfig) else {}
    if kind is NamedNetwork:
        own = NETWORK
    for part in fields(kind):
        if part.name == "schema_version":
            own = {"schema_version": st.just(part.default)}
    names = [part.name for part in fields(kind)]
    return st.fixed_dictionaries(
        {name: own[name] if name in own else values_of(hints[name]) for name in names}
    )


anywhere = settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@anywhere
@given(data=st.data())
def test_what_was_written_reads_back_equal(kind, tmp_path, data):
    path, values = tmp_path / "file.json", data.draw(results_of(kind))
    path.write_text(json.dumps(values))
    result = read_json(path, kind)
    write_json(result, path)
    assert json.loads(path.read_text(), parse_constant=pytest.fail) == values
    assert read_json(path, kind) == result


def places(value, at=()):
    """Keys to each part, but for the version's."""
    parts = value.items() if isinstance(value, dict) else ()
    for key, part in enumerate(value) if isinstance(value, list | tuple) else parts:
        if key != "schema_version":
            yield (*at, key)
            yield from places(part, (*at, key))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@anywhere
@given(data=st.data())
def test_what_was_mutilated_is_served_or_refused_in_one_line(kind, tmp_path, data):
    path = tmp_path / "file.json"
    values = data.draw(results_of(kind))
    for _ in range(10):
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
        with told_in_a_line(path):
            READERS.get(kind, partial(read_json, kind=kind))(path)


@contextmanager
def told_in_a_line(path):
    try:
        yield
    except ResultsError as error:
        line = str(error)
    else:
        return
    assert line.startswith(str(path))
    assert "\n" not in line
    assert len(line) < 1000


def test_a_name_with_a_line_break_is_shown_in_a_line(tmp_path):
    path = tmp_path / "file.json"
    with pytest.raises(ResultsError) as caught:
        checked({"a\nb": "no number"}, dict[str, int], path)
    assert str(caught.value).startswith(f'{path}: a\\nb is "no number", but should be ')
    assert "\n" not in str(caught.value)


@anywhere
@given(data=st.data())
def test_a_file_without_a_version_is_of_the_first_and_one_of_the_future_is_refused(tmp_path, data):
    path, kind = tmp_path / "file.json", data.draw(st.sampled_from(KINDS[1:]))
    values = data.draw(results_of(kind))
    path.write_text(json.dumps(values | {"schema_version": 2}))
    with pytest.raises(SamplerConfigError, match="has schema version 2, but this program reads up"):
        read_json(path, kind)
    del values["schema_version"]
    path.write_text(json.dumps(values))
    write_json(read_json(path, kind), path)
    assert json.loads(path.read_text()) == {"schema_version": 1} | values
