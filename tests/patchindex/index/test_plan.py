import numpy as np
import pytest
from small_index import build_small, small_config, small_images

from patchindex import ImageSet
from patchindex.errors import IndexConfigError, StoreError
from patchindex.index.build import build_index
from patchindex.index.config import IndexConfig
from patchindex.index.plan import check_disk, plan_build

FASHION = (60_000, 1, 32, 32)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_planned_disk_is_what_the_index_takes(tmp_path, channels):
    images = small_images(channels=channels)
    index = build_small(tmp_path / "small.zarr", images, most_dims=40)
    plan = plan_build(images.pixels.shape, small_config(most_dims=40))  # of 40..64
    info = index.info()
    assert plan.disk_bytes == info.disk_bytes
    for planned, found in zip(plan.scales, info.scales, strict=True):
        assert (planned.patch_size, planned.patches) == (found.patch_size, found.patches)
        assert planned.nlist == found.nlist
        assert planned.disk_bytes == pytest.approx(found.bytes_per_patch * found.patches)


def test_more_than_the_index_is_never_on_disk(tmp_path):
    images = small_images()
    plan = plan_build(images.pixels.shape, small_config(most_dims=40))
    work, found = tmp_path / "small.zarr.building", []

    def progress(*_):
        found.append(sum(path.stat().st_size for path in work.rglob("*") if path.is_file()))

    build_small(tmp_path / "small.zarr", images, progress=progress, most_dims=40)
    assert plan.disk_bytes == pytest.approx(max(found), rel=0.15)  # zarr.json, marks


def test_the_whole_of_fashion_mnist_stays_within_its_targets():
    plan = plan_build(FASHION, IndexConfig())
    assert plan.memory_bytes + plan.mapped_bytes < 10e9
    assert plan.seconds < 25 * 60
    # at most, where codes take all dimensions that they may
    assert plan.disk_bytes < 49 * sum(scale.patches for scale in plan.scales)
    usual = plan_build(FASHION, IndexConfig(most_dims=40))
    assert all(scale.disk_bytes < 48 * scale.patches for scale in usual.scales)


def test_memory_does_not_grow_with_what_is_mapped():
    config = IndexConfig(scales=(3,))
    small, large = (plan_build((n, 3, 64, 64), config) for n in (50_000, 200_000))  # 12, 49 shards
    images = 150_000 * 3 * 64 * 64
    assert large.memory_bytes - small.memory_bytes < 1.2 * images
    assert large.mapped_bytes - small.mapped_bytes > 10 * images


def test_more_images_need_more_of_everything():
    small, large = (plan_build((n, 1, 32, 32), IndexConfig()) for n in (6_000, 60_000))
    assert small.disk_bytes < large.disk_bytes
    assert small.memory_bytes < large.memory_bytes
    assert small.mapped_bytes < large.mapped_bytes
    assert small.seconds < large.seconds


def test_the_plan_names_disk_memory_and_time():
    text = "\n".join(plan_build(FASHION, IndexConfig()).lines())
    for words in ("245,760,000 patches", "at most", "GB of disk", "memory", "(an estimate)"):
        assert words in text


def test_time_left_goes_by_the_pace_so_far():
    plan = plan_build(FASHION, IndexConfig(scales=(3, 5)))
    first, second = (scale.core_seconds for scale in plan.scales)
    assert plan.time_left(1, 30.0) == f"{30 * second / first:.0f} s"
    assert plan.time_left(1, 8000.0) == f"{8000 * second / first / 3600:.1f} h"


def test_what_an_interrupted_build_has_left_is_not_needed_again(tmp_path):
    plan = plan_build((10**9, 1, 32, 32), IndexConfig())
    check_disk(plan, tmp_path, already=plan.disk_bytes)
    with pytest.raises(
        StoreError, match=r"needs \d+.\d\d GB more disk .* has \d+.\d\d .B free. Free"
    ):
        check_disk(plan, tmp_path, already=0)


@pytest.mark.slow
def test_more_patches_than_can_be_searched_are_refused_before_the_build(tmp_path):
    pixels = np.broadcast_to(np.zeros((1, 1, 1, 1), np.uint8), (4_194_305, 1, 32, 32))
    told = (
        r"scale 3 has 4,294,968,320 patches, but an index holds at most 4,294,967,296 of a scale. "
        r"Take at most 4,194,304 images \(--limit\)"
    )
    with pytest.raises(IndexConfigError, match=told):
        build_index(ImageSet.from_array(pixels), IndexConfig(scales=(3,)), tmp_path / "large.zarr")
    assert not list(tmp_path.glob("large*"))
