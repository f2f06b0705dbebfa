"""Crafted and damaged manifests: whatever one says, opening ends in one line or in an index."""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from json_places import places
from small_index import build_small, reseal, small_images

from patchindex.errors import StoreError, UserError
from patchindex.index.patch_index import PatchIndex
from patchindex.index.store import chunk_path, crc32c

ODD_VALUES = [
    None, True, -1, 0, 1, 3, 2**31, 2**63, 10**400, 0.5, 1e308, float("nan"), float("inf"),
    "", "x", "|O", "../../etc", "\x00", "\ud800", [], [0], [[]], ["x"], [10**30, 1], {}, {"a": 1},
]  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    path = tmp_path_factory.mktemp("built") / "small.zarr"
    return build_small(
        path, small_images(12), scales=(3, 5), shard_patches=2048, block_patches=2048
    )


@pytest.fixture
def path(built, tmp_path):
    """A copy to damage."""
    return shutil.copytree(built.path, tmp_path / "copy.zarr")


def put(value, at, new):
    """Change what is at the end of the path, or remove it."""
    for key in at[:-1]:
        value = value[key]
    if new is KeyError:
        del value[at[-1]]
    else:
        value[at[-1]] = new


def edit(name, **changes):
    return lambda attributes: attributes["arrays"][name].update(changes)


CRAFTED = {
    "objects instead of numbers": (
        edit("scales/3/shards/0/ids", dtype="|O"), r"json is damaged: no array is of dtype '\|O'"
    ),
    "another type of the same size": (
        edit("scales/3/centroids", dtype="<f8"), r"centroids .* bytes, but \d+ were written"
    ),
    "a shape that the configuration does not give": (
        lambda a: a["config"].update(least_dims=20, most_dims=24, plain_dims=9),
        r"is damaged: scales/5 has 32 dimensions, not 20..24",
    ),
    "a name that leaves the folder": (
        lambda a: a["arrays"].update({"../x": a["arrays"]["labels"]}),
        r"no array can be named '../x'",
    ),
    "a scale that is not listed": (
        lambda a: a["config"].update(scales=[3]), r"damaged: it lists scales/5/\w+, .* not know"
    ),
    "a scale that has no arrays": (
        lambda a: a["config"].update(scales=[3, 5, 7]), r"damaged: its seconds lack 7"
    ),
    "a scale that is even": (
        lambda a: a["config"].update(scales=[4]), r"damaged: scale 4 is not a patch size"
    ),
    "no images": (lambda a: a["arrays"].pop("images"), r"damaged: it lists no images"),
    "no offsets": (
        lambda a: a["arrays"].pop("scales/3/shards/0/offsets"),
        r"damaged: it lists no scales/3/shards/0/offsets",
    ),
    "no checksums of lists": (
        lambda a: a["arrays"].pop("scales/3/shards/0/ids_crc32c"),
        r"it lists no scales/3/shards/0/ids_crc32c",
    ),
    "more shards than the configuration gives": (
        lambda a: a["config"].update(shard_patches=2**24),
        r"is damaged: scales/3/shards/0/ids is <u4 \[\d+\], but must be <u4 \[3072\]",
    ),
    "a hash of names without names": (
        lambda a: a.update(names_sha256="0"), r"it has a hash of names without names, or names wi"
    ),
    "a crop nobody knows": (lambda a: a.update(crop="left"), r"its crop is none that there is"),
    "a resolution of other images": (
        lambda a: a.update(resolution=[8, 32]), r"its resolution is not that of the images"
    ),
    "a setting of another type": (
        lambda a: a["config"].update(list_dims="many"), r"list_dims is 'many'. Give a value such as"
    ),
    "a setting nobody knows": (
        lambda a: a["config"].update(speed=9), r"damaged: speed is no setting of an index"
    ),
    "lists without number": (
        lambda a: a["config"].update(lists_per_sqrt=float("inf")), r"lists_per_sqrt is inf. Give"
    ),
    "a huge number": (
        lambda a: a["config"].update(list_dims=10**4000), r"list_dims is 1000000000000"
    ),
    "a boundary nobody knows": (
        lambda a: a["config"].update(boundary="mirror"), r"damaged: boundary is 'mirror'"
    ),
    "a name that is a number": (lambda a: a.update(dataset=7), r"its dataset is not a text"),
    "seconds that are texts": (
        lambda a: a["seconds"].update(total="long"), r"its seconds are not numbers"
    ),
    "a negative shape": (edit("images", shape=[-1, 1, 16, 16]), r"the shape of images is \[-1, 1"),
}  # fmt: skip


