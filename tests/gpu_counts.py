"""Counts what a GPU would be asked for: kernels, launches of ours, and waits of the host for it."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from simulated_gpu import PROCESSOR, GpuTensor, each_tensor, on_gpu, simulated_gpu, unwrapped
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from patchindex import kernels
from patchindex.index.search import IndexSearch
from patchindex.kernels import torch_backend
from sampler.estimator import estimate, rest

aten = torch.ops.aten
# these make room, or another look at the same numbers, and start nothing
NOTHING = {aten.empty, aten.empty_like, aten.new_empty, aten.empty_strided, aten._unsafe_view}
# what these return has a size, or a value, that the host must know
WAITING = {
    aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten._unique2, aten.bincount,
    aten.unique_dim, aten.unique_consecutive, aten.repeat_interleave, aten.equal, aten.is_nonzero,
}  # fmt: skip
INDEXING = {aten.index, aten.index_put, aten.index_put_}


@dataclass
class Count:
    """Of one stage: torch's kernels, kernels of ours, and synchronizations.

    Attributes:
        waits: the host waits for the device: it reads a number, or a size.
        uploads: the device gets an array from the host, which waits until the copy is done.
    """

    kernels: int = 0
    launches: int = 0
    waits: int = 0
    uploads: int = 0

    def __add__(self, other: "Count") -> "Count":
        return Count(*(getattr(self, n) + getattr(other, n) for n in self.__dataclass_fields__))


@dataclass
class GpuCounts(TorchDispatchMode):
    """Watches operations on the simulated GPU; enter it inside of `simulated_gpu`."""

    stages: dict[str, Count] = field(default_factory=dict)
    operations: Counter = field(default_factory=Counter)
    now: str = "rest"

    def __post_init__(self) -> None:
        super().__init__()

    @property
    def total(self) -> Count:
        return sum(self.stages.values(), Count())

    @property
    def count(self) -> Count:
        return self.stages.setdefault(self.now, Count())

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        before, self.now = self.now, name
        try:
            yield
        finally:
            self.now = before

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        self.see(func, args, kwargs or {}, found)
        return found

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing is counted."""
        before, self.stages = self.stages, {}
        operations, self.operations = self.operations, Counter()
        try:
            yield
        finally:
            self.stages, self.operations = before, operations

    def see(self, func: Any, args: Any, kwargs: dict[str, Any], found: Any) -> None:
        """Count an operation by what it was given and what it left."""
        packet = func.overloadpacket
        given = [isinstance(x, GpuTensor) for x in tree_leaves((args, kwargs)) if is_tensor(x)]
        left = [isinstance(x, GpuTensor) for x in tree_leaves(found) if is_tensor(x)]
        if not any(given) and not any(left):
            return
        if packet in NOTHING or is_view(func):
            return
        self.operations[self.now, str(packet)] += 1
        if packet in WAITING or (packet in INDEXING and self.selects(args)):
            self.count.waits += 1
        if packet in {aten._to_copy, aten.copy_}:
            source = args[0] if packet is aten._to_copy else args[1]
            there, back = isinstance(found, GpuTensor), isinstance(source, GpuTensor)
            if there != back:
                self.count.waits += back
                self.count.uploads += there and source.ndim > 0
                return
        elif packet in INDEXING:
            self.count.uploads += sum(
                not isinstance(x, GpuTensor) for x in args[1] if x is not None
            )
        elif packet is aten._local_scalar_dense:
            return
        self.count.kernels += 1

    @staticmethod
    def selects(args: Any) -> bool:
        """Whether places are chosen by a mask; a number that is written there needs no size."""
        masks = [x for x in args[1] if x is not None and x.dtype == torch.bool]
        fills = len(args) > 2 and args[2].numel() == 1
        return bool(masks) and not fills


def is_tensor(x: Any) -> bool:
    return isinstance(x, torch.Tensor)


def is_view(func: Any) -> bool:
    """Whether an operation returns what it was given, looked at in another way."""
    aliases = [returned.alias_info for returned in func._schema.returns]
    return any(alias is not None and not alias.is_write for alias in aliases)


