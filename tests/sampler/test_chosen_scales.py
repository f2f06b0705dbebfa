"""Which scales a run compares: asked for, of the index, published, or spread evenly."""

import logging
from pathlib import Path

import numpy as np
import pytest
from small_index import build_small, small_images

from patchindex import ImageSet, PatchIndex, UserError
from sampler import ELSMachine, ISMachine, LSMachine
from sampler.results.run_result import with_compared_sizes
from sampler.results.source_result import ScalesResult
from sampler.scales import choose_scales, default_scales, placement, published_scales, spread


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> PatchIndex:
    """Scales 3 and 7, of images that no one has published scales for."""
    return build_small(tmp_path_factory.mktemp("indices") / "small.zarr")


def named(name: str, side: int = 32) -> ImageSet:
    return ImageSet.from_array(np.zeros((2, 1, side, side), np.uint8), name=name)


def test_an_index_of_an_unknown_set_spreads_its_own_scales_evenly(index, caplog) -> None:
    with caplog.at_level(logging.INFO):
        chosen = choose_scales(ELSMachine(index), index, None, boundary="zeros")
    assert chosen.patch_sizes == chosen.asked == (3,) * 10 + (7,) * 10
    told = [record for record in caplog.records if record.name == "sampler.scales"]
    (line,) = [record.getMessage() for record in told]
    assert line == ("scales: the index's own, spread evenly over t: 3 to t = 0.50, 7 to t = 1.00")


def test_an_index_of_a_known_set_places_its_scales_as_the_published_ones(
    tmp_path: Path, caplog
) -> None:
    images = small_images(20)
    known = ImageSet.from_array(images.pixels, images.labels, name="mnist")
    index = build_small(tmp_path / "known.zarr", known)
    with caplog.at_level(logging.INFO):
        chosen = choose_scales(ELSMachine(index), index, None, boundary="zeros")
    published = published_scales()["mnist_resnet_zeros"]
    assert chosen.patch_sizes == tuple(3 if scale <= 5 else 7 for scale in published)
    told = [record for record in caplog.records if record.name == "sampler.scales"]
    (line,) = [record.getMessage() for record in told]
    assert "the index's own, placed where those of mnist_resnet_zeros are nearest: 3 to" in line


def test_a_scale_that_is_asked_for_is_served_with_one_warning_and_both_are_kept(
    index, caplog
) -> None:
    with caplog.at_level(logging.INFO):
        chosen = choose_scales(ELSMachine(index), index, "3,5,9,15", boundary="zeros")
    assert ScalesResult.of(chosen) == ScalesResult(
        name="3,5,9,15", asked=(3, 5, 9, 15), patch_sizes=(3, 3, 7, 7)
    )
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning == (
        "the index lacks scale 5 (scale 3 serves in its place), scale 9 (scale 7 serves in its "
        "place), scale 15 (scale 7 serves in its place)"
    )


@pytest.mark.parametrize("machine", [ELSMachine, LSMachine])
def test_a_sum_over_every_patch_compares_what_is_asked_for(index, machine, caplog) -> None:
    chosen = choose_scales(machine(index.images), index, "3,5,9", boundary="zeros")
    assert chosen.patch_sizes == (3, 5, 9)
    assert not caplog.records


def test_the_machine_of_whole_images_has_no_patch_size(index, caplog) -> None:
    for asked in (None, "3,5"):
        chosen = choose_scales(ISMachine(index.images), index, asked, boundary="zeros")
        assert ScalesResult.of(chosen).patch_sizes is None
    assert ScalesResult.of(chosen).asked == (3, 5)
    assert not caplog.records


@pytest.mark.parametrize(
    ("name", "side", "boundary", "expected"),
    [
        ("fashion_mnist", 32, "zeros", "fashion_mnist_resnet_zeros"),
        ("sample", 32, "circular", "fashion_mnist_resnet_zeros"),
        ("cifar10", 32, "circular", "cifar10_resnet_circular"),
    ],
)
def test_a_named_set_without_an_index_has_its_published_scales(
    name, side, boundary, expected
) -> None:
    told, scales = default_scales(named(name, side), boundary)
    assert (told, scales.patch_sizes) == (expected, published_scales()[expected])


@pytest.mark.parametrize(
    ("name", "side", "boundary", "sizes"),
    [
        ("folder:photos", 32, "zeros", {3, 5, 9, 15}),
        ("folder:photos", 6, "zeros", {3, 5, 9}),
        ("folder:photos", 6, "circular_interior", {3, 5}),
        ("folder:photos", 1, "zeros", {1}),
        ("npz:faces.npz", 16, "zeros", {3, 5, 9, 15}),
        ("cifar10", 6, "zeros", {3, 5, 9}),  # whose published ones are larger than the images
    ],
)
def test_other_images_have_the_scales_that_an_index_would_have(name, side, boundary, sizes) -> None:
    told, scales = default_scales(named(name, side), boundary)
    assert told == "the default ones of an index, spread evenly over t"
    assert set(scales.patch_sizes) == sizes
    assert list(scales.patch_sizes) == sorted(scales.patch_sizes)


def test_each_scale_has_an_equal_share_of_the_times() -> None:
    assert spread((9, 3, 5, 15)) == (3,) * 5 + (5,) * 5 + (9,) * 5 + (15,) * 5
    assert spread(range(1, 61, 2)) == tuple(range(1, 61, 2))
    assert placement((3, 3, 5, 3)) == "3 to t = 0.50, 5 to t = 0.75, 3 to t = 1.00"


def test_an_account_without_a_version_is_read_as_what_it_compared() -> None:
    old = {
        "config": {"machine": "els", "exact": False},
        "source": {"index": "some.zarr", "index_scales": [3, 9]},
        "scales": {"name": "3,5,17", "patch_sizes": [3, 5, 17]},
        "steps": [{"t": 1.0, "patch_size": 17}, {"t": 0.5, "patch_size": 5}],
    }
    told = with_compared_sizes(old, Path("run.json"))
    assert told["scales"] == {"name": "3,5,17", "asked": [3, 5, 17], "patch_sizes": [3, 3, 9]}
    assert [step["patch_size"] for step in told["steps"]] == [9, 3]
    assert [step["asked_patch_size"] for step in told["steps"]] == [17, 5]
    exact = with_compared_sizes(
        old | {"config": {"machine": "els", "exact": True}}, Path("run.json")
    )
    assert exact["scales"]["patch_sizes"] == [3, 5, 17]
    whole = with_compared_sizes(
        old | {"config": {"machine": "is", "exact": False}}, Path("run.json")
    )
    assert whole["scales"]["patch_sizes"] is None
    assert [step["patch_size"] for step in whole["steps"]] == [None, None]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scales": None}, r"run\.json tells of no run, or lacks a part"),
        ({"steps": [1]}, r"run\.json tells of no run, or lacks a part"),
        ({"source": {}}, r"lacks a part \('index'\)\. Sample the run again"),
    ],
)
def test_an_account_of_another_version_is_refused_in_one_line(change, message) -> None:
    account = {
        "config": {"machine": "els", "exact": False},
        "source": {"index": "some.zarr", "index_scales": [3, 9]},
        "scales": {"name": "3", "patch_sizes": [3]},
        "steps": [{"t": 1.0, "patch_size": 3}],
    }
    with pytest.raises(UserError, match=message):
        with_compared_sizes(account | change, Path("run.json"))
