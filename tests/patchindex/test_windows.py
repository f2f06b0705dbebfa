"""Windows cut out of images, against numpy's padding."""

import numpy as np
import torch
from hypothesis import given
from reference.samples import PROPERTY, Case, cases
from reference.score_machines import as_unit, padded_windows

from patchindex import PatchGeometry, windows_at
from patchindex.windows import wrapped


def windows_of(case: Case, rows: range, cols: range) -> np.ndarray:
    geometry = PatchGeometry(
        height=case.height, width=case.width, patch_size=case.patch_size, boundary=case.boundary
    )
    return windows_at(torch.from_numpy(as_unit(case.images())), rows, cols, geometry).numpy()


@PROPERTY
@given(cases())
def test_windows_are_those_of_the_padded_image(case: Case) -> None:
    rows, cols = range(case.height), range(case.width)
    expected = padded_windows(as_unit(case.images()), case.patch_size, case.boundary)
    np.testing.assert_array_equal(
        windows_of(case, rows, cols), np.moveaxis(expected, 1, 3), strict=True
    )


@PROPERTY
@given(cases())
def test_windows_of_some_rows_and_columns_are_a_part_of_all_windows(case: Case) -> None:
    rows, cols = range(case.height // 2, case.height), range(0, (case.width + 1) // 2)
    everything = windows_of(case, range(case.height), range(case.width))
    np.testing.assert_array_equal(
        windows_of(case, rows, cols), everything[:, rows.start : rows.stop, cols.start : cols.stop]
    )


@PROPERTY
@given(cases())
def test_the_middle_cell_of_a_window_is_its_center(case: Case) -> None:
    windows = windows_of(case, range(case.height), range(case.width))
    radius = case.patch_size // 2
    expected = np.moveaxis(as_unit(case.images()), 1, 3)
    np.testing.assert_array_equal(windows[..., radius, radius], expected)


def test_an_axis_wraps_as_often_as_needed() -> None:
    assert wrapped(3, 5).tolist() == [1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1]
    np.testing.assert_array_equal(wrapped(3, 5), np.pad(np.arange(3), 5, mode="wrap"))
