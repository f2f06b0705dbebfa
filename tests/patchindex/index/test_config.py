import pytest

from patchindex.errors import GeometryError, IndexConfigError
from patchindex.index.config import IndexConfig


def test_scales_are_sorted_and_named_once():
    assert IndexConfig(scales=(9, 3, 9, 5)).scales == (3, 5, 9)


@pytest.mark.parametrize("scale", [0, -3, 4])
def test_an_even_or_non_positive_scale_is_refused(scale):
    with pytest.raises(IndexConfigError, match=rf"scale {scale} is not a patch size. Give odd"):
        IndexConfig(scales=(3, scale))


def test_no_scale_at_all_is_refused():
    with pytest.raises(IndexConfigError, match=r"no scale was given. Give at least one"):
        IndexConfig(scales=())


@pytest.mark.usefixtures("unchecked")
def test_an_unknown_boundary_is_refused():
    with pytest.raises(GeometryError, match=r"boundary is 'mirror'. Give one of zeros"):
        IndexConfig(boundary="mirror")


@pytest.mark.usefixtures("unchecked")
def test_an_unknown_code_is_refused():
    with pytest.raises(IndexConfigError, match=r"code is 'pq'. Give one of these: sq8"):
        IndexConfig(code="pq")


@pytest.mark.parametrize(
    "name", ["least_dims", "list_dims", "shard_patches", "points_per_list", "block_patches"]
)
def test_a_count_of_zero_is_refused(name):
    with pytest.raises(IndexConfigError, match=rf"{name} is 0. Give at least 1"):
        IndexConfig(**{name: 0})


def test_a_negative_seed_is_refused():
    with pytest.raises(IndexConfigError, match=r"seed is -1. Give at least 0"):
        IndexConfig(seed=-1)


def test_lists_per_sqrt_must_be_positive():
    with pytest.raises(IndexConfigError, match=r"lists_per_sqrt is 0.0. Give a positive number"):
        IndexConfig(lists_per_sqrt=0.0)


def test_json_round_trips():
    config = IndexConfig(scales=(5, 3), boundary="circular", seed=7, lists_per_sqrt=0.25)
    assert IndexConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("channels", "patch_size", "least", "most"),
    [(1, 5, 32, 32), (3, 3, 32, 32), (1, 7, 40, 49), (3, 5, 40, 64), (1, 1, 16, 16)],
)
def test_small_windows_are_stored_as_they_are_in_full_lanes(channels, patch_size, least, most):
    config = IndexConfig()
    assert config.code_dims(channels, patch_size) == range(least, most + 1)
    assert config.is_plain(channels, patch_size) == (least == most)


@pytest.mark.parametrize("share", [0.0, 1.5, float("nan")])
def test_explained_variance_is_a_share(share):
    with pytest.raises(IndexConfigError, match=r"explained_variance is .*\. Give a share above 0"):
        IndexConfig(explained_variance=share)


def test_no_more_dimensions_are_least_than_most():
    with pytest.raises(IndexConfigError, match=r"least_dims is 40, but most_dims 8. Give no more"):
        IndexConfig(most_dims=8)
