"""A search that stays on a device, against the processor's; and who searches lists there."""

import sys
from contextlib import nullcontext
from types import SimpleNamespace

import faiss
import numpy as np
import pytest
import torch
from simulated_gpu import GpuTensor, simulated_gpu
from small_index import build_small, merged_lists

from patchindex import PatchIndex, windows_at
from patchindex.device import Device
from patchindex.errors import DatasetError, KernelError, KernelInputError
from patchindex.images import to_unit
from patchindex.kernels import backend
from patchindex.loaded import faiss_obstacle

pytest.importorskip("triton")
from patchindex.index import search
from patchindex.index.list_search import faiss as faiss_search
from patchindex.index.list_search import triton as triton_search
from patchindex.kernels import triton_lists

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
EVERY = 10**6


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return build_small(tmp_path_factory.mktemp("built") / "small.zarr")


@pytest.fixture(autouse=True)
def few_programs(monkeypatch):
    """The interpreter takes a millisecond for each."""
    monkeypatch.setattr(triton_lists, "LIST_SHARES", 1)
    monkeypatch.setattr(triton_lists, "TILE_CODES", 256)


@pytest.fixture
def on_device(monkeypatch):
    """Windows on the processor are served as if it were a device, where there is no other."""
    if DEVICE.type == "cpu":
        monkeypatch.setattr(backend, "BACKEND", "triton")


def noisy_windows(index, patch_size, signature, num):
    """Windows [num, d] of noisy training images at the first pixel of a border signature."""
    rng = np.random.default_rng(0)
    geometry = index.geometry(patch_size)
    border = geometry.signatures[signature]
    images = to_unit(np.array(index.images.pixels[:num]))
    noisy = images + 0.3 * torch.from_numpy(rng.standard_normal(images.shape)).float()
    y, x = border.rows.pixels[0], border.cols.pixels[0]
    return windows_at(noisy, range(y, y + 1), range(x, x + 1), geometry).reshape(num, -1)


def code_distances(index, patch_size, windows, found):
    """Float64 squared distances [q, k] to the codes of found ids; infinite for -1."""
    arrays = index.arrays(patch_size)
    ids, stored = merged_lists(index, patch_size)
    order = np.argsort(ids)
    at = order[np.searchsorted(ids, found, sorter=order).clip(max=len(order) - 1)]
    codes = arrays.code_min + (stored[at] + 0.5) / 255 * arrays.code_span.astype(float)
    queries = windows.double().numpy() @ arrays.pca.T.astype(float) + arrays.pca_bias
    dist_sq = np.square(queries[:, None] - codes).sum(2)
    return np.where(found >= 0, dist_sq, np.inf)


@pytest.mark.slow
@pytest.mark.parametrize("patch_size", [3, 7])
@pytest.mark.parametrize(
    "options",
    [{"nprobe": 3}, {"nprobe": 5, "label": 9}, {"nprobe": EVERY, "longest_list": 130}],
    ids=["some lists", "label", "short lists"],
)
def test_a_device_finds_neighbors_as_near_as_the_processor(
    index, on_device, monkeypatch, patch_size, options
):
    signatures = index.geometry(patch_size).signatures
    interior = int(np.argmax([s.num_centers for s in signatures]))
    for signature in (0, interior):  # a corner has but one list
        windows = noisy_windows(index, patch_size, signature, 2)
        found = index.search(patch_size, signature, windows.to(DEVICE), 40, **options)
        assert found.device.type == DEVICE.type
        with monkeypatch.context() as plain:
            plain.setattr(backend, "BACKEND", backend.choose_backend())
            expected = index.search(patch_size, signature, windows, 40, **options)
        near, nearest = (
            code_distances(index, patch_size, windows, ids.cpu().numpy())
            for ids in (found, expected)
        )
        # float32 sums of some tens of squares
        np.testing.assert_allclose(near, nearest, rtol=1e-5, atol=1e-5)
        assert (expected >= 0).any()


