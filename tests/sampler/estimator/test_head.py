"""What was found is moved by the right step, never counted twice, and carried to the next step."""

from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import pytest
import torch
from reference.brute_search import BruteSearch
from reference.samples import noisy_states, random_images
from reference.score_machines import posterior
from torch import Tensor
from torch.nn.functional import pad

from patchindex import ImageSet, PatchGeometry
from sampler import ELSMachine
from sampler.estimator import head
from sampler.estimator.head import Head, Searching, one_in_four, sum_head, with_neighbors
from sampler.estimator.query import Query

GEOMETRY = PatchGeometry(height=10, width=12, patch_size=3)
INTERIOR = max(GEOMETRY.signatures, key=lambda signature: signature.num_centers)
INNER = torch.zeros(10, 12, dtype=torch.bool)
INNER[1:-1, 1:-1] = True
# legal centers of the interior are rows 1 to 8 and columns 1 to 10; so are its pixels
FIELD = (1, 8, 10)
ALPHA_BAR, K, NPROBE = 0.9, 6, 2


def patch_id(image: int, row: int, col: int) -> int:
    return (image * GEOMETRY.height + row) * GEOMETRY.width + col


def propagated(
    found: dict[tuple[int, int], list[int]],
    wanted: torch.Tensor | None = None,
    *,
    forward: bool = True,
):
    """Candidates of every wanted place (row, column of the field), given those that were found."""
    wanted = torch.ones(FIELD, dtype=torch.bool) if wanted is None else wanted
    k = max(map(len, found.values()))
    field = torch.full((1, 10, 12, k), -1)
    for (row, col), ids in found.items():
        field[0, 1 + row, 1 + col, : len(ids)] = torch.tensor(ids)
    at = pad(wanted, (1, 1, 1, 1)).flatten().nonzero()[:, 0]
    ids = with_neighbors(field, at, GEOMETRY, forward=torch.full((10, 12), forward))
    places = wanted.nonzero()[:, 1:].tolist()
    return {
        tuple(place): row[row >= 0].tolist()
        for place, row in zip(places, ids, strict=True)
        if (row >= 0).any()
    }


@pytest.mark.parametrize(("forward", "to"), [(True, (-1, 0)), (False, (0, 1))])
def test_a_pixel_propagates_to_those_on_one_side_of_it_moved_by_their_step(forward, to) -> None:
    assert propagated({(3, 5): [patch_id(7, 4, 6)]}, forward=forward) == {
        (3 + dy, 5 + dx): [patch_id(7, 4 + dy, 6 + dx)] for dy in to for dx in to
    }


@pytest.mark.parametrize(
    ("forward", "last", "before"), [(True, (7, 9), (6, 8)), (False, (0, 0), (1, 1))]
)
def test_the_last_row_and_column_take_from_those_before_them(forward, last, before) -> None:
    moved = patch_id(2, 5 + last[0] - before[0], 5 + last[1] - before[1])
    assert propagated({before: [patch_id(2, 5, 5)]}, forward=forward)[last] == [moved]


def test_a_step_over_the_border_of_the_legal_centers_propagates_nothing() -> None:
    candidates = propagated({(3, 5): [patch_id(0, 1, 5), patch_id(3, 4, 1)]})
    assert candidates[2, 5] == [patch_id(3, 3, 1)]  # one up: row 0 is none
    assert candidates[3, 4] == [patch_id(0, 1, 4)]  # one left: column 0 is none
    assert (2, 4) not in candidates


def test_what_several_found_is_a_candidate_once() -> None:
    candidates = propagated(
        {
            (3, 5): [patch_id(5, 4, 4), patch_id(1, 2, 3), patch_id(1, 2, 3)],
            (3, 6): [patch_id(5, 4, 5)],
            (4, 5): [patch_id(5, 5, 4), patch_id(9, 8, 8)],
        }
    )
    assert candidates[3, 5] == [patch_id(1, 2, 3), patch_id(5, 4, 4), patch_id(9, 7, 8)]


