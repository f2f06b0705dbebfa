"""A GPU on a machine without one: tensors that say they are there, and mix with no others.

Each holds an ordinary tensor, which does the work; what CUDA would refuse is refused, so that a
pipeline which passes here leaves nothing on the wrong device. Kernels of ours that would be Triton
are those of the processor, so that results can be compared bit by bit.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import fields, is_dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from patchindex import device, kernels
from patchindex.kernels import backend, pixel_scan, torch_backend

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
PROCESSOR = backend.backend_for(torch.empty(0))
aten = torch.ops.aten
# of these, index tensors may lie on the processor
INDEXING = {aten.index, aten.index_put, aten.index_put_}
# these write a number, though they are not told to be pointwise
FILLING = {aten.fill, aten.fill_}
# these may read from one device and write to another
COPYING = {aten.copy_, aten._to_copy}


class GpuTensor(Tensor):
    """A tensor on the simulated GPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "GpuTensor":
        made = Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(),
            dtype=held.dtype, device=GPU,
        )  # fmt: skip
        made.held = held
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    def __repr__(self) -> str:
        return f"on {GPU}: {self.held}"

    def record_stream(self, _: Any) -> None:
        """Nothing: no memory is used twice."""

    def tolist(self) -> list[Any]:
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return computed(func, args, kwargs or {})


class SimulatedGpu(TorchDispatchMode):
    """Makes tensors where the GPU is asked for."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return computed(func, args, kwargs or {})


def computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What the operation gives, on the device where CUDA would leave it."""
    operands = tensors_in((args, kwargs))
    device = kwargs.get("device")
    if device is None:
        there = any(isinstance(operand, GpuTensor) for operand in operands)
    else:
        there = torch.device(device).type == GPU.type
        kwargs = kwargs | {"device": CPU}
    check_devices(func, args, operands)
    wrappers = {id(x.held): x for x in operands if isinstance(x, GpuTensor)}
    found = func(*tree_map(unwrapped, args), **tree_map(unwrapped, kwargs))
    if not there:
        return found
    return tree_map(lambda x: wrappers[id(x)] if id(x) in wrappers else on_gpu(x), found)


def check_devices(func: Any, args: Any, operands: list[Tensor]) -> None:
    """Raise RuntimeError where CUDA would."""
    packet = func.overloadpacket
    if packet in COPYING or len({x.device for x in operands}) < 2:
        return
    # a tensor of no axes on the processor is a number: `x[i] = False` hands one over as such
    arrays = [x for x in operands if x.ndim or isinstance(x, GpuTensor)]
    if packet in INDEXING:
        arrays = [x for x in arrays if x is args[0] or not any(x is i for i in tensors_in(args[1]))]
    elif packet not in FILLING and (torch.Tag.pointwise not in func.tags or packet is aten.where):
        arrays = operands
    if all(isinstance(x, GpuTensor) for x in arrays):
        return
    raise RuntimeError(
        f"{func}: all tensors must be on one device, but some are on {GPU} and some are not"
    )


def tensors_in(tree: Any) -> list[Tensor]:
    """All tensors among some arguments."""
    return [x for x in torch.utils._pytree.tree_leaves(tree) if isinstance(x, Tensor)]


def unwrapped(x: Any) -> Any:
    """The ordinary tensor that does the work."""
    return x.held if isinstance(x, GpuTensor) else x


def on_gpu(x: Any) -> Any:
    """The tensor, on the simulated GPU; anything else as it is."""
    return GpuTensor(x) if isinstance(x, Tensor) else x


class SimulatedStream:
    """Work of a stream is done when it is asked for; notes which other streams it waits for."""

    waits: ClassVar[list[tuple["SimulatedStream", "SimulatedStream"]]] = []

    def __init__(self, _: torch.device) -> None:
        pass

    def wait_stream(self, other: "SimulatedStream") -> None:
        self.waits.append((self, other))