@pytest.mark.parametrize("craft", CRAFTED)
@pytest.mark.usefixtures("unchecked")
def test_a_crafted_manifest_is_refused_before_anything_is_mapped(path, craft):
    change, message = CRAFTED[craft]
    reseal(path, change)
    with pytest.raises(StoreError, match=message):
        PatchIndex.open(path)


@pytest.mark.usefixtures("unchecked")
def test_any_odd_value_in_a_manifest_ends_in_one_line_or_an_index(path):
    whole = (path / "zarr.json").read_text()
    attributes = json.loads(whole)["attributes"]
    del attributes["manifest_sha256"]
    refused = []
    rng = random.Random(0)  # noqa: S311 - no secret
    for at in rng.sample(list(places(attributes))[1:], 220):
        new = rng.choice([*ODD_VALUES, KeyError])
        (path / "zarr.json").write_text(whole)
        reseal(path, lambda a, at=at, new=new: put(a, at, new))
        try:
            index = PatchIndex.open(path)
            list(index.info().lines())
            repr(index)
        except UserError as error:
            refused.append(str(error))
    assert len(refused) > 150
    assert not any("\n" in told for told in refused)


@pytest.mark.parametrize(
    "content",
    [b"[" * 10**5, b'{"attributes":' * 10**5, b"1" * 5000, b'{"attributes": {"format": NaN}}'],
)
def test_json_that_no_program_can_read_is_refused(path, content):
    (path / "zarr.json").write_bytes(content)
    with pytest.raises(StoreError, match=r"zarr.json is damaged: it is not a"):
        PatchIndex.open(path)


def forge(path, name, values):
    """Overwrite an array and make all checksums right again."""
    chunk = chunk_path(path / name, values.ndim)
    chunk.write_bytes(values.tobytes())
    reseal(path, edit(name, crc32c=crc32c(chunk)))


def beyond(offsets):
    offsets[5:] += 10**6


def backwards(offsets):
    offsets[1], offsets[2] = offsets[2], offsets[1]


def another(lists):
    lists[1] += 1


def endless(values):
    values[0] = np.nan


FORGED = {
    "signature_lists": (another, r"signature_lists are not those of its configuration"),
    "centroids": (endless, r"scale 3: centroids has values that are not finite"),
    "code_span": (endless, r"scale 3: code_span has values that are not finite"),
}


@pytest.mark.parametrize("name", FORGED)
def test_small_arrays_that_cannot_be_are_refused(path, built, name):
    change, message = FORGED[name]
    values = getattr(built.arrays(3), name).copy()
    change(values)
    forge(path, f"scales/3/{name}", values)
    with pytest.raises(StoreError, match=message):
        PatchIndex.open(path)


@pytest.mark.parametrize("change", [beyond, backwards])
def test_offsets_that_cannot_be_are_refused(path, built, change):
    offsets = built.arrays(3).shards[1].offsets.copy()
    change(offsets)
    forge(path, "scales/3/shards/1/offsets", offsets)
    with pytest.raises(StoreError, match=r"scales/3/shards/1/offsets do not cover ids"):
        PatchIndex.open(path)


def folder_instead(file):
    file.unlink()
    file.mkdir()


def pipe_to_itself(file):
    file.unlink()
    file.symlink_to(file.name)


@pytest.mark.parametrize("spoil", [folder_instead, pipe_to_itself, Path.unlink])
@pytest.mark.parametrize(
    "name", ["zarr.json", "images/c/0/0/0/0", "scales/3/shards/1/ids/c/0", "scales/5/pca/c/0/0",
             "scales/5/pca/zarr.json"],
)  # fmt: skip
def test_what_is_no_file_or_gone_ends_in_one_line(path, name, spoil):
    spoil(path / name)
    with pytest.raises(StoreError, match=r"^[^\n]*copy.zarr[^\n]*$"):
        PatchIndex.open(path).verify()


def test_an_index_in_a_file_and_a_name_without_end_are_told(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match=r"is not an index. Give a folder"):
        PatchIndex.open(tmp_path / "file")
    with pytest.raises(StoreError, match=r"cannot read .*: File name too long"):
        PatchIndex.open(tmp_path / ("x" * 300))
