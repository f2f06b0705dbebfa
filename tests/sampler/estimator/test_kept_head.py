"""Heads in files: what was in memory, and a line where a file is not what was written."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pretended_crew import PretendedCrew
from small_index import build_small, small_images

from patchindex import PatchIndex, UserError
from patchindex.device import CPU
from sampler import ELSMachine, sample_steps
from sampler.estimator import Head, KeptHead
from sampler.trajectory import Begun


def random_head(rng: np.random.Generator, largest: int, num: int = 3) -> Head:
    ids = torch.from_numpy(rng.integers(-1, largest, (num, 4, 5, 6), endpoint=True))
    ids[0, 0, 0, 0], ids[-1, -1, -1, -1] = largest, -1
    return Head(
        patch_size=3,
        ids=ids,
        effective_sample_size=torch.from_numpy(rng.random((num, 4, 5))),
        mass=torch.from_numpy(rng.random((num, 4, 5))),
    )


def assert_same(ours: Head, theirs: Head) -> None:
    assert ours.patch_size == theirs.patch_size
    for name in ("ids", "effective_sample_size", "mass"):
        assert getattr(ours, name).dtype == getattr(theirs, name).dtype, name
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name


@pytest.mark.parametrize("largest", [0, 2**31, 2**32 - 2, 2**32 - 1, 2**32, 2**40])
def test_a_head_comes_back_as_it_was(tmp_path: Path, rng, largest: int) -> None:
    head = random_head(rng, largest)
    kept = KeptHead.write(head, tmp_path / "new" / "7", range(4, 7))
    assert sorted(path.name for path in kept.folder.iterdir()) == [
        "4-0.npz", "4.npz", "5-0.npz", "5.npz", "6-0.npz", "6.npz",
    ]  # fmt: skip
    assert_same(kept.load(CPU), head)
    assert_same(kept[1:3].load(CPU), head[1:3])
    again = KeptHead.joined([kept[0:1], kept[1:3]])
    assert again == kept


def test_a_head_without_any_patch_comes_back(tmp_path: Path, rng) -> None:
    head = random_head(rng, 5)
    head.ids.fill_(-1)
    assert_same(KeptHead.write(head, tmp_path, range(3)).load(CPU), head)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        cut_short,
        alter,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("torn"),
        lambda path: np.savez(path, other=np.zeros(3, np.uint32)),
    ],
    ids=["missing", "cut short", "altered", "empty", "no archive", "lacking"],
)
@pytest.mark.parametrize("name", ["2.npz", "2-0.npz"])
def test_a_damaged_file_is_told_in_a_line(tmp_path: Path, rng, damage, name: str) -> None:
    kept = KeptHead.write(random_head(rng, 99), tmp_path / "heads" / "1", range(3))
    damage(tmp_path / "heads" / "1" / name)
    assert_same(kept[0:2].load(CPU), kept[:2].load(CPU))
    with pytest.raises(
        UserError, match=rf"heads/1/{name}, which this run has kept, cannot be read"
    ):
        kept.load(CPU)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path, rng) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be kept in .*file/1 \(Not a directory\).*space"):
        KeptHead.write(random_head(rng, 9), tmp_path / "file" / "1", range(3))


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize(
    "settings",
    [{}, pytest.param({"tolerance": 0.02}, marks=pytest.mark.slow)],
    ids=["drawn", "tolerance"],
)
def test_a_trajectory_of_kept_heads_has_the_bits_of_one_in_memory(
    tmp_path: Path, size: int, settings: dict
) -> None:
    build_small(tmp_path / "small.zarr", small_images(60, side=10), scales=(3, 5))
    noise = torch.randn(3, 1, 10, 10, generator=torch.Generator().manual_seed(3))

    def means(index: PatchIndex, keep: Path | None) -> list[torch.Tensor]:
        machine = ELSMachine(index, k=16, tail=2, **settings)
        begun = Begun(reached=noise, keep=keep)
        # the third step is of another scale, for which no head serves
        steps = sample_steps(machine, noise, scales=[5, 3, 3], steps=4, begun=begun)
        done = list(steps)
        kinds = {type(each.answer.head) for each in done}
        assert kinds == {Head if keep is None else KeptHead}
        return [each.answer.mean for each in done]

    in_memory = means(PatchIndex.open(tmp_path / "small.zarr"), None)
    crew = PretendedCrew(size)
    kept = means(PatchIndex.open(tmp_path / "small.zarr", crew=crew), tmp_path / "heads")
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(kept, in_memory, strict=True))
    assert sorted(path.name for path in (tmp_path / "heads").iterdir()) == ["1", "2", "3", "4"]
    assert crew.stages == [f"step {number} of 4" for number in (1, 2, 3, 4)]
