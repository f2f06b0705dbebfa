"""The rescoring kernel for GPUs against brute force, in Triton's interpreter without a GPU."""

import numpy as np
import pytest
import torch
from reference.samples import Case
from reference.score_machines import as_unit, padded_windows

from patchindex import BorderSignature, PatchGeometry
from patchindex.kernels import GroupSets, NeighborAxis, PairGroups, torch_backend

triton_backend = pytest.importorskip("patchindex.kernels.triton_backend")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
GPU = [pytest.mark.gpu, pytest.mark.skipif(DEVICE == "cpu", reason="needs a CUDA device")]
CASES = [
    Case(3, 1, 6, 5, 3, "zeros", 0.5, seed=1),
    Case(3, 3, 5, 7, 5, "zeros", 0.9, seed=2),
    Case(2, 2, 4, 5, 7, "circular", 0.7, seed=3),
    Case(2, 1, 6, 7, 5, "circular_interior", 0.3, seed=4),
    Case(2, 1, 9, 3, 9, "circular", 0.7, seed=5),  # sides below the radius, each way
    Case(2, 1, 3, 9, 9, "circular", 0.7, seed=6),
    Case(2, 1, 9, 3, 15, "circular", 0.7, seed=7),  # narrower than the radius
    Case(2, 2, 2, 5, 9, "circular", 0.7, seed=8),
]


def geometry_of(case: Case) -> PatchGeometry:
    return PatchGeometry(
        height=case.height, width=case.width, patch_size=case.patch_size, boundary=case.boundary
    )


def legal_ids(case: Case, signature: BorderSignature) -> np.ndarray:
    images, rows, cols = np.meshgrid(
        np.arange(case.num_images), signature.rows.centers, signature.cols.centers, indexing="ij"
    )
    return ((images * case.height + rows) * case.width + cols).reshape(-1)


def query_windows(case: Case, signature: BorderSignature) -> np.ndarray:
    """[q, c, s, s], of one pixel of each row and column that the signature has."""
    padded = padded_windows(case.states(1) / case.alpha_bar**0.5, case.patch_size, case.boundary)[0]
    picked = padded[:, signature.rows.pixels][:, :, signature.cols.pixels]
    return picked.reshape(case.channels, -1, *picked.shape[-2:]).swapaxes(0, 1)[:3].copy()