def test_a_device_refuses_a_label_without_images(index, on_device):
    with pytest.raises(DatasetError, match=r"no image of small has label 77"):
        index.search(3, 4, noisy_windows(index, 3, 4, 1).to(DEVICE), 5, label=77)


def test_no_query_has_no_neighbors_on_a_device(index, on_device):
    assert index.search(3, 0, torch.zeros(0, 9).to(DEVICE), 5).shape == (0, 5)


def test_of_one_index_with_other_labels_a_device_keeps_lists_once(index, on_device):
    device = Device(DEVICE, memory=2**30)
    index = PatchIndex.open(index.path, device=device)
    windows = noisy_windows(index, 3, 0, 2).to(DEVICE)
    found = index.search(3, 0, windows, 5)
    used = device.used
    relabelled = index.relabelled(np.zeros(len(index.images), np.int64))
    assert torch.equal(relabelled.search(3, 0, windows, 5, label=0), found)
    assert device.used == used > 0


class Arrived:
    """A copy without streams, which are not simulated."""

    def __init__(self, source, device):
        self._tensor = source.to(device)

    def tensor(self):
        return self._tensor


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here, and need not be simulated")
@pytest.mark.parametrize("memory_bytes", [2**30, 0], ids=["resident", "passing"])
def test_nothing_of_a_search_leaves_the_device(index, monkeypatch, memory_bytes):
    def held(tree):
        return torch.utils._pytree.tree_map(lambda x: getattr(x, "held", x), tree)

    kernel = triton_lists.rank_list_tile

    class Launched:
        def __getitem__(self, grid):
            return lambda *arguments, **options: kernel[grid](*held(arguments), **options)

    monkeypatch.setattr(triton_lists, "rank_list_tile", Launched())
    monkeypatch.setattr(torch.cuda, "device_of", lambda _: nullcontext())
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    monkeypatch.setattr(triton_search, "PendingCopy", Arrived)
    monkeypatch.setattr(triton_search, "GROUP_BYTES", 2**12)
    monkeypatch.setattr(triton_search, "work_bytes", lambda _: 2**20)
    opened = PatchIndex.open(index.path, list_search="triton")
    windows = noisy_windows(index, 7, 4, 2)
    expected = opened.search(7, 4, windows, 20, nprobe=2)
    with simulated_gpu(memory_bytes) as gpu:
        found = opened.search(7, 4, windows.to(gpu), 20, nprobe=2, label=None)
        assert isinstance(found, GpuTensor)
        assert torch.equal(found.held, expected)
        labelled = opened.search(7, 4, windows.to(gpu), 20, nprobe=2, label=9, longest_list=200)
        assert isinstance(labelled, GpuTensor)


ASKED = {"k": 2048, "nprobe": 2048, "label": None, "fits": True}
BEYOND = [{"k": 2049}, {"nprobe": 2049}, {"label": 3}, {"fits": False}]


@pytest.fixture
def chosen(monkeypatch):
    """Who searches for two queries on a GPU that FAISS sees, or not."""
    queries = GpuTensor(torch.zeros(2, 3))

    def choose(kind="auto", queries=queries, obstacle=None, **changes):
        monkeypatch.setattr(search, "faiss_obstacle", lambda _: obstacle)
        return search.choose_list_search(kind, queries, **(ASKED | changes))

    return choose


@pytest.mark.parametrize("kind", ["auto", "faiss"])
def test_faiss_on_a_gpu_is_asked_within_its_limits_only(chosen, kind):
    assert chosen(kind) == "faiss_gpu"
    assert [chosen(kind, **beyond) for beyond in BEYOND] == ["triton"] * len(BEYOND)
    assert chosen(kind, obstacle="FAISS has no GPU build") == "triton"
    assert chosen(kind, GpuTensor(torch.zeros(0, 3))) == "triton"


def test_our_kernels_search_on_a_gpu_if_they_are_asked_for(chosen):
    assert chosen("triton") == "triton"


