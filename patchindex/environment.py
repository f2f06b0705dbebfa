"""Versions of the libraries that decide what an index holds, and what this machine offers them."""

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import faiss
import torch

from patchindex.errors import KernelError
from patchindex.kernels import BACKEND

LIBRARIES = {
    "patchindex": ("patchindex",),
    "faiss": ("faiss-gpu", "faiss-cpu", "faiss"),
    "numpy": ("numpy",),
    "torch": ("torch",),
    "zarr": ("zarr",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Where a command runs.

    Attributes:
        kernels: back end of the exact sums, and its instruction set.
        threads: that torch, whose number the kernels share, and FAISS use.
        faiss_build: "GPU" or "CPU", and the instruction sets it was compiled for.
        gpu: name of the CUDA device, or "none".
    """

    python: str
    versions: dict[str, str]
    kernels: str
    threads: dict[str, int]
    faiss_build: str
    gpu: str

    def lines(self) -> Iterator[str]:
        """The same for people."""
        yield f"python   {self.python}"
        for name, number in self.versions.items():
            yield f"{name:<8} {number}"
        yield f"kernels  {self.kernels}"
        yield "threads  " + ", ".join(f"{name} {count}" for name, count in self.threads.items())
        yield f"FAISS    {self.faiss_build}"
        yield f"GPU      {self.gpu}"


def describe_environment() -> Environment:
    """What is installed and present here."""
    options = faiss.get_compile_options().split()
    kind = "GPU" if "GPU" in options else "CPU"
    return Environment(
        python=platform.python_version(),
        versions=library_versions(),
        kernels=describe_kernels(),
        threads={"torch": torch.get_num_threads(), "faiss": faiss.omp_get_max_threads()},
        faiss_build=" ".join([kind, *(option for option in options if option != "GPU")]),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    )


def describe_kernels() -> str:
    """Back end and instruction set."""
    if BACKEND == "torch":
        return "torch"
    from patchindex.kernels.native_backend import instruction_set  # noqa: PLC0415 - may be absent

    return f"native, {instruction_set()}"


def set_threads(count: int) -> None:
    """Let torch, the kernels and FAISS use so many threads.

    Raises:
        KernelError: there is no such number of threads.
    """
    if count < 1:
        raise KernelError(f"threads is {count}. Give at least 1.")
    torch.set_num_threads(count)
    faiss.omp_set_num_threads(count)


def library_versions() -> dict[str, str]:
    """Installed version of each, and "unknown" where it was not installed as a package."""
    return {name: first_version(packages) for name, packages in LIBRARIES.items()}


def first_version(packages: tuple[str, ...]) -> str:
    """Version of the first of these packages that is installed; which it is, if one can choose."""
    for package in packages:
        try:
            number = version(package)
        except PackageNotFoundError:
            continue
        return number if len(packages) == 1 else f"{number} ({package})"
    return "unknown"
