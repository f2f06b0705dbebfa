"""Whatever the C++ kernels are given, they compute or refuse: nothing is read or written beside.

Under `.ci/sanitize` every access is checked; without it these tests see wrong errors and crashes.
"""

import re
import subprocess
import sys
import textwrap
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

_native = pytest.importorskip("patchindex.kernels._native")

from native_arguments import (  # noqa: E402 - after the test for the extension
    ENTRIES,
    Arguments,
    call,
    cell_arguments,
    group_arguments,
    list_arguments,
    propagation_arguments,
    record_arguments,
    rescore_arguments,
    row_arguments,
    scan_arguments,
)

from patchindex.errors import UserError  # noqa: E402

REFUSALS = (ValueError, TypeError, MemoryError)
NUMBERS = [
    -(2**63),
    -(2**31),
    -2,
    -1,
    0,
    1,
    2,
    3,
    2**31 - 1,
    2**31,
    2**33,
    2**62,
    2**63 - 1,
    10**30,
]
REALS = [-1.0, 0.0, 1e-300, 1e-12, 0.7, 1e35, 1e300, np.inf, -np.inf, np.nan]


def unaligned(array: np.ndarray) -> np.ndarray:
    """The same numbers, one byte beside where the processor would have them."""
    raw = np.zeros(array.nbytes + 1, dtype=np.uint8)
    moved = np.frombuffer(raw.data, dtype=array.dtype, offset=1, count=array.size)
    moved = moved.reshape(array.shape)
    moved.flags.writeable = True
    moved[...] = array
    return moved


def read_only(array: np.ndarray) -> np.ndarray:
    copy = array.copy()
    copy.flags.writeable = False
    return copy


@st.composite
def altered_arrays(draw: st.DrawFn, array: np.ndarray) -> Any:
    """The array with other numbers, another shape, type or place in memory."""
    way = draw(st.sampled_from(["numbers", "shape", "memory", "type", "none"]))
    if way == "numbers" and array.size:
        changed, real, limits = array.copy(), array.dtype.kind == "f", (0, 1)
        if array.dtype.kind in "iu":
            limits = np.iinfo(array.dtype).min, np.iinfo(array.dtype).max
        for place in draw(st.lists(st.integers(0, array.size - 1), min_size=1, max_size=4)):
            number = draw(st.sampled_from(REALS if real else NUMBERS))
            with np.errstate(over="ignore"):
                changed.flat[place] = number if real else min(max(number, limits[0]), limits[1])
        return changed
    if way == "shape":
        axis = draw(st.integers(0, array.ndim - 1))
        ways = [
            array[None].copy(),
            array.reshape(-1),
            array.swapaxes(0, axis).copy(),
            np.repeat(array, 2, axis),
            *(np.take(array, range(size), axis) for size in range(min(3, array.shape[axis]))),
        ]
        return ways[draw(st.integers(0, len(ways) - 1))]
    if way == "memory":
        ways = [read_only(array), unaligned(array), np.repeat(array, 2, -1)[..., ::2]]
        ways += [np.asfortranarray(array), array[..., ::-1]]
        return ways[draw(st.integers(0, len(ways) - 1))]
    if way == "type":
        kinds = ["f8", "f4", "f2", "i8", "i4", "u8", "u4", "u1", "?", "O", "c8", "S8"]
        kinds += [array.dtype.newbyteorder().str]
        with np.errstate(all="ignore"):
            return array.astype(draw(st.sampled_from(kinds)))
    return draw(st.sampled_from([None, [1, 2], "array", 3]))


@st.composite
def altered(draw: st.DrawFn, arguments: Arguments) -> Arguments:
    """The arguments with one or two of them changed."""
    changed = dict(arguments)
    names = st.lists(st.sampled_from(sorted(arguments)), min_size=1, max_size=2, unique=True)
    for name in draw(names):
        value = changed[name]
        if isinstance(value, np.ndarray):
            changed[name] = draw(altered_arrays(value))
        elif isinstance(value, tuple):
            changed[name] = draw(st.tuples(st.sampled_from(NUMBERS), st.sampled_from(NUMBERS)))
        elif isinstance(value, float):
            changed[name] = draw(st.sampled_from(REALS))
        elif isinstance(value, bool):
            changed[name] = not value
        elif isinstance(value, str):
            changed[name] = draw(st.sampled_from(["circular", "circular_interior", "", "none"]))
        else:
            changed[name] = draw(st.sampled_from(NUMBERS))
    return changed


