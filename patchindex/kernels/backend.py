"""Which back end computes: chosen once, when the kernels are first imported.

On the processor the native one serves where it was built, and torch otherwise; on any other device
Triton does. `PATCHINDEX_KERNELS=torch|native|triton` forces one on the processor: Triton runs there
in its interpreter, which is slow, and for tests.
"""

import logging
import os
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import ModuleType

from torch import Tensor

from patchindex.errors import KernelError
from patchindex.kernels import torch_backend

logger = logging.getLogger(__name__)

VARIABLE = "PATCHINDEX_KERNELS"
INTERPRETER = "TRITON_INTERPRET"
OLDEST_TRITON = (3, 4)  # older ones do not compile tuples that loops carry


def choose_backend() -> str:
    """`native`, `torch` or `triton`: what computes on the processor.

    Raises:
        KernelError: the environment forces a back end that does not exist or cannot run here.
    """
    built = find_spec("patchindex.kernels._native") is not None
    forced = os.environ.get(VARIABLE, "")
    if forced not in ("", "torch", "native", "triton"):
        raise KernelError(
            f"{VARIABLE} is {forced!r}. Give torch, native or triton, or leave it unset."
        )
    if forced == "native" and not built:
        raise KernelError(
            f"{VARIABLE} is native, but the C++ kernels were not built. Install a C++ compiler and "
            "install patchindex again, or unset the variable to compute in torch."
        )
    if forced == "triton" and not (has_triton() and os.environ.get(INTERPRETER) == "1"):
        raise KernelError(
            f"{VARIABLE} is triton, which computes on the processor in its interpreter only. "
            f"Install triton 3.4 or newer and set {INTERPRETER}=1, or unset {VARIABLE}."
        )
    if not built and not forced:
        logger.warning(
            "the C++ kernels were not built, so torch computes, several times slower. "
            "To get them, install a C++ compiler and install patchindex again."
        )
    return forced or ("native" if built else "torch")


def has_triton() -> bool:
    """Whether a Triton that knows our kernels is here, without which nothing computes on a GPU."""
    try:
        return tuple(map(int, version("triton").split(".")[:2])) >= OLDEST_TRITON
    except (PackageNotFoundError, ValueError):
        return False


def backend_for(queries: Tensor) -> ModuleType:
    """The module whose kernels compute where these queries lie; the others are not imported.

    Raises:
        KernelError: they are on a GPU, and no Triton that knows the kernels is installed.
    """
    if on_device(queries):
        from patchindex.kernels import triton_backend  # noqa: PLC0415 - imports Triton

        return triton_backend
    if BACKEND == "native":
        from patchindex.kernels import native_backend  # noqa: PLC0415 - may not have been built

        return native_backend
    return torch_backend


def on_device(tensor: Tensor) -> bool:
    """Whether the Triton kernels compute what is asked with this tensor.

    Raises:
        KernelError: they should, but Triton is not installed, or does not know the device.
    """
    if tensor.device.type == "cpu":
        return BACKEND == "triton"
    if tensor.device.type != "cuda":
        raise KernelError(
            f"the states are on {tensor.device}, where none of our kernels computes. "
            "Move them to the processor or to a CUDA device."
        )
    if not has_triton():
        raise KernelError(
            f"the states are on {tensor.device}, where Triton computes, but no Triton 3.4 or "
            "newer is installed. Install triton, or give --device cpu."
        )
    return True


BACKEND = choose_backend()