def test_what_was_measured_faster_is_taken_first(chosen, monkeypatch):
    monkeypatch.setattr(search, "FIRST_ON_GPU", "triton")
    assert (chosen("auto"), chosen("faiss")) == ("triton", "faiss_gpu")


@pytest.mark.parametrize("changes", [{}, *BEYOND])
@pytest.mark.parametrize(
    ("kind", "built", "name"),
    [
        ("auto", "native", "native"),
        ("auto", "torch", "faiss"),
        ("triton", "native", "native"),
        ("faiss", "native", "faiss"),
    ],
)
def test_on_the_processor_faiss_serves_where_the_kernels_do_not(
    chosen, monkeypatch, changes, kind, built, name
):
    monkeypatch.setattr(search, "BACKEND", built)
    monkeypatch.setattr(backend, "BACKEND", built)
    assert chosen(kind, torch.zeros(2, 3), **changes) == name


def test_our_kernels_are_refused_in_a_line_where_they_were_not_built(index, monkeypatch):
    monkeypatch.setitem(sys.modules, "patchindex.index.list_search.native", None)
    opened = PatchIndex.open(index.path, list_search="triton")
    with pytest.raises(KernelError, match=r"C\+\+ kernels, but they were not built\. Install a C"):
        opened.search(7, 4, noisy_windows(index, 7, 4, 2), 20, nprobe=2)


def test_the_names_that_faiss_is_asked_for_are_there():
    """What runs on a GPU alone is at least spelled as this FAISS spells it."""
    if "GPU" not in faiss.get_compile_options().split():
        pytest.skip("FAISS has no GPU build")
    for name in ("StandardGpuResources", "index_cpu_to_gpu", "cast_integer_to_cudastream_t"):
        assert hasattr(faiss, name)
    assert hasattr(faiss.StandardGpuResources, "setDefaultStream")
    assert hasattr(faiss.GpuIndexIVFScalarQuantizer, "search_preassigned_c")


def test_faiss_indices_on_gpus_share_one_workspace(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", lambda *given: given, raising=False)
    faiss_search.shared_resources.cache_clear()
    flat, gpu = faiss.IndexFlatL2(2), torch.device("cuda", 0)
    (first, _, _), (second, _, _) = (faiss_search.index_on_gpu(flat, gpu)[0] for _ in range(2))
    faiss_search.shared_resources.cache_clear()
    assert first is second


class Resources:
    """What FAISS computes with on a GPU, of which there is none."""

    def setDefaultStream(self, device, stream):  # noqa: N802 - as FAISS calls it
        pass


@pytest.fixture
def faiss_on_gpu(monkeypatch):
    """FAISS's indices as they are on the processor, where it takes addresses, too.

    Returns:
        Of each search the queries that it was asked for; and of each index the codes in it.
    """
    asked, loaded = [], []
    for name in ("float_ptr", "idx_t_ptr"):
        assert hasattr(faiss, f"cast_integer_to_{name}")
    monkeypatch.setattr(faiss, "cast_integer_to_cudastream_t", int, raising=False)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: SimpleNamespace(cuda_stream=0))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(faiss_search, "shared_resources", Resources)

    class Noted:
        def __init__(self, index):
            self.index, self.d = index, index.d

        def search_preassigned_c(self, num, *arguments):
            asked.append(num)
            self.index.nprobe = self.nprobe
            self.index.search_preassigned_c(num, *arguments)

    def copied(index, place):
        loaded.append(index.ntotal)
        return Noted(index), Resources()

    monkeypatch.setattr(faiss_search, "index_on_gpu", copied)
    return asked, loaded