@pytest.mark.parametrize(("entry", "arguments"), ENTRIES)
def test_every_entry_computes_what_it_should_be_given(entry, arguments, rng):
    assert call(entry, arguments(rng)) is not None


@pytest.mark.parametrize(("entry", "arguments"), ENTRIES)
@settings(max_examples=150, deadline=None)
@given(data=st.data(), isa=st.sampled_from(_native.instruction_sets()), seed=st.integers(0, 99))
def test_whatever_an_entry_is_given_it_computes_or_refuses(entry, arguments, data, isa, seed):
    given_arguments = data.draw(altered(arguments(np.random.default_rng(seed))))
    if entry != "propagate_neighbors":  # it has no vector code
        given_arguments["isa"] = isa
    with suppress(*REFUSALS):
        assert call(entry, given_arguments) is not None


ids_beyond = np.full((3, 20), 5 * 6 * 7)


@pytest.mark.parametrize(
    ("entry", "arguments", "change", "message"),
    [
        (
            "exact_scan",
            scan_arguments,
            {"sigma": np.nan},
            "positive and finite, from 1e-10 to 1e30",
        ),
        ("exact_scan", scan_arguments, {"sigma": 1e-40}, "from 1e-10 to 1e30"),
        (
            "exact_scan",
            scan_arguments,
            {"threads": 0},
            "threads must be at least 1 and at most 4096",
        ),
        ("exact_scan", scan_arguments, {"threads": 2**31 - 1}, "at most 4096, not 2147483647"),
        (
            "exact_scan",
            scan_arguments,
            {"pixels": np.zeros((0, 1, 1, 2**21), np.uint8), "patch_size": 1},
            r"pixels are uint8 with shape \(0, 1, 1, 2097152\)\. Give images .* 1048576 pixels",
        ),
        (
            "exact_scan",
            scan_arguments,
            {"pixels": np.zeros((0, 2**32 + 1, 6, 7), np.uint8)},
            "at most 1048576 pixels a side and 2147483647 values",
        ),
        (
            "patch_distances",
            rescore_arguments,
            {"ids": ids_beyond},
            "patch id 210 is not in 0..209",
        ),
        (
            "patch_distances",
            rescore_arguments,
            {"rows": (-2, 2)},
            r"offsets are -2\.\.1 and -1\.\.1",
        ),
        (
            "sum_patches",
            record_arguments,
            {"group_of": np.zeros(4, np.int64)},
            "Give one value per image",
        ),
        (
            "sum_patches",
            record_arguments,
            {"query_pixels": None},
            "there are groups without shares or query pixels",
        ),
        (
            "sum_patches",
            record_arguments,
            {"query_pixels": np.array([8, 9])},
            r"query_pixels is int64 with shape \(2,\) but windows are .* one pixel per window",
        ),
        (
            "sum_patches",
            record_arguments,
            {"query_pixels": np.array([8, 9, 42])},
            r"query pixel 42 lies outside of .* Give y \* width \+ x",
        ),
        (
            "sum_patches",
            record_arguments,
            {"num_nearest": 21},
            "num_nearest is 21 of 20 ids. Give at most as many as there are",
        ),
        ("sum_patches", record_arguments, {"num_nearest": -1}, "num_nearest is -1 of 20"),
        (
            "exact_scan",
            group_arguments,
            {"displacement_shares": None},
            "shares of images or of displacements alone",
        ),
        (
            "exact_scan",
            group_arguments,
            {"image_shares": np.zeros(4, np.int32)},
            "there are 5 images. Give one share per image",
        ),
        (
            "exact_scan",
            group_arguments,
            {"image_shares": np.full(5, -1, np.int32)},
            "an image has a share below 0",
        ),
        (
            "exact_scan",
            group_arguments,
            {"displacement_shares": np.zeros((9, 10), np.int32)},
            r"displacement_shares is int32 with shape \(9, 10\)\. Give odd numbers",
        ),
        (
            "search_lists",
            list_arguments,
            {"shard_offsets": np.array([0, 10, 10, 150, 301]), "lists": np.full((4, 1), 3)},
            r"list 3 is at 150\.\.301 of 300 codes",
        ),
        ("search_lists", list_arguments, {"offsets": np.zeros(0, np.int64)}, "offsets are empty"),
        ("search_lists", list_arguments, {"k": 2**62}, "k at most"),
        (
            "search_lists",
            list_arguments,
            {"code_min": np.full(9, np.nan, np.float32)},
            "code_min or code_span hold values that are not finite",
        ),
        (
            "nearest_rows",
            row_arguments,
            {"rows": np.full((140, 9), np.nan, np.float32)},
            "row 0 holds values that are not finite",
        ),
        (
            "nearest_rows",
            row_arguments,
            {"vectors": np.full((5, 9), np.inf, np.float32)},
            "vectors hold values that are not finite",
        ),
        ("nearest_rows", row_arguments, {"count": 141}, r"count is 141\. Give 1\.\.140"),
        ("nearest_in_cells", cell_arguments, {"num_visits": 4}, r"num_visits is 4\. Give 1\.\.3"),
        (
            "nearest_in_cells",
            cell_arguments,
            {"offsets": np.array([0, 10, 10, 140])},
            r"cell 1 has no row\. Leave it out",
        ),
        (
            "nearest_in_cells",
            cell_arguments,
            {"vectors": np.full((5, 9), np.inf, np.float32)},
            "vectors hold values that are not finite",
        ),
        (
            "propagate_neighbors",
            propagation_arguments,
            {"row_neighbors": np.full((5, 2), 3)},
            r"place 0 has place 3 for a neighbor, which was not searched\. Give 0\.\.2",
        ),
        (
            "propagate_neighbors",
            propagation_arguments,
            {"row_steps": np.full((5, 2), 2**62)},
            "a step of 4611686018427387904 pixels leaves the image",
        ),
    ],
)
def test_what_is_refused_is_said_with_what_was_expected(entry, arguments, change, message, rng):
    with pytest.raises(UserError, match=message):
        call(entry, arguments(rng) | change)