def brute_distances(case: Case, windows: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Float64 [q, k] between windows cut by the reference; what lies outside is zero in both."""
    patches = padded_windows(as_unit(case.images()), case.patch_size, case.boundary)
    flat = np.moveaxis(patches, 1, 3).reshape(-1, *patches.shape[1:2], *patches.shape[4:])
    return ((flat[ids] - windows[:, None].astype(np.float64)) ** 2).sum(axis=(2, 3, 4))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_distances_equal_brute_force_for_every_signature(case: Case) -> None:
    rng, geometry = case.rng, geometry_of(case)
    images = torch.from_numpy(case.images())
    for signature in geometry.signatures[::3]:
        windows = query_windows(case, signature)
        ids = rng.choice(legal_ids(case, signature), (len(windows), 5))
        ids[0, 0] = -1
        found = triton_backend.patch_distances(
            images, torch.from_numpy(windows).to(DEVICE), torch.from_numpy(ids).to(DEVICE),
            geometry, signature,
        ).cpu()  # fmt: skip
        expected = brute_distances(case, windows, ids)
        expected[0, 0] = np.inf
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_windows_of_all_signatures_are_compared_in_one_launch(case: Case, monkeypatch) -> None:
    geometry, images = geometry_of(case), torch.from_numpy(case.images())
    windows, ids, numbers = [], [], []
    for number, signature in enumerate(geometry.signatures):
        windows.append(query_windows(case, signature))
        ids.append(case.rng.choice(legal_ids(case, signature), (len(windows[-1]), 5)))
        numbers += [number] * len(windows[-1])
    order = case.rng.permutation(len(numbers))
    windows, ids, numbers = (np.concatenate(x)[order] for x in (windows, ids, [numbers]))
    ids[::3, 2] = -1
    expected = brute_distances(case, windows, ids)
    expected[::3, 2] = np.inf
    kernel, grids = triton_backend.rescore_kernel, []

    class Counted:
        def __getitem__(self, grid):
            grids.append(grid)
            return kernel[grid]

    monkeypatch.setattr(triton_backend, "rescore_kernel", Counted())
    for module, place in (triton_backend, DEVICE), (torch_backend, "cpu"):
        found = module.patch_distances(
            images, *(torch.from_numpy(x).to(place) for x in (windows, ids)), geometry,
            torch.from_numpy(numbers).to(place),
        )  # fmt: skip
        np.testing.assert_allclose(found.cpu(), expected, rtol=1e-5, atol=1e-5)
    assert grids == [(len(numbers), 1)]


def test_windows_of_other_shapes_need_no_other_program() -> None:
    shapes = {"HEIGHT", "WIDTH", "C", "CANDIDATES", "LANES"}
    kernel = triton_backend.rescore_kernel
    constant = getattr(kernel, "constexprs", None)
    names = kernel.arg_names if constant is None else [kernel.arg_names[i] for i in constant]
    assert {name for name in names if name.isupper()} == shapes


def test_shared_patches_have_the_distances_of_single_ones() -> None:
    case = CASES[1]
    geometry, images = geometry_of(case), torch.from_numpy(case.images())
    signature = geometry.signatures[geometry.signature_at(2, 3)]
    windows = torch.from_numpy(query_windows(case, signature)).to(DEVICE)
    ids = torch.from_numpy(legal_ids(case, signature)).to(DEVICE)
    each = triton_backend.patch_distances(
        images, windows, ids.expand(len(windows), -1), geometry, signature
    )
    assert each.equal(triton_backend.patch_distances(images, windows, ids, geometry, signature))


@pytest.mark.parametrize("loaded_bytes", [1, 2 * 3 * 5 * 7, 2**28])
def test_images_that_are_loaded_in_blocks_give_the_same_distances(
    loaded_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[1]
    geometry, images = geometry_of(case), torch.from_numpy(case.images())
    signature = geometry.signatures[geometry.signature_at(2, 3)]
    windows = torch.from_numpy(query_windows(case, signature)).to(DEVICE)
    chosen = case.rng.choice(legal_ids(case, signature), (len(windows), 9))
    chosen[0, :2] = -1
    ids = torch.from_numpy(chosen).to(DEVICE)
    expected = triton_backend.patch_distances(images.to(DEVICE), windows, ids, geometry, signature)
    monkeypatch.setattr(triton_backend, "LOADED_BYTES", loaded_bytes)
    monkeypatch.setattr(triton_backend, "_beside", triton_backend._loaded)
    found = triton_backend.patch_distances(images, windows, ids, geometry, signature)
    assert found.equal(expected)
    shared = triton_backend.patch_distances(images, windows, ids[0], geometry, signature)
    assert shared[:1].equal(expected[:1])


def test_close_patches_keep_their_distance_in_float32() -> None:
    images = torch.full((1, 3, 17, 17), 255, dtype=torch.uint8)
    geometry = PatchGeometry(height=17, width=17, patch_size=17)
    signature = geometry.signatures[geometry.signature_at(8, 8)]
    windows = torch.ones(1, 3, 17, 17)
    windows[0, 0, 8, 8] += 1e-3
    ids = torch.tensor([[8 * 17 + 8]], device=DEVICE)
    found = triton_backend.patch_distances(images, windows.to(DEVICE), ids, geometry, signature)
    assert float(found) == pytest.approx(1e-6, rel=1e-3)


def test_sums_and_members_are_those_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_backend, "CENTERS_BYTES", 1)  # one query at a time
    case = Case(9, 2, 6, 6, 3, "zeros", 0.5, seed=6)
    geometry, images = geometry_of(case), torch.from_numpy(case.images())
    signature = geometry.signatures[geometry.signature_at(3, 3)]
    windows = torch.from_numpy(query_windows(case, signature))
    ids = torch.from_numpy(case.rng.choice(legal_ids(case, signature), (len(windows), 70)))
    ids[:, 60:] = -1
    groups = PairGroups.whole_images(torch.tensor([[0, 5], [2, 7]]), 6, 6)
    query_pixels = torch.tensor([7, 8, 9])
    expected = torch_backend.sum_patches(
        images, windows, ids, geometry, signature, sigma=0.8, groups=groups,
        query_pixels=query_pixels, num_nearest=9,
    )  # fmt: skip
    there = images, windows.to(DEVICE), ids.to(DEVICE), geometry, signature
    found = triton_backend.sum_patches(
        *there, sigma=0.8, groups=groups.to(there[1].device),
        query_pixels=query_pixels.to(DEVICE), num_nearest=9,
    )  # fmt: skip
    alone = triton_backend.sum_patches(*there, sigma=0.8)
    expected_record, listed, members = expected.record, expected.members, found.members
    assert found.nearest.sort().values.cpu().equal(expected.nearest.sort().values)
    for record in (found.record, alone.record):
        torch.testing.assert_close(record.mean.cpu(), expected_record.mean, rtol=0, atol=1e-5)
        torch.testing.assert_close(record.sum_w.cpu(), expected_record.sum_w, rtol=1e-5, atol=0)
        assert record.num_scored.cpu().equal(expected_record.num_scored)
        assert (record.num_scored == 60).all()
    assert len(listed.query)
    for name in ("query", "group"):
        assert getattr(members, name).cpu().equal(getattr(listed, name))
    torch.testing.assert_close(members.log_weights.cpu(), listed.log_weights, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(members.centers.cpu(), listed.centers)


def test_each_signature_has_its_own_groups() -> None:
    case = Case(9, 1, 7, 6, 3, "zeros", 0.5, seed=9)
    geometry, images = geometry_of(case), torch.from_numpy(case.images())
    numbers = torch.arange(9).repeat_interleave(2)
    windows = torch.from_numpy(
        np.concatenate([query_windows(case, s)[[0, -1]] for s in geometry.signatures])
    )
    ids = torch.from_numpy(
        np.stack([case.rng.choice(legal_ids(case, geometry.signatures[n]), 8) for n in numbers])
    )
    pixels = torch.tensor([s.rows.pixels[0] * 6 + s.cols.pixels[0] for s in geometry.signatures])
    inside = PairGroups.whole_images(torch.tensor([[0, 5], [2, 7]]), 7, 6)
    edges = PairGroups(
        images=torch.tensor([[1, 3, 5], [2, 0, 8], [4, 6, 7]]),
        image_shares=torch.tensor([[0, 1, 0], [1, 1, 1], [0, 0, 1]], dtype=torch.int32),
        displacement_shares=torch.tensor([[0, 1, 0, 1, 0, 1, 0]] * 9, dtype=torch.int32),
    )
    sets = GroupSets.of([inside, edges], [-1, 1, -1, 1, 0, 1, -1, 1, -1])
    options = {"sigma": 0.8, "num_nearest": 3}
    found = {}
    for module, place in (
        (triton_backend, torch.device(DEVICE)),
        (torch_backend, torch.device("cpu")),
    ):
        found[module] = module.sum_patches(
            images, windows.to(place), ids.to(place), geometry, numbers.to(place),
            groups=sets.to(place), query_pixels=pixels[numbers].to(place), **options,
        )  # fmt: skip
    members = found[triton_backend].members
    expected = found[torch_backend].members
    entries = [
        sorted(zip(m.query.tolist(), m.group.tolist(), m.log_weights.tolist(), strict=True))
        for m in (members, expected)
    ]
    np.testing.assert_allclose(entries[0], entries[1], rtol=1e-5)
    for number in range(9):
        mine = numbers == number
        alone = torch_backend.sum_patches(
            images, windows[mine], ids[mine], geometry, geometry.signatures[number],
            groups=sets.of_signature(number), query_pixels=pixels[numbers[mine]], **options,
        )  # fmt: skip
        of_it = mine[expected.query]
        assert torch.equal(expected.group[of_it], alone.members.group)
        assert torch.equal(found[torch_backend].nearest[mine], alone.nearest)
    assert set(numbers[expected.query].tolist()) > {4}


@pytest.mark.parametrize("forward", [True, False])
def test_neighbors_take_the_ids_that_torch_moves(rng: np.random.Generator, *, forward) -> None:
    geometry = PatchGeometry(height=7, width=9, patch_size=5)
    rows, cols = (
        NeighborAxis.beside(list(dict.fromkeys(axis)), forward=forward)
        for axis in zip(*((s.rows, s.cols) for s in geometry.signatures), strict=True)
    )
    found = torch.from_numpy(rng.integers(-1, 2 * 63, (2, 7, 9, 300)))
    found[0, 3, 3] = found[0, 3, 3, 0]  # one id, again and again
    found[1, 2:5] = -1  # nothing near some of the pixels
    targets = torch.from_numpy(rng.integers(0, [2, 7, 9], (40, 3)))
    targets[0] = torch.tensor([1, 3, 4])
    there = [NeighborAxis(**{n: getattr(axis, n).to(DEVICE) for n in axis.__slots__})
             for axis in (rows, cols)]  # fmt: skip
    taken = triton_backend.propagate_neighbors(
        found.to(DEVICE), targets.to(DEVICE), *there, height=7, width=9
    )
    expected = torch_backend.propagate_neighbors(found, targets, rows, cols, height=7, width=9)
    assert taken.cpu().equal(expected)
    assert (taken[0] == -1).all()
    none = triton_backend.propagate_neighbors(
        found.to(DEVICE), targets[:0].to(DEVICE), *there, height=7, width=9
    )
    assert len(none) == 0


def test_no_candidate_at_all_weighs_nothing() -> None:
    geometry = PatchGeometry(height=5, width=5, patch_size=3)
    signature = geometry.signatures[geometry.signature_at(2, 2)]
    images = torch.zeros(1, 1, 5, 5, dtype=torch.uint8)
    windows, ids = torch.zeros(2, 1, 3, 3, device=DEVICE), torch.full((2, 3), -1, device=DEVICE)
    sums = triton_backend.sum_patches(
        images, windows, ids, geometry, signature, sigma=1.0, num_nearest=2
    )
    record = sums.record
    assert (sums.nearest == -1).all()
    assert (record.sum_w == 0).all()
    assert record.log_max.isneginf().all()


@pytest.mark.parametrize("resident", [pytest.param(value, marks=GPU) for value in (True, False)])
def test_a_gpu_agrees_with_the_processor_on_real_sizes(*, resident: bool) -> None:
    torch.manual_seed(0)
    images = torch.randint(0, 256, (500, 3, 32, 32), dtype=torch.uint8)
    geometry = PatchGeometry(height=32, width=32, patch_size=15)
    signature = geometry.signatures[geometry.signature_at(16, 16)]
    windows, ids = torch.randn(64, 3, 15, 15), torch.randint(0, 500, (64, 300)) * 1024 + 16 * 33
    expected = torch_backend.patch_distances(images, windows, ids, geometry, signature)
    pixels = images.cuda() if resident else images
    found = triton_backend.patch_distances(pixels, windows.cuda(), ids.cuda(), geometry, signature)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-5, atol=1e-4)