class CountedKernels:
    """Our kernels as a GPU would run them, with all that torch does around them.

    Results are the processor's. What lies around a launch is what Triton's back end does, with
    launches that write nothing.
    """

    nearest_in_cells = staticmethod(torch_backend.nearest_in_cells)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        from patchindex.kernels import triton_backend  # noqa: PLC0415 - imports Triton

        around = getattr(triton_backend, name)
        if around is getattr(torch_backend, name):
            return around

        def launch(*operands: Any, **options: Any) -> Any:
            around(*operands, **options)
            found = getattr(PROCESSOR, name)(
                *(each_tensor(unwrapped, x) for x in operands),
                **{option: each_tensor(unwrapped, x) for option, x in options.items()},
            )
            return each_tensor(on_gpu, found)

        return launch


class Launches:
    """Stands for a Triton kernel: counts its launches; zeros stand for what it writes."""

    def __init__(self, counts: GpuCounts, written: int | None = None) -> None:
        self._counts, self._written = counts, written

    def __getitem__(self, grid: Any) -> Callable[..., None]:
        def launch(*operands: Any, **_: Any) -> None:
            self._counts.count.launches += 1
            if self._written is not None:
                operands[self._written].held.zero_()

        return launch


class CountedListSearch:
    """The search of lists as one launch, which finds nothing: its own are not counted."""

    def __init__(self, counts: GpuCounts) -> None:
        self._counts = counts

    def nearest(self, patch_size, vectors, lists, k, label):
        del patch_size, lists, label
        self._counts.count.launches += 1
        return on_gpu(torch.full((len(vectors), k), -1))


def counted_search(search: Callable[..., Any]) -> Callable[..., Any]:
    """The search of an index as a GPU would make it, with what the processor finds."""

    def found(index_search: IndexSearch, *operands: Any, **settings: Any) -> Any:
        if not any(isinstance(x, GpuTensor) for x in operands):
            return search(index_search, *operands, **settings)
        search(index_search, *operands, **settings)
        held = {name: unwrapped(x) for name, x in settings.items()}
        return on_gpu(search(index_search, *map(unwrapped, operands), **held))

    return found


@contextmanager
def counting_gpu(memory_bytes: int = 2**30) -> Iterator[tuple[torch.device, GpuCounts]]:
    """A simulated GPU, and the counts of what is asked of it."""
    from patchindex.index import device_scale  # noqa: PLC0415 - imports Triton
    from patchindex.kernels import triton_backend, triton_patches, triton_scan  # noqa: PLC0415 - imports Triton
    from sampler.estimator import triton_tail  # noqa: PLC0415 - the same

    counts, there = GpuCounts(), CountedKernels()
    make = IndexSearch._make_list_search
    with simulated_gpu(memory_bytes) as gpu, pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch.cuda, "device", lambda _: nullcontext())
        patched.setattr(
            kernels, "backend_for", lambda x: there if isinstance(x, GpuTensor) else PROCESSOR
        )
        patched.setattr(triton_backend, "rescore_kernel", Launches(counts, 3))
        patched.setattr(triton_scan, "scan_kernel", Launches(counts, 2))
        for name in ("take_operands_kernel", "put_lists_kernel"):
            patched.setattr(device_scale, name, Launches(counts))
        for name in triton_patches.__dict__:
            if name.endswith("_kernel"):
                patched.setattr(triton_patches, name, Launches(counts))
        patched.setattr(triton_scan, "merge_kernel", Launches(counts, 1))
        patched.setattr(
            IndexSearch,
            "_make_list_search",
            lambda search, name: (
                CountedListSearch(counts) if name in ("triton", "faiss_gpu") else make(search, name)
            ),
        )
        patched.setattr(IndexSearch, "search", counted_search(IndexSearch.search))
        patched.setattr(rest, "put_rest", counted_rest(counts, rest.put_rest))
        patched.setattr(estimate, "put_rest", rest.put_rest)
        patched.setattr(triton_tail, "tail_kernel", Launches(counts, 18))
        patched.setattr(triton_tail, "pareto_kernel", Launches(counts, 2))
        with counts:
            yield gpu, counts


def counted_rest(counts: GpuCounts, put_rest: Callable[..., Any]) -> Callable[..., Any]:
    """The tail as a GPU would compute it, and then in torch, which is not counted."""

    def put(*operands: Any) -> Any:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(rest, "on_device", lambda _: True)
            put_rest(*operands)
        with counts.paused():
            return put_rest(*operands)

    return put