class Interpreted:
    """A Triton kernel that the interpreter runs on what tensors of the simulated GPU hold."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel

    def __getitem__(self, grid: Any) -> Callable[..., None]:
        def launch(*operands: Any, **options: Any) -> None:
            with torch.utils._python_dispatch._disable_current_modes():
                self._kernel[grid](*map(unwrapped, operands), **options)

        return launch


class DeviceKernels:
    """Our kernels as the simulated GPU has them: the processor's, on what the tensors hold."""

    propagate_neighbors = staticmethod(torch_backend.propagate_neighbors)
    nearest_rows = staticmethod(torch_backend.nearest_rows)
    nearest_in_cells = staticmethod(torch_backend.nearest_in_cells)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        kernel = getattr(PROCESSOR, name)

        def launch(pixels: Tensor, *operands: Any, **options: Any) -> Any:
            def held(x: Any) -> Any:
                there = isinstance(x, GpuTensor) or not isinstance(x, Tensor)
                assert there, f"{name} was given queries that are not on {GPU}"
                return unwrapped(x)

            found = kernel(
                unwrapped(pixels), *(each_tensor(held, x) for x in operands),
                **{option: each_tensor(held, x) for option, x in options.items()},
            )  # fmt: skip
            return each_tensor(on_gpu, found)

        return launch


def each_tensor(change: Callable[[Any], Any], x: Any) -> Any:
    """The same with all tensors changed that tuples, lists and dataclasses hold."""
    if isinstance(x, tuple | list):
        return type(x)(each_tensor(change, part) for part in x)
    if is_dataclass(x) and not isinstance(x, type):
        return replace(
            x, **{part.name: each_tensor(change, getattr(x, part.name)) for part in fields(x)}
        )
    return change(x)


@contextmanager
def real_or_simulated_gpu(memory_bytes: int) -> Iterator[torch.device]:
    """The GPU of this machine, or else a simulated one, with room for so many bytes."""
    if not torch.cuda.is_available():
        with simulated_gpu(memory_bytes) as place:
            yield place
        return
    with pytest.MonkeyPatch.context() as patched:
        share_out(memory_bytes, patched)
        yield GPU


@contextmanager
def simulated_gpu(memory_bytes: int) -> Iterator[torch.device]:
    """A GPU with room for so many bytes of images and lists, for as long as the context lasts."""
    torch._C._ensureCUDADeviceGuardSet()  # one that does nothing, as fake tensors have
    there = DeviceKernels()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch.cuda, "_lazy_init", lambda: None)
        patched.setattr(torch.cuda, "synchronize", lambda _: None)
        current = SimulatedStream(GPU)
        patched.setattr(torch.cuda, "Stream", SimulatedStream)
        patched.setattr(torch.cuda, "current_stream", lambda _: current)
        patched.setattr(torch.cuda, "stream", lambda _: nullcontext())
        patched.setattr(SimulatedStream, "waits", [])
        patched.setattr(torch.cuda, "get_device_name", lambda _: "simulated")
        share_out(memory_bytes, patched)
        patched.setattr(
            kernels, "backend_for",
            lambda queries: there if isinstance(queries, GpuTensor) else PROCESSOR,
        )  # fmt: skip
        if backend.has_triton():
            from patchindex.index import device_scale  # noqa: PLC0415 - imports Triton

            for name in ("take_operands_kernel", "put_lists_kernel"):
                kernel = Interpreted(getattr(device_scale, name))
                patched.setattr(device_scale, name, kernel)
                patched.setattr(torch.cuda, "device", lambda _: nullcontext())
        patched.setattr("sampler.estimator.rest.on_device", lambda _: False)  # in torch, too
        # what simulates belongs to this thread: in another one images of the host would meet CUDA
        patched.setattr(pixel_scan, "in_threads", lambda work, items: [work(x) for x in items])
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=...) then comes here
        try:
            with SimulatedGpu():
                yield GPU
        finally:
            torch._C._set_only_lift_cpu_tensors(False)


def share_out(memory_bytes: int, patched: pytest.MonkeyPatch) -> None:
    """Let so many bytes stay on each device that is first used until the patch is undone."""
    patched.setattr(device, "default_budget", lambda _: memory_bytes)
