"""Arrays by step: what was written comes back, and what was damaged is never read as numbers."""

import json
import random
import shutil

import numpy as np
import pytest
from json_places import places

from patchindex.errors import StoreError
from patchindex.step_store import StepStore

STEPS = 4
ODD_VALUES = [
    None, True, -1, 0, 2**70, 0.5, "", "x", "|O", "object", [], [0], [2**40] * 3, {}, {"name": "x"}
]  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("written") / "trace.zarr"
    store, rng = StepStore.create(path, {"about": "a test"}), np.random.default_rng(0)
    for step in range(STEPS):
        noise = rng.standard_normal((2, 8, 8)).astype(np.float16)
        store.write(step, STEPS, {"state": noise, "zeros": np.zeros((2, 3), np.float32)})
    return path


@pytest.fixture
def path(written, tmp_path):
    """A copy to damage."""
    return shutil.copytree(written, tmp_path / "copy.zarr")


def read_all(path):
    store = StepStore.open(path)
    return [store.read(name) for name in ("state", "zeros")]


def equal(some, others):
    return all(
        np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(some, others, strict=True)
    )


def test_steps_come_back_together_and_by_place(written):
    state, zeros = read_all(written)
    assert state.shape == (STEPS, 2, 8, 8)
    assert not zeros.any()
    assert np.array_equal(StepStore.open(written).read("state", 1, [2, 5]), state[:, 1, [2, 5]])


def test_any_flipped_bit_of_a_chunk_is_noticed(path, rng):
    chunks = sorted(file for file in path.rglob("*") if file.is_file() and file.name == "0")
    assert len(chunks) == 3 * STEPS  # their checksums are a third array
    for _ in range(100):
        chunk = rng.choice(chunks)
        whole = chunk.read_bytes()
        torn = bytearray(whole)
        torn[rng.integers(len(torn))] ^= 1 << int(rng.integers(8))
        chunk.write_bytes(torn)
        with pytest.raises(StoreError, match=r"array \w+ of .*copy.zarr cannot be read \(.*\). Re"):
            read_all(path)
        chunk.write_bytes(whole)


@pytest.mark.parametrize("other", ["state/c/3/0/0/0", "mean/c/1/0/0/0"])
def test_a_chunk_in_the_place_of_another_is_noticed(tmp_path, other):
    path = tmp_path / "trace.zarr"
    store, rng = StepStore.create(path, {}), np.random.default_rng(0)
    for step in range(STEPS):
        noise = rng.standard_normal((2, 2, 8, 8)).astype(np.float16)
        store.write(step, STEPS, {"state": noise[0], "mean": noise[1]})
    chunk, other = path / "state/c/1/0/0/0", path / other
    first, second = chunk.read_bytes(), other.read_bytes()
    chunk.write_bytes(second)
    other.write_bytes(first)
    with pytest.raises(StoreError, match=r"read \(step 1 is not what was written\). Record"):
        StepStore.open(path).read("state")


@pytest.mark.parametrize("name", ["state", "zeros"])
def test_a_missing_step_is_not_taken_for_zeros(path, name):
    shutil.rmtree(path / name / "c" / "2")
    with pytest.raises(StoreError, match=rf"array {name} of .* be read \(step 2 is missing\). Rec"):
        StepStore.open(path).read(name)


def test_a_store_without_checksums_still_opens(path):
    state, zeros = read_all(path)
    shutil.rmtree(path / "chunk_crc32")
    assert equal(read_all(path), [state, zeros])
    for name, values in (("state", state), ("zeros", zeros)):
        shutil.rmtree(path / name)
        import zarr  # noqa: PLC0415 - to write as before

        group = zarr.open_group(path, mode="r+")
        group.create_array(
            name, shape=values.shape, dtype=values.dtype, chunks=(1, *values.shape[1:])
        )[...] = values
    assert not (path / "zeros" / "c").exists()
    assert equal(read_all(path), [state, zeros])


@pytest.mark.parametrize(("name", "least"), [("zarr.json", 5), ("state/zarr.json", 50)])
@pytest.mark.usefixtures("unchecked")
@pytest.mark.filterwarnings("ignore")
def test_any_odd_value_in_metadata_ends_in_one_line_or_the_same_numbers(path, name, least):
    whole, wanted = (path / name).read_text(), read_all(path)
    rng, refused = random.Random(0), []  # noqa: S311 - no secret
    for at in list(places(json.loads(whole)))[1:]:
        for new in rng.sample(ODD_VALUES, 4):
            metadata = inner = json.loads(whole)
            for key in at[:-1]:
                inner = inner[key]
            inner[at[-1]] = new
            (path / name).write_text(json.dumps(metadata))
            try:
                found = read_all(path)
            except StoreError as error:
                refused.append(str(error))
            else:
                assert equal(found, wanted), (at, new)
    assert len(refused) > least
    assert not any("\n" in line for line in refused)


@pytest.mark.parametrize("name", ["zarr.json", "state/zarr.json", "state/c/1/0/0/0"])
def test_a_folder_in_place_of_a_file_ends_in_one_line(path, name):
    (path / name).unlink()
    (path / name).mkdir()
    with pytest.raises(StoreError, match=r"^[^\n]*copy.zarr[^\n]*Record it again.$"):
        read_all(path)
