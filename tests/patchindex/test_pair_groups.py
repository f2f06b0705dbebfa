"""Groups of (image, displacement) pairs in every back end, against brute force pair by pair."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from itertools import product
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference.pair_groups import PairCase, group_sums, pair_cases
from reference.samples import Case
from reference.score_machines import as_unit, padded_windows

from patchindex import BorderSignature, PatchGeometry, PosteriorRecord
from patchindex.kernels import PairGroups

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# those of test_scan.py: float32 distances divided by 2 sigma^2
LOG_MASS_ATOL, RTOL, MEAN_ATOL = 2e-3, 2e-3, 2e-4


def back_ends() -> list[str]:
    """Modules, those in C++ with each instruction set."""
    names = ["torch_backend"]
    if find_spec("patchindex.kernels._native") is not None:
        native = import_module("patchindex.kernels.native_backend")
        names += [f"native_backend {isa}" for isa in native.instruction_sets()]
    if find_spec("triton") is not None:
        names.append("triton_backend")
    return names


def examples(name: str, count: int) -> Callable:
    """Settings of hypothesis; Triton's interpreter takes seconds for one example."""
    return settings(
        deadline=None,
        derandomize=True,
        max_examples=count // 6 if name == "triton_backend" else count,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@contextmanager
def loaded(name: str) -> Iterator[tuple[ModuleType, str]]:
    """The module of a back end, and the device that it computes on."""
    module, _, isa = name.partition(" ")
    with pytest.MonkeyPatch.context() as patched:
        if isa:
            patched.setenv("PATCHINDEX_ISA", isa)
        if module == "triton_backend":
            scan = import_module("patchindex.kernels.triton_scan")
            tiles = import_module("patchindex.kernels.tiles")
            patched.setattr(scan, "scan_tile", lambda *_: tiles.ScanTile(rows=2, moves=2))
            patched.setattr(scan, "IMAGES_PER_PROGRAM", 3)
            patched.setattr(scan, "SUMS_BYTES", 2**12)  # about one group to a launch
        yield (
            import_module(f"patchindex.kernels.{module}"),
            DEVICE if module == "triton_backend" else "cpu",
        )


def geometry_of(pairs: PairCase) -> PatchGeometry:
    case = pairs.case
    return PatchGeometry(
        height=case.height, width=case.width, patch_size=case.patch_size,
        boundary=case.boundary, equivariant=pairs.equivariant,
    )  # fmt: skip


def groups_of(pairs: PairCase) -> PairGroups:
    return PairGroups(
        images=torch.from_numpy(pairs.images),
        image_shares=torch.from_numpy(pairs.image_shares),
        displacement_shares=torch.from_numpy(pairs.displacement_shares),
    )


def scanned(name: str, pairs: PairCase) -> PosteriorRecord:
    """The sums of every group; fields [g, h, w]."""
    with loaded(name) as (back_end, device):
        record = back_end.exact_scan(
            torch.from_numpy(pairs.case.images()), torch.from_numpy(pairs.y)[None].to(device),
            pairs.sigma, geometry_of(pairs), groups_of(pairs).to(torch.device(device)),
        )  # fmt: skip
    assert record.sum_w.shape[1] == 1
    return record.map(lambda field: field[:, 0].cpu())


def assert_sums_agree(
    record: PosteriorRecord, pairs: PairCase, pixels: list[tuple[int, int]]
) -> None:
    for pixel in pixels:
        for group, expected in enumerate(group_sums(pairs, pixel)):
            at = (group, *pixel)
            assert int(record.num_scored[at]) == expected.num
            if not expected.num:
                assert record.log_max[at].isneginf()
                assert record.sum_w[at] == record.sum_w2[at] == 0
                assert (record.sum_wc[at] == 0).all()
                continue
            log_mass = record.log_max[at] + record.sum_w[at].log()
            np.testing.assert_allclose(log_mass, expected.log_mass, atol=LOG_MASS_ATOL, rtol=1e-5)
            np.testing.assert_allclose(record.mean[at], expected.mean, atol=MEAN_ATOL)
            size = record.sum_w[at] ** 2 / record.sum_w2[at]
            np.testing.assert_allclose(size, expected.effective_sample_size, rtol=RTOL)


@pytest.mark.parametrize("name", back_ends())
def test_every_group_has_the_sums_of_its_pairs(name: str) -> None:
    side, images = (4, 4) if name == "triton_backend" else (6, 20)

    @examples(name, 40)
    @given(pair_cases(max_side=side, most_images=images))
    def check(pairs: PairCase) -> None:
        pixels = list(product(range(pairs.case.height), range(pairs.case.width)))
        assert_sums_agree(scanned(name, pairs), pairs, pixels)

    check()


def large_case(patch_size: int, alpha_bar: float, run: int, channels: int = 1) -> PairCase:
    """Groups of two blocks of images and a few more, of runs of adjacent columns."""
    case = Case(2 * 37, channels, 17, 18, patch_size, "zeros", alpha_bar, seed=run)
    dy, dx = np.arange(-16, 17), np.arange(-17, 18)
    shares = np.repeat([0, 2, 1], [16, 16, 5])
    return PairCase(
        case=case,
        images=case.rng.permutation(74).reshape(2, 37),
        image_shares=np.stack([shares, shares[::-1]]).astype(np.int32),
        displacement_shares=((dx // run + 2 * dy[:, None]) % 5).astype(np.int32),
    )


@pytest.mark.parametrize("name", [n for n in back_ends() if n != "triton_backend"])
@pytest.mark.parametrize(
    "pairs",
    [
        large_case(3, 0.97, 1),
        large_case(5, 0.8, 2, 3),
        large_case(7, 0.6, 4),
        large_case(9, 0.3, 2),
        large_case(9, 0.3, 4, 3),
        large_case(15, 0.1, 3),
    ],
    ids=lambda pairs: f"{pairs.case.patch_size} {pairs.case.seed}",
)
def test_groups_of_several_blocks_have_the_sums_of_their_pairs(name: str, pairs: PairCase) -> None:
    # columns in ones to fours, windows summed afresh and by running sums
    pixels = [(0, 0), (0, 9), (8, 8), (8, 9), (9, 17), (16, 3)]
    assert_sums_agree(scanned(name, pairs), pairs, pixels)


@pytest.mark.slow
@pytest.mark.parametrize("name", back_ends())
def test_groups_of_whole_images_have_the_sums_of_these_images(name: str) -> None:
    case = Case(5, 2, 4, 5, 3, "zeros", 0.5, seed=4)
    images = np.array([[4, 0], [1, 3]])
    with loaded(name) as (back_end, device):
        y = torch.from_numpy(case.states(2) / np.float32(case.alpha_bar**0.5)).to(device)
        pixels = torch.from_numpy(case.images())
        geometry = PatchGeometry(height=4, width=5, patch_size=3)
        groups = PairGroups.whole_images(torch.from_numpy(images).to(device), 4, 5)
        record = back_end.exact_scan(pixels, y, 1.0, geometry, groups)
        for number, chosen in enumerate(images):
            alone = back_end.exact_scan(pixels[chosen], y, 1.0, geometry)
            mass = record.log_max[number] + record.sum_w[number].log()
            torch.testing.assert_close(mass, alone.log_max + alone.sum_w.log(), atol=1e-5, rtol=0)
            torch.testing.assert_close(record.mean[number], alone.mean, atol=1e-5, rtol=0)
            assert record.num_scored[number].equal(alone.num_scored)


def ids_and_windows(
    pairs: PairCase, signature: BorderSignature, num_ids: int, rng: np.random.Generator
) -> tuple[list[tuple[int, int]], np.ndarray, np.ndarray]:
    """Pixels of the signature, a window of the state for each, and ids of legal patches or -1."""
    case = pairs.case
    places = list(product(signature.rows.pixels, signature.cols.pixels))
    pixels = [places[i] for i in rng.permutation(len(places))[:3]]
    windows = padded_windows(pairs.y[None], case.patch_size, case.boundary)[0]
    ids = np.full((len(pixels), num_ids), -1)
    for query, pixel in enumerate(pixels):
        patches = [
            (n * case.height + y) * case.width + x
            for n in range(case.num_images)
            for y, x in pairs.centers(pixel)
        ]
        chosen = rng.permutation(patches)[: rng.integers(num_ids + 1)]
        ids[query, rng.permutation(num_ids)[: len(chosen)]] = chosen
    cut = np.stack([windows[:, y, x] for y, x in pixels])
    return pixels, np.ascontiguousarray(cut), ids


def assert_members_and_nearest_agree(
    sums, pairs: PairCase, pixels: list[tuple[int, int]], ids: np.ndarray, num_nearest: int
) -> None:
    case, clean = pairs.case, as_unit(pairs.case.images())
    expected, weights, nearest = [], [], sums.nearest.cpu().numpy()
    assert nearest.shape == (len(ids), min(num_nearest, ids.shape[1]))
    for query, pixel in enumerate(pixels):
        centers, log_weights = pairs.centers(pixel), pairs.log_weights(pixel)
        there = {}
        for patch in ids[query][ids[query] >= 0].tolist():
            image, y, x = np.unravel_index(patch, (case.num_images, case.height, case.width))
            there[patch] = log_weights[image, centers.index((int(y), int(x)))]
            group = pairs.group_of(int(image), (int(y), int(x)), pixel)
            if group >= 0:
                expected.append((query, group))
                weights.append((there[patch], *clean[image, :, y, x]))
        found = nearest[query][nearest[query] >= 0]
        assert len(found) == len(set(found)) == min(num_nearest, len(there))
        assert int(sums.record.num_scored[query]) == len(there)
        # by weight: float32 does not tell which of two near ties is nearer
        np.testing.assert_allclose(
            sorted(there[patch] for patch in found.tolist()),
            sorted(there.values(), reverse=True)[: len(found)][::-1],
            atol=LOG_MASS_ATOL, rtol=1e-5,
        )  # fmt: skip
    members = sums.members
    assert list(zip(members.query.tolist(), members.group.tolist(), strict=True)) == expected
    values = np.array(weights).reshape(len(expected), 1 + case.channels)
    np.testing.assert_allclose(
        members.log_weights.cpu(), values[:, 0], atol=LOG_MASS_ATOL, rtol=1e-5
    )
    np.testing.assert_allclose(members.centers.cpu(), values[:, 1:], atol=1e-6)


@pytest.mark.parametrize("name", back_ends())
def test_members_are_the_pairs_in_groups_and_the_nearest_are_the_nearest(name: str) -> None:
    @examples(name, 60)
    @given(pair_cases(), st.data())
    def check(pairs: PairCase, data: st.DataObject) -> None:
        geometry = geometry_of(pairs)
        signature = data.draw(st.sampled_from(geometry.signatures))
        num_ids, num_nearest = data.draw(st.integers(1, 40)), data.draw(st.integers(0, 45))
        rng = np.random.default_rng(data.draw(st.integers(0, 2**16)))
        pixels, windows, ids = ids_and_windows(pairs, signature, num_ids, rng)
        with loaded(name) as (back_end, device):
            sums = back_end.sum_patches(
                torch.from_numpy(pairs.case.images()), torch.from_numpy(windows).to(device),
                torch.from_numpy(ids).to(device), geometry, signature, sigma=pairs.sigma,
                groups=groups_of(pairs).to(torch.device(device)),
                query_pixels=torch.tensor([y * geometry.width + x for y, x in pixels]).to(device),
                num_nearest=num_nearest,
            )  # fmt: skip
        assert_members_and_nearest_agree(sums, pairs, pixels, ids, num_nearest)

    check()


@pytest.mark.parametrize("name", back_ends())
def test_of_equally_near_patches_those_with_smaller_ids_are_nearest(name: str) -> None:
    geometry = PatchGeometry(height=5, width=5, patch_size=3)
    signature = geometry.signatures[geometry.signature_at(2, 2)]
    # images 0 .. 5 are black, 6 .. 8 grey as the query
    pixels = torch.zeros(9, 1, 5, 5, dtype=torch.uint8)
    pixels[6:] = 255
    ids = 12 + 25 * torch.tensor([[5, 3, 8, 1, 7, 4, 2], [-1, 6, -1, 5, -1, 0, 3]])
    ids[ids < 0] = -1
    with loaded(name) as (back_end, device):
        sums = back_end.sum_patches(
            pixels, torch.ones(2, 1, 3, 3).to(device), ids.to(device), geometry, signature,
            sigma=1.0, num_nearest=4,
        )  # fmt: skip
    found = [sorted(row) for row in sums.nearest.tolist()]
    assert found == [[12 + 25 * n for n in numbers] for numbers in ([1, 2, 7, 8], [0, 3, 5, 6])]
    assert not len(sums.members.query)