def test_only_wanted_pixels_take_but_all_give() -> None:
    wanted = torch.zeros(FIELD, dtype=torch.bool)
    wanted[0, 3, 4] = wanted[0, 3, 5] = True
    found = {(row, col): [patch_id(row, 4, col + 1)] for row in (3, 4) for col in (4, 5)}
    assert propagated(found, wanted) == {
        (3, 4): [patch_id(3, 4, 5), patch_id(4, 3, 5)],
        (3, 5): [patch_id(3, 4, 6), patch_id(4, 3, 6)],
    }


def test_pixels_take_nothing_from_those_of_other_border_signatures() -> None:
    field = torch.arange(120).reshape(1, 10, 12, 1)  # each its own place in the first image
    rows, cols = torch.arange(120) // 12, torch.arange(120) % 12
    for forward in (INNER, ~INNER):
        ids = with_neighbors(field, torch.arange(120), GEOMETRY, forward=forward)
        # moved by the step from there, all neighbors' candidates are the pixel's own place
        assert ids.tolist() == (rows * 12 + cols)[:, None].tolist()
    other = with_neighbors(
        field + 120 * INNER[None, ..., None], torch.arange(120), GEOMETRY, forward=INNER
    )
    assert torch.equal(other[:, 0] >= 120, INNER.flatten())


@cache
def images() -> ImageSet:
    return ImageSet.from_array(random_images(np.random.default_rng(4), 40, 1, 10, 12))


@cache
def states() -> Tensor:
    return torch.from_numpy(noisy_states(np.random.default_rng(5), images().pixels, 2, ALPHA_BAR))