def test_an_array_that_is_not_aligned_is_refused(rng):
    arguments = list_arguments(rng)
    arguments["vectors"] = unaligned(arguments["vectors"])
    with pytest.raises(UserError, match=r"vectors is float32 .* not aligned"):
        call("search_lists", arguments)


def test_results_beyond_any_memory_are_a_memory_error_that_says_how_much(rng):
    arguments = list_arguments(rng) | {"k": 2**32}
    for name in "vectors", "lists":
        arguments[name] = np.repeat(arguments[name], 30000, axis=0)
    with pytest.raises(MemoryError, match=r"PiB|Unable to allocate"):
        call("search_lists", arguments)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the address space")
def test_memory_to_work_in_that_cannot_be_had_is_an_error_that_says_how_much():
    program = """
        import resource, sys
        from importlib.util import module_from_spec, spec_from_file_location
        from pathlib import Path
        import numpy as np
        spec = spec_from_file_location("_native", sys.argv[1])
        native = module_from_spec(spec)
        spec.loader.exec_module(native)
        pixels, y = np.zeros((1, 1, 1500, 1500), np.uint8), np.zeros((1, 1, 1500, 1500), np.float32)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + 2**28
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        try:
            native.exact_scan(
                pixels, y, 1.0, patch_size=3, boundary="zeros", equivariant=True, threads=2
            )
        except MemoryError as error:
            print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), _native.__file__]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    # sanitizers have errors of their own where memory is short
    assert re.match(
        r"the kernels (cannot have .* MiB to work in|are out of memory)\. Give", done.stdout
    )


def test_ids_of_no_image_are_no_members(rng):
    arguments = list_arguments(rng) | {"image_mask": np.ones(30, np.bool_), "first_id": 300}
    assert (call("search_lists", arguments) == -1).all()
