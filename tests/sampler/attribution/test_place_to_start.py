"""Where the page opens: late, near the middle, and where sources are listed."""

import numpy as np

from sampler.attribution.viewer.payload import place_to_start


def weights(**listed: int) -> np.ndarray:
    """[3, 2, 5, 5, 2], with sources at places "step_sample_y_x"."""
    levels = np.zeros((3, 2, 5, 5, 2), dtype=np.uint16)
    for place, level in listed.items():
        levels[tuple(map(int, place[1:].split("_")))][0] = level
    return levels


def test_the_latest_of_nearly_equal_places_is_chosen() -> None:
    assert place_to_start(weights(p0_0_1_1=60000, p1_1_4_3=58000, p2_0_2_2=20000)) == {
        "sample": 1, "step": 1, "y": 4, "x": 3,
    }  # fmt: skip


def test_of_one_step_the_place_nearest_to_the_middle_is_chosen() -> None:
    found = place_to_start(weights(p2_1_0_0=60000, p2_1_3_2=59000, p2_1_4_4=60000))
    assert found == {"sample": 1, "step": 2, "y": 3, "x": 2}


def test_all_sources_of_a_pixel_count_together() -> None:
    levels = weights(p2_0_2_2=30000, p2_0_4_4=40000)
    levels[2, 0, 2, 2, 1] = 35000
    assert place_to_start(levels) == {"sample": 0, "step": 2, "y": 2, "x": 2}


def test_without_any_source_the_page_has_no_such_place() -> None:
    assert place_to_start(weights()) is None