@dataclass(frozen=True)
class NotingSearch(BruteSearch):
    """Notes the middles of the windows that it is asked for and how many lists it would visit."""

    blind: bool = False
    asked: dict[float, int] = field(default_factory=dict)

    def search(self, patch_size, signature, windows, k, *, nprobe, **options) -> Tensor:
        middles, probes = windows[:, windows.shape[1] // 2].tolist(), options.get("probes")
        each = [nprobe] * len(windows) if probes is None else probes.tolist()
        for middle, lists in zip(middles, each, strict=True):
            self.asked[middle] = self.asked.get(middle, 0) + lists
        found = super().search(patch_size, signature, windows, k, nprobe=nprobe, **options)
        return torch.full_like(found, -1) if self.blind else found

    def lists_for(self, y: Tensor) -> Tensor:
        """How many lists were visited for each pixel [b, h, w]; 0 where it was not searched."""
        lists = [self.asked.get(value, 0) for value in y.flatten().tolist()]
        return torch.tensor(lists).reshape(y[:, 0].shape)


def known_head(**changes) -> Head:
    """Of `states()`: some patch of the first image for each pixel, of which much is known."""
    b, _, height, width = states().shape
    places = torch.arange(height * width).reshape(height, width, 1)
    ones = torch.ones(b, height, width, dtype=torch.float64)
    parts = {"ids": places.expand(b, -1, -1, K), "effective_sample_size": 1e6 * ones, "mass": ones}
    return Head(patch_size=3, **(parts | changes))


def lists_of_interior(known: Head | None, phase: tuple[int, int] = (0, 0)) -> Tensor:
    """The lists visited for each inner pixel of `states()` while a head is summed."""
    search = NotingSearch(images())
    query = Query(
        index=search, y=states() / ALPHA_BAR**0.5, sigma=1.0, geometry=GEOMETRY, label=None
    )
    again = torch.zeros(10, 12, dtype=torch.bool)
    again[1:-1, 1:-1] = one_in_four(INTERIOR, phase)
    searching = Searching(
        k=K, nprobe=NPROBE, known=known, forward=torch.ones_like(INNER), again=again
    )
    sum_head(query, INNER.expand(2, -1, -1), searching)
    return search.lists_for(query.y)[:, 1:-1, 1:-1]


@pytest.fixture
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pixel is searched again because few patches are left."""
    monkeypatch.setattr(head, "FEW_LEFT", 0)


def inside(value: float, elsewhere: float) -> Tensor:
    """A field that has one value for the inner pixel (4, 4) of the first state."""
    whole = torch.full((2, 10, 12), elsewhere, dtype=torch.float64)
    whole[0, 5, 5] = value
    return whole


def test_pixels_of_which_nothing_is_known_are_searched_in_more_lists(once) -> None:
    assert (lists_of_interior(None) == 4 * NPROBE).all()


@pytest.mark.parametrize("phase", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_one_in_four_of_the_known_pixels_is_searched_again(once, phase) -> None:
    lists = lists_of_interior(known_head(), phase=phase)
    expected = torch.zeros_like(lists)
    expected[:, phase[0] :: 2, phase[1] :: 2] = NPROBE
    assert torch.equal(lists, expected)


def test_pixels_that_few_patches_decide_are_all_searched_again(once) -> None:
    before = lists_of_interior(known_head())
    few = known_head(effective_sample_size=inside(head.FEW_DECIDE - 1, head.FEW_DECIDE))
    lists = lists_of_interior(few, phase=(1, 1))
    assert lists[0, 4, 4] == NPROBE
    lists[0, 4, 4] = 0
    expected = torch.zeros_like(before)
    expected[:, 1::2, 1::2] = NPROBE
    assert torch.equal(lists, expected)


@pytest.mark.parametrize(
    ("mass", "effective", "lists"),
    [(0.49, 999.0, 4 * NPROBE), (0.51, 999.0, 0), (0.49, 1000.0, 0), (float("nan"), 999.0, 0)],
)
def test_a_poor_head_is_searched_again_in_more_lists(once, mass, effective, lists) -> None:
    known = known_head(mass=inside(mass, 1.0), effective_sample_size=inside(effective, 1e6))
    found = lists_of_interior(known, phase=(1, 1))
    assert found[0, 4, 4] == lists
    assert (found[1] == lists_of_interior(known_head(), phase=(1, 1))[1]).all()


def test_a_pixel_without_patches_is_searched_in_more_lists(once) -> None:
    known = known_head()
    ids = known.ids.clone()
    ids[0, 5, 5] = -1
    ids[0, 6, 6, 1:] = -1  # one is left
    lists = lists_of_interior(replace(known, ids=ids), phase=(1, 1))
    assert lists[0, 4, 4] == 4 * NPROBE
    assert lists[0, 5, 5] == NPROBE


def test_pixels_with_few_patches_left_are_searched_once_more(monkeypatch) -> None:
    monkeypatch.setattr(head, "FEW_LEFT", 10**6)  # all pixels
    lists = lists_of_interior(known_head(), phase=(1, 1))
    expected = torch.full_like(lists, 4 * NPROBE)
    expected[:, 1::2, 1::2] += NPROBE
    assert torch.equal(lists, expected)


@dataclass(frozen=True)
class PoorSearch(BruteSearch):
    """Finds one patch for each window, as where lists that a tail stands for are left out."""

    def search(self, patch_size, signature, windows, k, **options) -> Tensor:
        found = super().search(patch_size, signature, windows, k, **options)
        found[:, 1:] = -1
        return found


def test_pixels_for_which_fewer_than_k_were_found_are_searched_once_more(monkeypatch) -> None:
    monkeypatch.setattr(head, "FEW_LEFT", 10**6)  # all pixels
    found = machine(PoorSearch(images())).posterior(states(), ALPHA_BAR, 3).head
    assert found.ids.shape[-1] == 40
    assert ((found.ids >= 0).sum(-1) < 40).all()
    assert nearest_patches(1) <= set(found.ids[0, 4, 5].tolist())


def exact() -> list:
    return [posterior(xt.numpy(), ALPHA_BAR, images().pixels, 3) for xt in states()]


def machine(search: BruteSearch) -> ELSMachine:
    return ELSMachine(search, k=40, tail=4)


def test_what_was_found_at_one_step_is_used_at_the_next() -> None:
    first = machine(BruteSearch(images())).posterior(states(), ALPHA_BAR, 3)
    blind = NotingSearch(images(), blind=True)
    without = machine(blind).posterior(states(), ALPHA_BAR, 3)
    sampled = without.standard_error[:, 0] > 0
    assert not without.head_mass[sampled].any()
    blind.asked.clear()
    carried = machine(blind).posterior(states(), ALPHA_BAR, 3, known=first.head)
    assert blind.asked
    for number, truth in enumerate(exact()):
        # what a neighbor lent to the first is not all kept for the next
        off = np.abs(carried.log_mass[number].numpy() - truth.log_mass)
        assert off.max() < 0.2
        assert np.median(off) < 0.01
    assert float(carried.head_mass[sampled].min()) > 0.7
    assert carried.head.ids.shape == first.head.ids.shape
    assert (carried.head.ids[sampled] >= 0).any(-1).all()


def test_a_head_of_another_patch_size_is_dropped() -> None:
    search = NotingSearch(images(), scales=(3, 5))
    known = machine(search).posterior(states(), ALPHA_BAR, 5).head
    assert known.patch_size == 5
    blind = NotingSearch(images(), scales=(3, 5), blind=True)
    fresh = machine(blind).posterior(states(), ALPHA_BAR, 3)
    carried = machine(blind).posterior(states(), ALPHA_BAR, 3, known=known)
    assert torch.equal(fresh.mean, carried.mean)
    assert (carried.head.ids == -1).all()


def test_a_head_has_the_nearest_patches_of_its_pixels() -> None:
    found = machine(BruteSearch(images())).posterior(states(), ALPHA_BAR, 3).head
    assert set(found.ids[0, 4, 5].tolist()) == nearest_patches(40)


def nearest_patches(count: int) -> set[int]:
    """Of all, the nearest to the window of pixel (4, 5) of the first state."""
    windows = (states()[0, 0] / ALPHA_BAR**0.5).unfold(0, 3, 1).unfold(1, 3, 1)[3, 4]
    clean = torch.from_numpy(images().pixels[:, 0] / 127.5 - 1)
    dist_sq = (clean.unfold(1, 3, 1).unfold(2, 3, 1) - windows).square().sum((-2, -1))
    image, row, col = np.unravel_index(dist_sq.flatten().argsort()[:count].numpy(), dist_sq.shape)
    return {patch_id(*place) for place in zip(image, row + 1, col + 1, strict=True)}


def test_parts_of_a_head_join_to_it() -> None:
    ids = torch.arange(5 * 10 * 12 * K).reshape(5, 10, 12, K)
    numbers = torch.arange(5.0 * 10 * 12, dtype=torch.float64).reshape(5, 10, 12)
    whole = Head(patch_size=3, ids=ids, effective_sample_size=numbers, mass=-numbers)
    parts = [whole[:2], whole[2:3], whole[3:]]
    assert [len(part.ids) for part in parts] == [2, 1, 2]
    joined = Head.joined(parts)
    assert joined.patch_size == 3
    for name in ("ids", "effective_sample_size", "mass"):
        assert torch.equal(getattr(joined, name), getattr(whole, name))
        assert torch.equal(getattr(parts[1], name), getattr(whole, name)[2:3])


def test_states_that_are_estimated_apart_carry_their_own_heads(monkeypatch) -> None:
    first = machine(BruteSearch(images())).posterior(states(), ALPHA_BAR, 3)
    whole = machine(BruteSearch(images())).posterior(states(), ALPHA_BAR, 3, known=first.head)
    monkeypatch.setattr("sampler.machines.PIXELS_PER_CHUNK", 1)
    apart = machine(BruteSearch(images())).posterior(states(), ALPHA_BAR, 3, known=first.head)
    assert torch.equal(whole.head.ids, apart.head.ids)
    torch.testing.assert_close(whole.mean, apart.mean)