@pytest.mark.parametrize("host_bytes", [2**40, 20_000])
def test_faiss_is_asked_block_by_block_and_copies_lists_part_by_part(
    index, monkeypatch, faiss_on_gpu, host_bytes
):
    asked, loaded = faiss_on_gpu
    monkeypatch.setattr(faiss_search, "MOST_QUERIES", 3)
    monkeypatch.setattr(faiss_search, "host_bytes", lambda: host_bytes)
    arrays = index.arrays(7)
    rng = np.random.default_rng(3)
    vectors = rng.normal(0, 1, (8, len(arrays.pca))).astype(np.float32)
    lists = np.stack([rng.permutation(len(arrays.count))[:9] for _ in range(8)])
    lists[2, 3:], lists[5] = -1, -1
    kept = faiss_search.load_lists(arrays, DEVICE)
    found = kept.nearest(torch.from_numpy(vectors), torch.from_numpy(lists), 40)
    parts = len(kept.parts)
    assert (parts > 1) == (host_bytes < 2**40)
    assert asked == [3] * parts + [3] * parts + [2] * parts
    assert [n for part in kept.parts for n in part.lists] == list(range(len(arrays.count)))
    code = len(arrays.pca) + 8
    assert sum(loaded) == arrays.offsets[-1]
    assert max(loaded) * code <= max(host_bytes, arrays.count.max() * code)
    expected = faiss_search.ScaleSearcher(arrays).search(vectors, lists, 40, None)
    ids, codes = merged_lists(index, 7)
    at = {number: place for place, number in enumerate(ids.tolist())}
    decoded = arrays.code_min + (codes + 0.5) / 255 * arrays.code_span.astype(float)
    for vector, got, wanted in zip(vectors, found.tolist(), expected.tolist(), strict=True):
        assert got.count(-1) == wanted.count(-1)
        near, nearest = (
            np.square(decoded[[at[n] for n in numbers if n >= 0]] - vector).sum(1)
            for numbers in (got, wanted)
        )
        np.testing.assert_allclose(near, nearest, rtol=1e-5)


def test_faiss_on_a_gpu_refuses_vectors_of_another_length(index, faiss_on_gpu):
    kept = faiss_search.load_lists(index.arrays(3), DEVICE)
    with pytest.raises(KernelInputError, match=r"vectors are \(2, 5\) and k is 3\. Give 2 of"):
        kept.nearest(torch.zeros(2, 5), torch.zeros(2, 1, dtype=torch.int64), 3)


def test_lists_of_faiss_take_no_more_than_their_codes(index):
    searcher = faiss_search.ScaleSearcher(index.arrays(7))
    searcher.fill(np.arange(searcher.index.nlist)[None])
    lists = faiss.downcast_InvertedLists(searcher.index.invlists)
    for number, size in enumerate(index.arrays(7).count.tolist()):
        assert lists.list_size(number) == size
    assert searcher.index.ntotal == index.arrays(7).offsets[-1]


@pytest.mark.gpu
@pytest.mark.skipif(
    not torch.cuda.is_available() or faiss_obstacle(torch.device("cuda", 0)) is not None,
    reason="FAISS computes on no GPU here",
)
@pytest.mark.parametrize("patch_size", [3, 7])
def test_faiss_on_a_gpu_finds_neighbors_as_near_as_our_kernels(index, patch_size):
    """Its twin without a GPU is the comparison of the Triton search with the processor's."""
    gpu = torch.device("cuda", 0)
    windows = noisy_windows(index, patch_size, 4, 30)
    by_faiss, by_kernels = (
        PatchIndex.open(index.path, list_search=kind).search(
            patch_size, 4, windows.to(gpu), 40, nprobe=3
        )
        for kind in ("faiss", "triton")
    )
    near, nearest = (
        code_distances(index, patch_size, windows, ids.cpu().numpy())
        for ids in (by_faiss, by_kernels)
    )
    np.testing.assert_allclose(near, nearest, rtol=1e-5, atol=1e-5)
    fewer = PatchIndex.open(index.path, list_search="faiss").search(
        patch_size, 4, windows.to(gpu), 2000, nprobe=3, longest_list=130
    )
    assert ((fewer == -1) | (fewer >= 0)).all()
    assert (fewer == -1).any()
