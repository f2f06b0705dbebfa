"""Retrieval that is cut by states: the same bits for any crew."""

from pathlib import Path

import pytest
import torch
from pretended_crew import PretendedCrew, assert_equal_bits
from small_index import build_small, small_images

from patchindex import PatchIndex
from patchindex.crew import LOCAL, Crew
from sampler import ELSMachine
from sampler.posterior import Posterior

SETTINGS = {
    "drawn": {"k": 16, "tail": 2},
    "tolerance": {"k": 16, "tail": 2, "tolerance": 0.02},
    "no tail": {"k": 16, "tail": 0},
    "exact": {"exact": True},
}


@pytest.fixture(scope="module")
def index_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("indices") / "small.zarr"
    build_small(path, small_images(60, side=10, channels=2), scales=(3, 5))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("label", [None, 3])
@pytest.mark.parametrize("num_sources", [0, 4])
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(values, id=name, marks=[pytest.mark.slow] if name == "tolerance" else [])
        for name, values in SETTINGS.items()
    ],
)
def test_retrieval_that_is_cut_by_states_gives_the_same_bits(
    index_path, settings: dict, num_sources: int, label: int | None
) -> None:
    noise = torch.Generator().manual_seed(5)
    xt = torch.randn(3, 2, 10, 10, generator=noise)

    def steps(crew: Crew) -> list[Posterior]:
        index = PatchIndex.open(index_path, crew=crew)
        machine, done, known = ELSMachine(index, **settings), [], None
        for alpha_bar in (0.3, 0.6):
            done.append(
                machine.posterior(
                    xt, alpha_bar, 3, label=label, num_sources=num_sources, known=known
                )
            )
            known = done[-1].head
        return done

    alone = steps(LOCAL)
    for size in (2, 3):
        crew = PretendedCrew(size)
        for ours, theirs in zip(steps(crew), alone, strict=True):
            assert_equal_bits(ours, theirs)
            if num_sources:
                assert torch.equal(ours.sources.ids, theirs.sources.ids)
                assert torch.equal(ours.sources.weights, theirs.sources.weights)
                for name in ("state", "image", "share"):
                    assert torch.equal(
                        getattr(ours.sources.image_shares, name),
                        getattr(theirs.sources.image_shares, name),
                    )
            if theirs.head is not None:
                assert torch.equal(ours.head.ids, theirs.head.ids)
        if "exact" not in settings:
            assert max(crew.units) == -(-3 // -(-3 // size))
