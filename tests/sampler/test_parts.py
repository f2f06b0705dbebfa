"""Heads by parts of an index: as good as of the whole, and the same wherever they are found."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_index import build_small, small_images

from patchindex.crew import ThisProcess
from patchindex.errors import UserError
from sampler import ELSMachine
from sampler.estimator import parts_for
from sampler.results.checkpoint import Checkpoint
from sampler.trajectory import Begun, report_step, sample_steps

SETTINGS = {"k": 32, "tail": 4, "seed": 3}
PROCESS = {"scales": [3], "steps": 2}


class Shuffled(ThisProcess):
    """A crew that pretends to have several workers, and does its units in any order."""

    def __init__(self, size: int = 1, memory: int | None = None) -> None:
        self.size, self.memory = size, memory
        self.rounds: list[str] = []

    def run(self, work, units, *shared):
        self.rounds.append(work.__name__)
        order = np.random.default_rng(5).permutation(len(units)).tolist()
        done = {number: work(units[number], *shared) for number in order}
        return [done[number] for number in range(len(units))]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    images = small_images(num=120)
    path = tmp_path_factory.mktemp("parts") / "small.zarr"
    return build_small(path, images, scales=(3, 7), shard_patches=2**13, block_patches=2**13)


@pytest.fixture
def noise():
    rng = np.random.default_rng(1)
    return torch.from_numpy(rng.standard_normal((2, 1, 16, 16), dtype=np.float32))


def samples(index, noise, parts, **begun):
    machine = ELSMachine(index, parts=parts, **SETTINGS)
    start = Begun(reached=noise, **begun)
    return list(sample_steps(machine, noise, begun=start, **PROCESS))[-1].reached


def test_there_are_several_shards(index):
    assert len(index.arrays(3).shards) == 4


@pytest.mark.parametrize("parts", [2, 4])
def test_heads_of_parts_are_as_good_as_of_the_whole(index, noise, parts):
    exact = ELSMachine(index, exact=True)
    errors = {}
    for number in (1, parts):
        machine, known, total = ELSMachine(index, parts=number, **SETTINGS), None, 0.0
        for done in sample_steps(exact, noise, **PROCESS):
            found = machine.posterior(
                done.xt, done.step.alpha_bar, done.step.patch_size, known=known
            )
            known = found.head
            total += float((found.mean - done.answer.mean).square().mean())
        errors[number] = total
    assert errors[parts] < 1.5 * errors[1]


@pytest.mark.parametrize("parts", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_files_hold_what_memory_would(index, noise, tmp_path, parts):
    assert torch.equal(
        samples(index, noise, parts), samples(index, noise, parts, keep=tmp_path / "heads")
    )


@pytest.mark.slow
@pytest.mark.parametrize("kept", [False, True], ids=["in memory", "in files"])
def test_what_parts_have_found_is_there_after_an_interruption(index, noise, tmp_path, kept) -> None:
    """Also where heads came back by value, as from workers that do not share the folder."""
    machine, process = ELSMachine(index, parts=3, **SETTINGS), {"scales": [3], "steps": 3}
    whole = list(sample_steps(machine, noise, **process))
    first = Checkpoint(tmp_path, {"job": 1})
    start = Begun(reached=noise, keep=first.heads if kept else None)
    done = next(sample_steps(machine, noise, begun=start, **process))
    first.save(done, [report_step(done)], None)
    again = Checkpoint(tmp_path, {"job": 1})
    assert again.begun is not None
    rest = replace(again.begun, keep=again.heads)
    going_on = list(sample_steps(machine, noise, begun=rest, **process))
    assert torch.equal(going_on[-1].reached, whole[-1].reached)


@pytest.mark.slow
@pytest.mark.parametrize("keep", [pytest.param(False, marks=pytest.mark.slow), True])
def test_the_crew_changes_no_bit(index, noise, tmp_path, keep):
    alone = samples(index, noise, 3)
    for size in (1, 3):
        crew = Shuffled(size)
        index.crew = crew
        index.__dict__.pop("images", None)
        try:
            folder = {"keep": tmp_path / f"{size}"} if keep else {}
            assert torch.equal(samples(index, noise, 3, **folder), alone)
        finally:
            del index.crew
            index.crew = ThisProcess()
            index.__dict__.pop("images", None)
        assert set(crew.rounds) == {"_wanted", "_find", "_finish"}


def ids_of(index, size):
    shards = index.arrays(size).shards
    return np.concatenate([shard.ids.astype(np.int64) + shard.first_id for shard in shards])


def test_all_parts_hold_each_patch_once(index):
    for size in index.scales:
        found = [ids_of(index.part(part, 3), size) for part in range(3)]
        assert np.array_equal(np.sort(np.concatenate(found)), np.sort(ids_of(index, size)))


def test_an_index_is_divided_until_a_part_has_room(index):
    largest = max(index.arrays(size).num_bytes for size in index.scales)

    def parts(memory: int | None) -> int:
        index.crew = Shuffled(2, memory)
        try:
            return parts_for(index)
        finally:
            index.crew = ThisProcess()

    assert parts(None) == 1
    assert parts(2 * largest) == 1
    assert parts(largest) == 2
    assert parts(1) == 4


@pytest.mark.parametrize("parts", [0, 5])
def test_more_parts_than_shards_are_refused(index, parts):
    with pytest.raises(UserError, match=rf"parts is {parts}, but this index has 4 shards"):
        ELSMachine(index, parts=parts)


def test_a_label_and_sources_are_the_same_by_parts_on_a_crew(index, noise):
    machine = ELSMachine(index, parts=2, **SETTINGS)
    found = machine.posterior(noise, 0.6, 3, label=1, num_sources=4)
    again = replace(found, head=None)
    labels = index.images.labels[found.sources.ids[found.sources.ids >= 0].numpy() // 256]
    assert set(labels.tolist()) == {1}
    assert again.mean.isfinite().all()
